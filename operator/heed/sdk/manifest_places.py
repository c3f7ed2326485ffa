"""Fields of a manifest that was built from code, with the lines of the code that they come from."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from heed.api.manifest.document import Manifest
from heed.sdk.agent import Agent
from heed.sdk.manifest import build_agent, build_event_types
from heed.sdk.places import Place

_HANDLER: Final = re.compile(r"spec\.handlers\[(\d+)\]")
_NAMED: Final = re.compile(r"spec\.(tasks|timers)\.([-a-z0-9]+)")


@dataclass(frozen=True, slots=True)
class CodeTree:
    """The lines of an Agent's fields in the file `source`. What stands in another file has the Agent's own line."""

    agent: Agent
    source: str

    def line_of(self, path: str) -> int:
        """The line of the function, task or Agent that a field comes from."""
        place = self._find(path)[1]
        return place.line if self._is_here(place) else self.agent.place.line

    def owner_of(self, path: str) -> str:
        """The function that a field comes from, with its place where that is in another file; else nothing."""
        owner, place = self._find(path)
        return owner if self._is_here(place) or not owner else f"{owner} ({place})"

    def member(self, name: str) -> Any:
        """None: there is no text of the manifest."""
        return None

    def _is_here(self, place: Place) -> bool:
        return Path(place.file).resolve() == Path(self.source).resolve()

    def _find(self, path: str) -> tuple[str, Place]:
        if found := _HANDLER.match(path):
            handlers = list(self.agent.handlers.values())
            if (index := int(found[1])) < len(handlers):
                return f"{handlers[index].name}()", handlers[index].place
        if found := _NAMED.match(path):
            name = found[2]
            if found[1] == "tasks" and (task := self.agent.tasks.get(name)) is not None:
                return f"{task.work['name']}()" if task.kind == "function" else "", task.place
            for handler in self.agent.handlers.values():
                if handler.timer == name:
                    return f"{handler.name}()", handler.place
        return "", self.agent.place


@dataclass(frozen=True, slots=True)
class CodeManifest(Manifest):
    """A manifest that was built from code: of the Agent itself, or of a type of its events."""

    code: Agent = field(repr=False, compare=False)


def code_manifests(agent: Agent, source: str) -> Iterator[CodeManifest]:
    """The manifests of an Agent and its event types, located in the file `source` that it was loaded from."""
    tree = CodeTree(agent, source)
    for document in (build_agent(agent), *build_event_types(agent)):
        yield CodeManifest(document, source, tree.line_of(""), tree, agent)


def with_workers(manifest: CodeManifest, image: str, replicas: int | None) -> CodeManifest:
    """An Agent's manifest with workers of an image, that runs `heed worker` of the Agent by itself."""
    if not manifest.is_agent:
        return manifest
    spec = manifest.document["spec"]
    template = {"spec": {"containers": [{"name": "worker", "image": image}]}}
    worker = {
        **spec["worker"],
        **({} if replicas is None else {"replicas": replicas}),
        "template": template,
    }
    document = {**manifest.document, "spec": {**spec, "worker": worker}}
    return dataclasses.replace(manifest, document=document)
