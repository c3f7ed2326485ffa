"""Where a gateway's resources come from: the API server, watched; or manifests in files, for `heed dev`."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from heed import names
from heed.api.manifest.document import Manifest, parse_manifests
from heed.errors import InvalidManifest
from heed.gateway.part import GatewayContext
from heed.kube.client.client import objects_path
from heed.kube.client.informer import Informer
from heed.local.manifest_loader import find_files

log = logging.getLogger("heed.gateway")
FILE_POLL_INTERVAL_S: Final = 0.5
Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name
Observe = Callable[[Body, bool], None]  # an object as it is, or as it was when it was deleted


class ObjectSource(Protocol):
    """Objects of one kind, which an observer is told of until `run` is cancelled."""

    async def run(self) -> None:
        """Tell of each object that is new or other than before, and of each that is gone."""

    def missing(self) -> str | None:
        """Why the objects are not known yet, or None."""

    @property
    def synced(self) -> asyncio.Event:
        """Set once all objects were told of."""


def open_source(context: GatewayContext, kind: str, observe: Observe) -> ObjectSource:
    """The objects of a kind, from the API server where there is one, else from files."""
    if context.api is not None:
        return Informer(context.api, objects_path(names.PLURALS[kind], context.settings.namespace), observe)
    return FileObjects(context.manifests, kind, observe)


class FileObjects:
    """The objects of a kind in files and folders; the files are looked at again twice a second."""

    def __init__(self, paths: Sequence[Path], kind: str, observe: Observe) -> None:
        self._paths, self._kind, self._observe = paths, kind, observe
        self._seen: object = None
        self.synced = asyncio.Event()  # once they were read
        self._objects: dict[Key, Body] = {}

    def missing(self) -> str | None:
        """Why the objects are not known yet, or None."""
        return "the manifests were not read yet" if self._seen is None else None

    async def run(self) -> None:
        """Follow the files until cancelled."""
        while True:
            self.refresh()
            await asyncio.sleep(FILE_POLL_INTERVAL_S)

    def refresh(self) -> None:
        """Read the files if one of them changed. A file that cannot be read keeps what was in it."""
        seen = [_stamp(path) for path in find_files(self._paths)]
        if seen == self._seen:
            return
        found = dict[Key, Body]()
        broken = False
        for manifests in _read_files(self._paths):
            if manifests is None:
                broken = True
                continue
            for manifest in manifests:
                if is_object(manifest, self._kind) and manifest.name:
                    body: Body = local_object(manifest.document)
                    found.setdefault((body["metadata"]["namespace"], manifest.name), body)
        if broken:
            found = {**self._objects, **found}
        for key in self._objects.keys() - found.keys():
            self._observe(self._objects[key], True)
        for key, body in found.items():
            if self._objects.get(key) != body:
                self._observe(body, False)
        self._objects, self._seen = found, seen
        self.synced.set()


def read_documents(paths: Sequence[Path], kind: str) -> Iterator[Body]:
    """The documents of a kind in files and folders, as local objects; what cannot be read is passed over."""
    for manifests in _read_files(paths):
        for manifest in manifests or ():
            if is_object(manifest, kind) and manifest.name:
                yield local_object(manifest.document)


def is_object(manifest: Manifest, kind: str) -> bool:
    """Whether a document is of a kind: one of the gateway's, a rule's, or a core kind such as Secret."""
    if kind in names.GATEWAY_KINDS:
        return manifest.gateway_kind == kind
    if kind in names.RULE_KINDS:
        return manifest.rule == kind
    return manifest.document.get("kind") == kind and manifest.document.get("apiVersion") == "v1"


def local_object(document: Body) -> dict[str, Any]:
    """A manifest as the API server would show it: in a namespace, with a uid that derives from its name."""
    metadata = document.get("metadata")
    given = metadata if isinstance(metadata, Mapping) else {}
    namespace, name = given.get("namespace") or "default", given.get("name")
    uid = names.digest("local", str(document.get("kind")), str(namespace), str(name))
    return {**document, "metadata": {"uid": uid, **given, "namespace": namespace}}


def _read_files(paths: Sequence[Path]) -> Iterator[list[Manifest] | None]:
    """The documents of each file; None for one that cannot be read now."""
    for file in find_files(paths):
        try:
            yield parse_manifests(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError, InvalidManifest):
            yield None


def _stamp(path: Path) -> tuple[Path, int, int]:
    try:
        status = path.stat()
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size
