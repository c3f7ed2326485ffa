"""The syntax tree of a compiled expression, with macros expanded, read from cel-cpp's serialisation (CheckedExpr).

The source's text would not do: a macro can be written in many ways, and a short one stands for a lot.
Messages: cel.expr.CheckedExpr (checked.proto) and cel.expr.Expr (syntax.proto), in protobuf's wire format.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_ANY_VALUE: Final = 2  # google.protobuf.Any.value
_REFERENCES, _TYPES, _CHECKED_EXPR = 2, 3, 4  # CheckedExpr.reference_map, type_map, expr
_VARINT, _BYTES = 0, 2
_SIZES: Final = {1: 8, 5: 4}  # of the wire types of a fixed size


class UnknownSyntax(Exception):
    """A serialisation with an unknown structure."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; `text` is of a string or bytes, empty for all others. `kind` names its type."""

    text: bytes
    kind: str = "string"


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or one that a macro introduces."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """A field selection on a map, or with `asks` a presence test (`has`)."""

    operand: "Node"
    asks: bool
    field: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; what stands before a dot is the first argument.

    `overloads` are those that the types of its arguments leave.
    """

    function: str
    arguments: tuple["Node", ...]
    overloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A list or map literal with its items: for a map, keys and values in turn.

    `types` names those of the items, as far as they are known before any event comes.
    """

    items: tuple["Node", ...]
    is_list: bool
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fold:
    """A comprehension (Expr.Comprehension), to which `map`, `filter`, `all`, `exists`, `optMap` and others expand."""

    over: "Node"
    each: tuple[str, ...]
    sum: str
    start: "Node"
    goes_on: "Node"
    step: "Node"
    result: "Node"


Node = Constant | Name | Select | Call | Literal | Fold


@dataclass(frozen=True, slots=True)
class _TypeFacts:
    """The type checker's results by node id."""

    overloads: Mapping[int, tuple[str, ...]]
    types: Mapping[int, str]


_NOTHING: Final = _TypeFacts({}, {})


def parse_syntax(serialized: bytes, *, typed: bool = False) -> Node:
    """Parse what cel serializes of a compiled expression; `typed`: overloads and types, too. Raises UnknownSyntax."""
    try:
        checked = _one(serialized, _ANY_VALUE)
        return _node(_one(checked, _CHECKED_EXPR), _facts(checked) if typed else _NOTHING)
    except (IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise UnknownSyntax(repr(error)) from None


def walk_nodes(syntax: Node) -> Iterator[Node]:
    """A node and all its descendants."""
    left = [syntax]
    while left:
        yield (node := left.pop())
        match node:
            case Select(operand=operand):
                left.append(operand)
            case Call(arguments=inner) | Literal(items=inner):
                left.extend(inner)
            case Fold():
                left += [node.over, node.start, node.goes_on, node.step, node.result]


def _node(data: bytes, facts: _TypeFacts) -> Node:
    for number, value in _fields(data):
        if number in _READERS and isinstance(value, bytes):
            return _READERS[number](value, facts, data)
    raise UnknownSyntax("an expression of no kind")


def _constant(data: bytes, _facts: _TypeFacts, _around: bytes) -> Node:
    for number, value in _fields(data):
        kind = _CONSTANTS.get(number, "other")
        return Constant(value if kind in ("string", "bytes") and isinstance(value, bytes) else b"", kind)
    return Constant(b"", "other")


def _name(data: bytes, _facts: _TypeFacts, _around: bytes) -> Node:
    return Name(_one(data, 1).decode())


def _select(data: bytes, facts: _TypeFacts, _around: bytes) -> Node:
    asks = any(number == 3 for number, _ in _fields(data))
    return Select(_node(_one(data, 1), facts), asks, _one(data, 2).decode())


def _call(data: bytes, facts: _TypeFacts, around: bytes) -> Node:
    arguments = [
        _node(value, facts)
        for number, value in _fields(data)
        if number in (1, 3) and isinstance(value, bytes)
    ]
    return Call(_one(data, 2).decode(), tuple(arguments), facts.overloads.get(_id(around), ()))


def _list(data: bytes, facts: _TypeFacts, _around: bytes) -> Node:
    return _literal([value for number, value in _fields(data) if number == 1], facts, is_list=True)


def _map(data: bytes, facts: _TypeFacts, _around: bytes) -> Node:
    entries = [value for number, value in _fields(data) if number == 2 and isinstance(value, bytes)]
    items = [value for entry in entries for number, value in _fields(entry) if number in (3, 4)]
    return _literal(items, facts, is_list=False)


def _literal(items: list[int | bytes], facts: _TypeFacts, *, is_list: bool) -> Literal:
    found = [item for item in items if isinstance(item, bytes)]
    types = tuple(facts.types.get(_id(item), "other") for item in found) if facts.types else ()
    return Literal(tuple(_node(item, facts) for item in found), is_list, types)


def _fold(data: bytes, facts: _TypeFacts, _around: bytes) -> Node:
    parts = {number: value for number, value in _fields(data) if isinstance(value, bytes)}
    return Fold(
        over=_node(parts[2], facts),
        each=tuple(parts[number].decode() for number in (1, 8) if number in parts),
        sum=parts[3].decode(),
        start=_node(parts[4], facts),
        goes_on=_node(parts[5], facts),
        step=_node(parts[6], facts),
        result=_node(parts[7], facts),
    )


_READERS: Final[dict[int, Callable[[bytes, _TypeFacts, bytes], Node]]] = {
    3: _constant,
    4: _name,
    5: _select,
    6: _call,
    7: _list,
    8: _map,
    9: _fold,
}
_CONSTANTS: Final = {1: "null", 2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}
_PRIMITIVES: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}  # Type.primitive
_WELL_KNOWN: Final = {2: "timestamp", 3: "duration"}  # Type.well_known
_KINDS: Final = {1: "dyn", 2: "null", 6: "list", 7: "map"}  # Type's other members


def _id(node: bytes) -> int:
    return next((value for number, value in _fields(node) if number == 2 and isinstance(value, int)), 0)


def _facts(checked: bytes) -> _TypeFacts:
    """The checker's two maps, whose entries are messages of a key and a value."""
    overloads: dict[int, tuple[str, ...]] = {}
    types: dict[int, str] = {}
    for number, entry in _fields(checked):
        if number in (_REFERENCES, _TYPES) and isinstance(entry, bytes):
            parts = dict(_fields(entry))
            key, value = parts.get(1), parts.get(2)
            if not isinstance(key, int) or not isinstance(value, bytes):
                continue
            if number == _TYPES:
                types[key] = _type(value)
            else:
                overloads[key] = tuple(
                    item.decode() for part, item in _fields(value) if part == 3 and isinstance(item, bytes)
                )
    return _TypeFacts(overloads, types)


def _type(data: bytes) -> str:
    for number, value in _fields(data):
        if isinstance(value, int) and number in (3, 5):
            return (_PRIMITIVES if number == 3 else _WELL_KNOWN).get(value, "other")
        return _KINDS.get(number, "other")
    return "other"


def _one(data: bytes, wanted: int) -> bytes:
    for number, value in _fields(data):
        if number == wanted and isinstance(value, bytes):
            return value
    raise UnknownSyntax(f"there is no field {wanted}")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a message's fields, those of a fixed size as their bytes."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(data, place)
        elif (size := _SIZES.get(kind, 0)) == 0:
            raise UnknownSyntax(f"wire type {kind}")
        yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1
