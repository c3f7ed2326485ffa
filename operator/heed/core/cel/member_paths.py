"""The member paths of an expression: what it reads, tests for presence and compares with literals.

A path is a variable and the names after it: `event.data.items` is `("event", "data", "items")`. What stands for each
element of a list or map has the name EACH.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from heed.api.validation import json_kind
from heed.core.cel.ast import Call, Constant, Fold, Literal, Name, Node, Select

Path = tuple[str, ...]
EACH: Final = "[]"
_MISSING: Final = object()
_OPTIONAL: Final = ("_?._", "_[?_]")


@dataclass(frozen=True, slots=True)
class LiteralComparison:
    """A comparison of a path with literal strings: equal to one of them, or to none."""

    path: Path
    values: tuple[str, ...]
    equal: bool


@dataclass(slots=True)
class MemberReads:
    """The member paths an expression reads, tests and compares, in order of evaluation.

    `values` have to be there, or it fails; `asked` are asked for by has(), `in` or `.?`; `maps` are asked whether they
    are a map, or at least not null; macros go over `over`.
    """

    values: dict[Path, None] = field(default_factory=dict)
    asked: dict[Path, None] = field(default_factory=dict)
    maps: dict[Path, None] = field(default_factory=dict)
    over: dict[Path, None] = field(default_factory=dict)
    comparisons: list[LiteralComparison] = field(default_factory=list)

    def all(self) -> Iterator[Path]:
        """All paths, required or optional."""
        yield from dict.fromkeys((*self.values, *self.asked))


def find_reads(syntax: Node) -> MemberReads:
    """Collect the member paths of an expression."""
    reads = MemberReads()
    _visit(syntax, {}, reads)
    return reads


def format_path(path: Path) -> str:
    """A path in CEL's syntax, with `[…]` for each element: `event.data.items[…]`."""
    text = ""
    for part in path:
        if part == EACH:
            text += "[…]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def find_blocked(reads: MemberReads, variables: Mapping[str, Any]) -> tuple[Path, str, Path] | None:
    """The first path that is null or no map where a member of it is read: the path, what it is, and that member."""
    for path in (*reads.values, *reads.asked):
        value: Any = variables
        for index, part in enumerate(path):
            if not isinstance(value, Mapping):
                if part == EACH:
                    break
                return path[:index], json_kind(value), path[: index + 1]
            value = value.get(part, _MISSING)
            if value is _MISSING:
                break
    return None


def find_non_list(reads: MemberReads, variables: Mapping[str, Any]) -> tuple[Path, str] | None:
    """The first path that a macro iterates over and that is neither list nor map, and what it is."""
    for path in reads.over:
        value: Any = variables
        for part in path:
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING and not isinstance(value, Mapping | list):
            return path, json_kind(value)
    return None


# ── how the tree is read ────────────────────────────────────────────────────────────────────────────────────────────

KnownPaths = Mapping[str, Path | None]  # what variables of macros stand for


def _visit(node: Node, known: KnownPaths, reads: MemberReads) -> None:
    match node:
        case Select(operand=operand, asks=True, field=name):
            if (path := _path(operand, known)) is not None:
                reads.asked[(*path, name)] = None
            _visit(operand, known, reads)
        case Select() | Name():
            _member(node, known, reads)
        case Call():
            _call(node, known, reads)
        case Literal(items=items):
            for item in items:
                _visit(item, known, reads)
        case Fold():
            _fold(node, known, reads)
        case Constant():
            pass


def _member(node: Select | Name, known: KnownPaths, reads: MemberReads) -> None:
    """A member that is read, or a variable; a variable alone is no path to a member."""
    if (path := _path(node, known)) is None:
        _inside(node, known, reads)
    elif len(path) > 1:
        reads.values[path] = None
        _defaults(node, known, reads)


