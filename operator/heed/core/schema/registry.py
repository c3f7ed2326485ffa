"""The schema registry: a compiled validator per event type and namespace."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from heed import names
from heed.api.event_type import EventType
from heed.core.codec.cloudevents_json import choose_form
from heed.core.schema.cost import SchemaRefused
from heed.core.schema.validator import SchemaValidator

Mode = Literal["Enforce", "Warn"]
Key = tuple[str, str]  # namespace, type
_KEPT: Final = 1024  # compiled schemas, of all namespaces
_YOUNGEST: Final = "~"  # after every timestamp


@dataclass(frozen=True, slots=True)
class SchemaMismatch:
    """A mismatch of data with the schema of its type."""

    mode: Mode
    message: str


class SchemaSource(NamedTuple):
    """The source of a validator: an EventType in force. `schema` is JSON."""

    namespace: str
    name: str
    type: str
    mode: Mode
    schema: str


class RefusedEventType(NamedTuple):
    """An EventType that is not in force, and why; `reason` is Invalid or Conflict."""

    item: EventType
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class SchemaRegistry:
    """Validators by namespace and type. It is pickled as its sources, and compiled again on the other side."""

    rules: tuple[SchemaSource, ...] = ()
    _checkers: Mapping[Key, tuple[SchemaSource, SchemaValidator]] = field(
        default_factory=dict, repr=False, compare=False
    )
    tell: Callable[[str], None] | None = field(default=None, compare=False)  # is told what is about to check

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __reduce__(
        self,
    ) -> tuple[Callable[[tuple[SchemaSource, ...]], "SchemaRegistry"], tuple[tuple[SchemaSource, ...]]]:
        return _schemas_of, (self.rules,)

    def is_cheap(self, namespace: str, type_: str, data: Any) -> bool:
        """Whether data can be validated cheaply, within about 0.1 s."""
        found = self._checkers.get((namespace, type_))
        return found is None or isinstance(data, bytes) or found[1].limit.allows(data)

    def check(
        self, namespace: str, type_: str, data: Any, datacontenttype: str | None = None
    ) -> SchemaMismatch | None:
        """The mismatch of an event's data with its type, or None."""
        found = self._checkers.get((namespace, type_))
        if found is None:
            return None
        rule, checker = found
        if self.tell is not None:
            self.tell(f"EventType {namespace}/{rule.name}")
        if isinstance(data, bytes) or choose_form(datacontenttype) != "json":
            problem: str | None = f"data: are {datacontenttype or 'bytes'}, not JSON"
        else:
            problem = checker.problem(data)
        if problem is None:
            return None
        return SchemaMismatch(rule.mode, f"EventType {namespace}/{rule.name} of {type_}: {problem}")


NO_SCHEMAS: Final = SchemaRegistry()


class CompiledEventType(NamedTuple):
    """An EventType whose schema can be used."""

    item: EventType
    rule: SchemaSource
    checker: SchemaValidator

    @property
    def key(self) -> Key:
        """The namespace and event type it validates."""
        return self.rule.namespace, self.rule.type

    def check(self, data: Any) -> SchemaMismatch | None:
        """What is wrong with data in JSON, if anything."""
        return SchemaRegistry((self.rule,), {self.key: (self.rule, self.checker)}).check(*self.key, data)


def compile_type(item: EventType) -> CompiledEventType | RefusedEventType:
    """Compile one EventType, or say why it is refused."""
    namespace, type_ = item.metadata.namespace, item.spec.type
    schema = json.dumps(item.spec.schema_, ensure_ascii=False, separators=(",", ":"))
    try:
        checker = _checker(type_, schema)
    except SchemaRefused as error:
        return RefusedEventType(item, f"spec.schema{error.path}: {error.message}", "Invalid")
    return CompiledEventType(
        item, SchemaSource(namespace, item.metadata.name, type_, item.spec.mode, schema), checker
    )


def compile_schemas(types: Iterable[EventType]) -> tuple[SchemaRegistry, Sequence[RefusedEventType]]:
    """Compile EventTypes to a registry. Of several for one type the oldest wins. Also returns the refused ones."""
    return combine_types(compile_type(item) for item in types)


def combine_types(
    types: Iterable[CompiledEventType | RefusedEventType],
) -> tuple[SchemaRegistry, Sequence[RefusedEventType]]:
    """Combine compiled EventTypes to a registry, as `compile_schemas`."""
    checkers: dict[Key, tuple[SchemaSource, SchemaValidator]] = {}
    refused: list[RefusedEventType] = []
    for each in sorted(types, key=lambda each: _age(each.item)):
        if isinstance(each, RefusedEventType):
            refused.append(each)
        elif (other := checkers.get(each.key)) is not None:
            message = f"EventType {other[0].name} describes {each.rule.type} already; the oldest one counts"
            refused.append(RefusedEventType(each.item, message, "Conflict"))
        else:
            checkers[each.key] = each.rule, each.checker
    return _schemas(checkers), refused


def _age(item: EventType) -> tuple[str, str, str]:
    metadata = item.metadata
    return metadata.namespace, metadata.creation_timestamp or _YOUNGEST, metadata.name


def _checker(type_: str, schema: str) -> SchemaValidator:
    """Raises SchemaRefused."""
    if names.is_reserved(type_):
        raise SchemaRefused("", f"{type_} is an event of Heed's own, which is not checked")
    return _compiled(schema)


@lru_cache(maxsize=_KEPT)
def _compiled(schema: str) -> SchemaValidator:
    return SchemaValidator(json.loads(schema))


def _schemas(checkers: Mapping[Key, tuple[SchemaSource, SchemaValidator]]) -> SchemaRegistry:
    return SchemaRegistry(tuple(rule for rule, _ in checkers.values()), checkers) if checkers else NO_SCHEMAS


def _schemas_of(rules: tuple[SchemaSource, ...]) -> SchemaRegistry:
    return _schemas({(rule.namespace, rule.type): (rule, _compiled(rule.schema)) for rule in rules})
