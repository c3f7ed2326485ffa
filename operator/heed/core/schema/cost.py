"""Upper bounds of validation cost for JSON Schemas, and the schemas that are refused.

A schema can do more than its length suggests: references multiply, `unevaluatedProperties` looks again at all that is
below it, patterns repeat. Checking cannot be stopped once it runs. So each schema has a bound, as expressions do; what
may be costly is decided where it can do no harm. The weights were measured with jsonschema-rs 0.60.3, and rounded up.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.core.cel.polynomial import NODE_EXTENT, TOO_MUCH, DataLimit, constant, max_repetitions
from heed.core.codec.strict_json import MAX_JSON_DEPTH, measure_depth

JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_WORK_NS: Final = 10_000_000.0  # nanoseconds for one value of the data, or one character of it
MAX_PATTERN_COST: Final = (
    200_000.0  # as of `_repeated`, all together: about a tenth of a second until they are compiled
)

_KEYWORD: Final = 50.0
_READ: Final = 300.0  # until a value is the library's
_LOOKS: Final = 3.0  # one to know whether data fit, and the ones to say why they do not
_HEAVY: Final = {"uniqueItems": 300.0, "multipleOf": 30_000.0}
_COMPARED: Final = 160.0  # for each value that stands in enum or const
_TEXT: Final = 200.0  # per character, for formats
_COMPILED: Final = 1_000_000.0  # per character, for patterns
_AGAIN: Final = 3.0  # how often `unevaluated…` has all beside it looked at
_MOST: Final = 1e30
_DEEPEST: Final = 128
_SINGLE: Final = ("not", "if", "then", "else")
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_CHILD: Final = ("additionalProperties", "items", "contains", "propertyNames", "unevaluatedItems")
_CHILDREN: Final = (*_CHILD, "unevaluatedProperties")
_MAPS: Final = ("properties", "patternProperties", "dependentSchemas", "dependencies")
_SHELVES: Final = ("$defs", "definitions")
_ENCODED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_COUNT: Final = re.compile(r"\{(\d+)?,?(\d+)?\}")


class SchemaRefused(Exception):
    """A schema that cannot be used. `path` is where in it, as in `.properties.price`; empty for all of it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


@dataclass(frozen=True, slots=True)
class _ValidationWork:
    """Nanoseconds for each value of the data, and for each character."""

    node: float = 0.0
    text: float = 0.0

    def __add__(self, other: "_ValidationWork") -> "_ValidationWork":
        return _ValidationWork(min(self.node + other.node, _MOST), min(self.text + other.text, _MOST))

    def times(self, factor: float) -> "_ValidationWork":
        return _ValidationWork(self.node * factor, self.text * factor)


def find_limit(schema: Mapping[str, Any]) -> DataLimit:
    """The data that are cheap enough to validate in the operator; none for a recursive schema. Raises SchemaRefused."""
    if measure_depth(schema) > MAX_JSON_DEPTH:
        raise SchemaRefused("", f"nests deeper than {MAX_JSON_DEPTH} levels; flatten it, or use $defs")
    if (
        size := len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode())
    ) > MAX_SCHEMA_BYTES:
        raise SchemaRefused("", f"has {size} bytes; {MAX_SCHEMA_BYTES} are allowed")
    document = _SchemaDocument(schema)
    work = document.work_of("#", schema)
    if max(work.node, work.text) > MAX_WORK_NS:
        message = "its references, patterns or unevaluated… multiply to more than can be checked; simplify it"
        raise SchemaRefused("", message)
    if document.patterns > MAX_PATTERN_COST:
        raise SchemaRefused("", "its patterns are too large together; shorten or drop some")
    if document.recursive:
        return DataLimit.of(constant(TOO_MUCH))
    node = _LOOKS * work.node + _READ
    return DataLimit.of({(1, 0): node / NODE_EXTENT + work.text, (0, 0): node})


