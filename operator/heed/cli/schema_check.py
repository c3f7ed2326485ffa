"""An event looked at before it is sent: what the types among some files say of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from heed import names
from heed.api.manifest.document import Manifest
from heed.cli.manifest_files import find_sources, read_manifests
from heed.core.events import Event
from heed.core.schema.registry import SchemaMismatch
from heed.errors import InvalidManifest
from heed.local.policy_loader import load_policies


def check_event(event: Event, namespace: str, paths: Sequence[str]) -> SchemaMismatch | None:
    """What is wrong with the event's data. A type that names no namespace is taken to be of the event's.

    Raises InvalidSettings, InvalidManifest.
    """
    rules, mistakes = load_policies(_types(paths, namespace))
    if mistakes:
        located = [manifest.locate([problem]) for manifest, problem in mistakes]
        raise InvalidManifest([problem for error in located for problem in error.problems])
    return rules.schemas.check(namespace, event.type, event.data, event.datacontenttype)


def _types(paths: Sequence[str], namespace: str) -> Iterator[Manifest]:
    for source in find_sources(paths):
        for manifest in read_manifests(source):
            if manifest.rule != names.EVENT_TYPE:
                continue
            document, metadata = manifest.document, manifest.document.get("metadata")
            if isinstance(metadata, dict) and not metadata.get("namespace"):
                document = {**document, "metadata": {**metadata, "namespace": namespace}}
            yield replace(manifest, document=document)