def _inside(node: Node, known: KnownPaths, reads: MemberReads) -> None:
    """What stands before a member of something that is no path."""
    if isinstance(node, Select):
        _visit(node.operand, known, reads)


def _defaults(node: Node, known: KnownPaths, reads: MemberReads) -> None:
    """What stands before a member of a path where that is an optional with its default."""
    match node:
        case Select(operand=operand) | Call(function="_[_]" | "dyn" | "value", arguments=(operand, *_)):
            _defaults(operand, known, reads)
        case Call(function="orValue" | "or"):
            _visit(node, known, reads)


def _call(call: Call, known: KnownPaths, reads: MemberReads) -> None:
    arguments = call.arguments
    if call.function in _OPTIONAL and isinstance(arguments[1], Constant):
        if (path := _path(call, known)) is not None:
            reads.asked[path] = None
        _visit(arguments[0], known, reads)
        return
    if call.function in ("_==_", "_!=_"):
        _compare(call, known, reads)
    elif call.function == "@in":
        _among(call, known, reads)
    if call.function == "_[_]" and (path := _path(call, known)) is not None:
        reads.values[path] = None
        _defaults(call, known, reads)
        return
    for argument in arguments:
        _visit(argument, known, reads)


def _compare(call: Call, known: KnownPaths, reads: MemberReads) -> None:
    one, other = call.arguments
    for side, against in ((one, other), (other, one)):
        match side, against:
            case Call(function="type", arguments=(asked,)), Name(name="map"):
                if (path := _path(asked, known)) is not None:
                    reads.maps[path] = None
            case _, Constant(kind="null") if call.function == "_!=_":
                if (path := _path(side, known)) is not None:
                    reads.maps[path] = None
            case _, Constant(kind="string", text=text):
                if (path := _path(side, known)) is not None:
                    equal = call.function == "_==_"
                    reads.comparisons.append(LiteralComparison(path, (text.decode(errors="replace"),), equal))


def _among(call: Call, known: KnownPaths, reads: MemberReads) -> None:
    wanted, among = call.arguments
    match wanted, among:
        case Constant(kind="string", text=text), _ if (path := _path(among, known)) is not None:
            reads.asked[(*path, text.decode(errors="replace"))] = None
        case _, Literal(items=items, is_list=True) if (path := _path(wanted, known)) is not None:
            values = [item for item in items if isinstance(item, Constant) and item.kind == "string"]
            if values and len(values) == len(items):
                texts = tuple(item.text.decode(errors="replace") for item in values)
                reads.comparisons.append(LiteralComparison(path, texts, True))


def _fold(fold: Fold, known: KnownPaths, reads: MemberReads) -> None:
    _visit(fold.over, known, reads)
    _visit(fold.start, known, reads)
    over = _path(fold.over, known)
    each = None if over is None else (*over, EACH)
    if over is not None:
        reads.over[over] = None
    names_a_value = isinstance(fold.over, Literal) and not fold.over.items  # how optMap does it
    inner = {
        **known,
        **dict.fromkeys(fold.each, each),
        fold.sum: _path(fold.start, known) if names_a_value else None,
    }
    for part in (fold.goes_on, fold.step, fold.result):
        _visit(part, inner, reads)


def _path(node: Node, known: KnownPaths) -> Path | None:
    """The path that a node stands for, an optional's and its default's too; None where it is something else."""
    match node:
        case Name(name=name):
            return known.get(name, (name,))
        case Select(operand=operand, asks=False, field=name):
            return None if (path := _path(operand, known)) is None else (*path, name)
        case Call(
            function="_[_]" | "_?._" | "_[?_]", arguments=(operand, Constant(kind="string", text=text))
        ):
            if (path := _path(operand, known)) is None:
                return None
            return (*path, text.decode(errors="replace"))
        case Call(function="dyn" | "value", arguments=(operand,)):
            return _path(operand, known)
        case Call(function="orValue" | "or", arguments=(operand, _)):
            return _path(operand, known)
    return None
