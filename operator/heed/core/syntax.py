"""What a compiled expression consists of, its macros expanded: read from cel-cpp's own serialisation.

The source's text would not do: a macro can be written in many ways, and a short one stands for a lot.
Messages: cel.expr.CheckedExpr (checked.proto) and cel.expr.Expr (syntax.proto), in protobuf's wire format.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ANY_VALUE: Final = 2  # google.protobuf.Any.value
_CHECKED_EXPR: Final = 4  # CheckedExpr.expr
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class UnknownSyntax(Exception):
    """A serialisation that is not what we know."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; `text` is of a string or bytes, empty for all others."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or one that a macro introduces."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """A field of a map, or with `asks` the question whether it is there."""

    operand: "Node"
    asks: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; what stands before a dot is the first argument."""

    function: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A list or a map, with all that stands in it."""

    items: tuple["Node", ...]
    is_list: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """What `map`, `filter`, `all`, `exists`, `exists_one` and `optMap` are made of (Expr.Comprehension)."""

    over: "Node"
    each: tuple[str, ...]
    sum: str
    start: "Node"
    goes_on: "Node"
    step: "Node"
    result: "Node"


Node = Constant | Name | Select | Call | Literal | Fold


def syntax_of(serialized: bytes) -> Node:
    """The syntax tree in what `Expression.serialize` yields. Raises UnknownSyntax."""
    try:
        return _node(_one(_one(serialized, _ANY_VALUE), _CHECKED_EXPR))
    except (IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise UnknownSyntax(repr(error)) from None


def _node(data: bytes) -> Node:
    for number, value in _fields(data):
        if number in _READERS:
            assert isinstance(value, bytes)
            return _READERS[number](value)
    raise UnknownSyntax("an expression of no kind")


def _constant(data: bytes) -> Node:
    return Constant(next((value for _, value in _fields(data) if isinstance(value, bytes)), b""))


def _name(data: bytes) -> Node:
    return Name(_one(data, 1).decode())


def _select(data: bytes) -> Node:
    return Select(_node(_one(data, 1)), asks=any(number == 3 for number, _ in _fields(data)))


def _call(data: bytes) -> Node:
    arguments = [
        _node(value) for number, value in _fields(data) if number in (1, 3) and isinstance(value, bytes)
    ]
    return Call(_one(data, 2).decode(), tuple(arguments))


def _list(data: bytes) -> Node:
    items = [_node(value) for number, value in _fields(data) if number == 1 and isinstance(value, bytes)]
    return Literal(tuple(items), is_list=True)


def _map(data: bytes) -> Node:
    entries = [value for number, value in _fields(data) if number == 2 and isinstance(value, bytes)]
    items = [
        _node(value)
        for entry in entries
        for number, value in _fields(entry)
        if number in (3, 4) and isinstance(value, bytes)
    ]
    return Literal(tuple(items), is_list=False)


def _fold(data: bytes) -> Node:
    parts = {number: value for number, value in _fields(data) if isinstance(value, bytes)}
    return Fold(
        over=_node(parts[2]),
        each=tuple(parts[number].decode() for number in (1, 8) if number in parts),
        sum=parts[3].decode(),
        start=_node(parts[4]),
        goes_on=_node(parts[5]),
        step=_node(parts[6]),
        result=_node(parts[7]),
    )


_READERS: Final = {3: _constant, 4: _name, 5: _select, 6: _call, 7: _list, 8: _map, 9: _fold}


def _one(data: bytes, wanted: int) -> bytes:
    for number, value in _fields(data):
        if number == wanted and isinstance(value, bytes):
            return value
    raise UnknownSyntax(f"there is no field {wanted}")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a message's fields; those of a fixed size as bytes that nobody reads."""
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
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise UnknownSyntax(f"wire type {kind}")
        if kind == _BYTES:
            yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1