class _SchemaDocument:
    """A schema being looked through. Every subschema is looked at once, and again in sum wherever it is referred to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, _ValidationWork | None] = {}
        self._anchors: dict[str, str] = {}
        self.recursive = False
        self.patterns = 0.0
        self._depth = 0
        self._find_anchors("#", root)

    def work_of(self, pointer: str, schema: Any) -> _ValidationWork:
        """The work of all that a subschema does, at the data's value and below. Raises SchemaRefused."""
        if pointer in self._known:
            if (known := self._known[pointer]) is None:
                self.recursive = True
            return known or _ValidationWork(_KEYWORD)
        if not isinstance(schema, dict):
            return _ValidationWork(_KEYWORD)
        if self._depth == _DEEPEST:
            message = f"nests, its references followed, deeper than {_DEEPEST} levels; flatten it"
            raise SchemaRefused(_path(pointer), message)
        self._depth += 1
        self._known[pointer] = None
        work = self._own(pointer, schema)
        for name, inner in _subschemas(schema):
            work += self.work_of(f"{pointer}/{name}", inner)
        for keyword in ("$ref", "$dynamicRef"):
            if isinstance(reference := schema.get(keyword), str):
                work += self.work_of(*self._target(reference, f"{pointer}/{keyword}"))
        if any(name.startswith("unevaluated") for name in schema):
            work = work.times(_AGAIN)
        self._known[pointer] = work
        self._depth -= 1
        return work

    def _own(self, pointer: str, schema: dict[str, Any]) -> _ValidationWork:
        """The work of a schema's own keywords, without subschemas."""
        if pointer != "#" and "$id" in schema and isinstance(schema["$id"], str):
            raise SchemaRefused(_path(pointer), "has an $id of its own; refer to it as #/$defs/… instead")
        if (dialect := schema.get("$schema")) is not None and str(dialect).rstrip("#") != JSON_SCHEMA_DIALECT:
            raise SchemaRefused(
                f"{_path(pointer)}.$schema", f"is another dialect; write {JSON_SCHEMA_DIALECT}"
            )
        work = _ValidationWork(_KEYWORD * (1 + len(schema)), 1.0 + (_TEXT if "format" in schema else 0.0))
        if schema.get("format") == "regex":  # patterns that come with an event: each one is compiled
            work += _ValidationWork(0.0, _COMPILED)
        for keyword, more in _HEAVY.items():
            if keyword in schema and not (keyword == "multipleOf" and isinstance(schema[keyword], int)):
                work += _ValidationWork(more)
        for keyword in ("enum", "const", "required", "dependentRequired"):
            if keyword in schema:
                work += _ValidationWork(_COMPARED * _values(schema[keyword]))
        for pattern in _patterns(schema):
            repeated = _repeated(pattern)
            self.patterns += repeated
            work += _ValidationWork(_KEYWORD, repeated)
        return work

    def _target(self, reference: str, place: str) -> tuple[str, Any]:
        """Where a reference leads: a pointer, and what stands there."""
        if not reference.startswith("#"):
            message = "refers to something outside of the schema; copy it into $defs and refer to #/$defs/…"
            raise SchemaRefused(_path(place), message)
        pointer = _ENCODED.sub(_decoded, reference)
        if len(pointer) > 1 and not pointer.startswith("#/"):
            if pointer[1:] not in self._anchors:
                raise SchemaRefused(_path(place), "refers to an anchor that does not exist")
            pointer = self._anchors[pointer[1:]]
        found: Any = self._root
        for token in pointer.split("/")[1:]:
            token = token.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and token.isdecimal() and int(token) < len(found):
                found = found[int(token)]
            elif isinstance(found, dict) and token in found:
                found = found[token]
            else:
                raise SchemaRefused(_path(place), "refers to a place that does not exist")
        return pointer, found

    def _find_anchors(self, pointer: str, schema: Any) -> None:
        if not isinstance(schema, dict):
            return
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(keyword), str):
                if self._anchors.setdefault(anchor, pointer) != pointer:
                    raise SchemaRefused(_path(pointer), "has an anchor that is elsewhere, too; rename one")
        shelved = ((shelf, schema[shelf]) for shelf in _SHELVES if isinstance(schema.get(shelf), dict))
        for shelf, inner in shelved:
            for name, item in inner.items():
                self._find_anchors(f"{pointer}/{shelf}/{_token(name)}", item)
        for name, inner in _subschemas(schema):
            self._find_anchors(f"{pointer}/{name}", inner)


def _subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly in a schema that it applies, by the end of their pointers."""
    for keyword in (*_SINGLE, *_CHILDREN):
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in (*_LISTS, "prefixItems"):
        items = schema.get(keyword)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            yield f"{keyword}/{index}", item
    for keyword in _MAPS:
        entries = schema.get(keyword)
        for name, item in (entries if isinstance(entries, dict) else {}).items():
            yield f"{keyword}/{_token(name)}", item


def _patterns(schema: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(pattern := schema.get("pattern"), str):
        yield pattern
    if isinstance(named := schema.get("patternProperties"), dict):
        yield from named


def _repeated(pattern: str) -> float:
    """A pattern's length with all that its counts repeat: its automaton may be in so many states at once."""
    length = float(len(pattern) + 1)
    for numbers in _COUNT.findall(pattern):
        length = min(length * max_repetitions(numbers), _MOST)
    return length * (50 if "\\p" in pattern or "\\P" in pattern else 2)


def _values(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + len(value) + sum(map(_values, value.values()))
    return 1 + sum(map(_values, value)) if isinstance(value, list) else 1


def _decoded(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode(errors="replace")


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _path(pointer: str) -> str:
    """`.properties.price` of `#/properties/price`."""
    tokens = pointer.split("/")[1:]
    return "".join(f".{token.replace('~1', '/').replace('~0', '~')[:64]}" for token in tokens)[:256]
