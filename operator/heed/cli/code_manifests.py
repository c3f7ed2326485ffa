"""The manifests that Agents in Python are, read without what checks them."""

from collections.abc import Iterable

from heed import names
from heed.api.manifest.document import Manifest
from heed.sdk.loading import load_agents
from heed.sdk.manifest_places import CodeManifest, code_manifests
from heed.sdk.places import show_path


def read_code(source: str) -> list[CodeManifest]:
    """The manifests of the Agents in `module[:agent]`. Raises InvalidSettings, ModuleFailed."""
    return [
        manifest
        for agent in load_agents(source)
        for manifest in code_manifests(agent, show_path(agent.place.file))
    ]


def choose_types(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The manifests without those event types of code that a file declares, or other code before."""
    found = list(manifests)
    seen = {_event_type(item) for item in found if not isinstance(item, CodeManifest)}
    chosen: list[Manifest] = []
    for item in found:
        key = _event_type(item) if isinstance(item, CodeManifest) else None
        if key is None or key not in seen:
            chosen.append(item)
            seen.add(key)
    return chosen


def _event_type(manifest: Manifest) -> tuple[str, str] | None:
    """Namespace and type of an EventType."""
    if manifest.rule != names.EVENT_TYPE:
        return None
    metadata, spec = manifest.document.get("metadata"), manifest.document.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        return None
    return str(metadata.get("namespace") or "default"), str(spec.get("type"))
