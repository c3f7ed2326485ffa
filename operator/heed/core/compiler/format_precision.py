"""Lint of `format`'s precision: `%s` keeps six digits of a double, and `%d` writes 2.0 as 2.000000.

Those that stand as `${…}` in a text, and those that `string()` or `int()` make, are exact.
"""

import re
from collections.abc import Iterator
from typing import Final

from heed.core.cel.ast import Call, Constant, Literal, Node, walk_nodes
from heed.core.cel.member_paths import find_reads
from heed.core.compiler.expression_sites import ExpressionSite
from heed.errors import Problem

_CLAUSE: Final = re.compile(r"%(?:%|(?:\.\d+)?([a-zA-Z]))")
_EXACT: Final = {
    "d": ("int", "uint"),
    "s": ("string", "int", "uint", "bool", "bytes", "null", "timestamp", "duration", "other"),
}
_REMEDIES: Final = {"d": "write int(…) around it", "s": "write string(…) around it, or ${…} in the text"}
_TEXTS: Final = {
    "event": ("id", "source", "type", "specversion", "correlationid", "subject", "time", "datacontenttype"),
    "agent": ("name", "namespace"),
    "session": ("key", "startedAt"),
    "task": ("id", "name", "kind", "startedAt"),
}


def find_imprecise_formats(place: ExpressionSite) -> Iterator[Problem]:
    """Warnings for arguments that `format` may round or pad."""
    for node in walk_nodes(place.syntax) if place.syntax is not None else ():
        match node:
            case Call(function="format", arguments=(text, Literal(items=items, types=types))):
                yield from _of_format(place, _clauses(text), items, types)


def _clauses(text: Node) -> list[str]:
    """The letters of the clauses; none where the text is not known, and each argument counts as `%s` then."""
    if not isinstance(text, Constant):
        return []
    return [found[1] for found in _CLAUSE.finditer(text.text.decode(errors="replace")) if found[1]]


def _of_format(
    place: ExpressionSite, clauses: list[str], items: tuple[Node, ...], types: tuple[str, ...]
) -> Iterator[Problem]:
    for index, (item, type_) in enumerate(zip(items, types, strict=True)):
        clause = clauses[index] if index < len(clauses) else "s"
        if clause not in _EXACT or type_ in _EXACT[clause] or (clause == "s" and _is_text(item)):
            continue
        how = "writes a double such as 2.0 as 2.000000" if clause == "d" else "keeps six digits of a double"
        yield Problem(
            place.path, f"%{clause} of format {how}, and argument {index + 1} may be one", _REMEDIES[clause]
        )


def _is_text(node: Node) -> bool:
    """Whether it is an attribute that is always a text."""
    paths = [path for path in find_reads(node).values if len(path) == 2]
    return len(paths) == 1 and paths[0][1] in _TEXTS.get(paths[0][0], ()) and not isinstance(node, Call)
