"""Why a regular expression in a JSON Schema is refused: a construct that takes backtracking, or a slip."""

import re
from typing import Final

_LONGEST: Final = 1000  # characters that are looked through
_UNKNOWN: Final = "it has a construct that is not supported, or repeats too much"
_PIECE: Final = re.compile(
    r"\\.|(\[\^?\]?(?:\\.|[^\\\]])*\])", re.S
)  # what is escaped, or a class of characters
_CLASS_IN_RANGE: Final = re.compile(
    r"(\\[wdsWDSpP](?:\{\w+\})?-(?:\\.|[^\]\\])|(?:\\.|[^\[\]\\])-\\[wdsWDSpP])"
)
_RANGE: Final = re.compile(r"([^\\\[\]-])-([^\\\[\]])")
_CONSTRUCTS: Final = (
    (
        r"\(\?<?[=!]",
        "looks around, which is not supported; check what is around in another pattern (allOf, not)",
    ),
    (r"\(\?>", "is an atomic group, which is not supported; write (?:…)"),
    (
        r"\\[1-9]|\\k<\w*>?|\(\?P=\w*\)?",
        "refers back to a group, which is not supported; write out what it stands for",
    ),
    (r"\{,\d+\}", "has no least count; write {0,…}"),
    (r"\\Z", "is no anchor here; write $"),
    (r"\\[AGKQEXRhHNyYgi]", "is no escape here; write out the characters"),
    (r"^[*+?]|(?<!\\)[(|][*+]", "repeats nothing; write a \\ before a literal * or +"),
)


def explain_pattern(pattern: str) -> str:
    """Why a pattern cannot be used, with the remedy."""
    if len(pattern) > _LONGEST:
        return _UNKNOWN
    for group in filter(None, _PIECE.findall(pattern)):
        inside = group[1:-1]
        if _CLASS_IN_RANGE.search(inside):
            return (
                f"a class such as \\w is no end of a range in {group}; write the - last: {_dash_last(group)}"
            )
        if backwards := next((r for r in _RANGE.finditer(inside) if r[1] > r[2]), None):
            return f"the range {backwards[0]} in {group} goes backwards; write {backwards[2]}-{backwards[1]}"
    outside = _PIECE.sub(lambda piece: "x" if piece[1] or piece[0] == r"\\" else piece[0], pattern)
    for construct, problem in _CONSTRUCTS:
        if found := re.search(construct, outside):
            return f"{found[0]} {problem}"
    plain = re.sub(r"\\.", "", outside)
    if plain.count("(") != plain.count(")"):
        return "its brackets ( and ) do not match; close them, or write \\( for a literal one"
    if "[" in plain:
        return "its [ has no ]; close it, or write \\[ for a literal one"
    return _UNKNOWN


def _dash_last(group: str) -> str:
    """A class of characters whose dashes beside other classes stand at its end."""
    mended = re.sub(r"(\\[wdsWDSpP](?:\{\w+\})?)-|-(?=\\[wdsWDSpP])", r"\1", group[:-1])
    return f"{mended}-]"
