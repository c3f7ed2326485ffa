"""Data to try an Agent with: members that its expressions look at, of the types that they compare them with."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

PLACEHOLDER: Final = "…"
_MEMBER: Final = re.compile(r"event\.data((?:\.\??[A-Za-z_]\w*)+)(\(|\[)?")
_COMPARED: Final = re.compile(
    r"\s*(==|!=|<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?![\w.])|true\b|false\b|\"[^\"\\]*\"|'[^'\\]*')"
)
_DEFAULT: Final = re.compile(r"(-?\d+(?:\.\d+)?(?![\w.])|true\b|false\b|\"[^\"\\]*\"|'[^'\\]*')\)")
_OF_LISTS: Final = ("map", "filter", "all", "exists", "exists_one")


def sample_data(document: Any) -> dict[str, Any]:
    """Sample event data with the members that the expressions in a document look at."""
    data: dict[str, Any] = {}
    for text in _texts(document):
        for path, value in _members(text):
            _put(data, path, value)
    return data


def _texts(value: Any) -> Iterator[str]:
    """The strings within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _members(text: str) -> Iterator[tuple[list[str], Any]]:
    for found in _MEMBER.finditer(text):
        path = found[1].replace("?", "").strip(".").split(".")
        rest = text[found.end() :]
        if found[2] == "(":
            method = path.pop()
            default = _DEFAULT.match(rest) if method == "orValue" else None
            yield path, [PLACEHOLDER] if method in _OF_LISTS else _literal(default[1] if default else None)
        elif found[2] == "[":
            yield path, [PLACEHOLDER]
        else:
            compared = _COMPARED.match(rest)
            yield path, _holding(compared[1], _literal(compared[2])) if compared else PLACEHOLDER


def _literal(text: str | None) -> Any:
    if text is None:
        return PLACEHOLDER
    return text[1:-1] if text[0] in "\"'" else json.loads(text)


def _holding(operator: str, value: Any) -> Any:
    """A value for which a comparison with another one holds."""
    if isinstance(value, bool):
        return value if operator == "==" else not value
    if isinstance(value, str):
        return value if operator == "==" else PLACEHOLDER
    return value + {"!=": 1, ">": 1, "<": -1}.get(operator, 0)


def _put(data: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """Set a member; what is known of it already stays, unless that is nothing."""
    *parents, last = path or [""]
    if not last:
        return
    for name in parents:
        inner = data.get(name)
        if not isinstance(inner, dict):
            inner = data[name] = {}
        data = inner
    if data.get(last, PLACEHOLDER) == PLACEHOLDER:
        data[last] = value
