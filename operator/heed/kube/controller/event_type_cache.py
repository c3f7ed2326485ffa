"""The cache of event types by namespace, compiled on demand."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from heed.api.event_type import EventType
from heed.core.schema.registry import NO_SCHEMAS, SchemaRegistry, compile_schemas
from heed.errors import INVALID
from heed.kube.status.accepted import Judgement
from heed.util.cpu_turns import turns

log = logging.getLogger("heed.rules")
MAX_CACHED_REGISTRIES: Final = 10_000  # sets of namespaces of which the compiled types are remembered
IN_FORCE: Final = Judgement(True, "Accepted", "it is in force")


class EventTypeCache:
    """Event types by namespace and name. `changed` has the namespaces that changed since the caller emptied it."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self._types: defaultdict[str, dict[str, EventType]] = defaultdict(dict)
        self._compiled: dict[tuple[str, ...], tuple[SchemaRegistry, Mapping[str, Judgement]]] = {}

    def put(self, type_: EventType) -> None:
        """Add or update an event type."""
        self._types[type_.metadata.namespace][type_.metadata.name] = type_
        self._change(type_.metadata.namespace)

    def remove(self, namespace: str, name: str) -> None:
        """Remove an event type."""
        del self._types[namespace][name]
        if not self._types[namespace]:
            del self._types[namespace]
        self._change(namespace)

    async def prepare(self) -> None:
        """Compile changed types one by one between other tasks, ahead of their use."""
        for namespace in list(self.changed):
            for item in list(self._types.get(namespace, {}).values()):
                await turns().take()
                _failure(item)

    def registry_of(self, namespaces: Iterable[str]) -> SchemaRegistry:
        """The schema registry of some namespaces."""
        return self._schemas(tuple(name for name in sorted(namespaces) if self._types.get(name)))[0]

    def judgements(self, namespace: str) -> Mapping[str, Judgement]:
        """The judgement on each type of a namespace, by name."""
        return self._schemas((namespace,))[1] if self._types.get(namespace) else {}

    def _change(self, namespace: str) -> None:
        self.changed.add(namespace)
        self._compiled = {names: value for names, value in self._compiled.items() if namespace not in names}

    def _schemas(self, namespaces: tuple[str, ...]) -> tuple[SchemaRegistry, Mapping[str, Judgement]]:
        if not namespaces:
            return NO_SCHEMAS, {}
        if (found := self._compiled.get(namespaces)) is None:
            if len(self._compiled) >= MAX_CACHED_REGISTRIES:
                self._compiled.clear()
            types = [item for name in namespaces for item in self._types[name].values()]
            found = self._compiled[namespaces] = _compiled(types)
        return found


def _compiled(types: Sequence[EventType]) -> tuple[SchemaRegistry, Mapping[str, Judgement]]:
    try:
        schemas, problems = compile_schemas(types)
    except Exception:  # whatever is in one of them, it is nothing to the others
        failures = {id(item): failure for item in types if (failure := _failure(item)) is not None}
        schemas, problems = compile_schemas([item for item in types if id(item) not in failures])
    else:
        failures = {}
    judgements = {item.metadata.name: failures.get(id(item), IN_FORCE) for item in types}
    for item, problem, reason in problems:
        judgements[item.metadata.name] = Judgement(False, reason, problem)
    return schemas, judgements


def _failure(item: EventType) -> Judgement | None:
    try:
        compile_schemas([item])
    except Exception as error:
        metadata = item.metadata
        extra = {"type": f"{metadata.namespace}/{metadata.name}", "error": f"{type(error).__name__}: {error}"}
        log.warning("cannot compile an event type", extra=extra)
        message = f"spec.schema: cannot be compiled ({type(error).__name__}); make it simpler and flatter"
        return Judgement(False, INVALID, message)
    return None
