"""Members that the schemas of event types require, as far as they do so directly."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from heed.core.schema.registry import SchemaSource
from heed.core.type_patterns import matches

_DEPTH: Final = 32  # references and alternatives that are followed


def is_required(rules: Iterable[SchemaSource], pattern: str, path: tuple[str, ...]) -> bool:
    """Whether an EventType that a pattern matches requires a member of the data."""
    return any(matches(pattern, rule.type) and _required_by(rule.schema, path) for rule in rules)


@lru_cache(maxsize=1024)
def _required_by(schema: str, path: tuple[str, ...]) -> bool:
    whole = json.loads(schema)
    return _requires(whole, whole, path, _DEPTH)


def _requires(schema: Any, whole: Any, path: tuple[str, ...], depth: int) -> bool:
    """A member is required by the schema itself, by all of its parts, or by each of its alternatives."""
    if not path:
        return True
    if not isinstance(schema, dict) or not depth:
        return False
    if path[0] in _list(schema, "required"):
        properties = schema.get("properties")
        inner = properties.get(path[0]) if isinstance(properties, dict) else None
        if _requires(inner, whole, path[1:], depth - 1):
            return True
    parts = [_referred(schema, whole), *_list(schema, "allOf")]
    if any(_requires(part, whole, path, depth - 1) for part in parts if part is not None):
        return True
    for keyword in ("anyOf", "oneOf"):
        choices = _list(schema, keyword)
        if choices and all(_requires(choice, whole, path, depth - 1) for choice in choices):
            return True
    return False


def _list(schema: dict[str, Any], keyword: str) -> list[Any]:
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def _referred(schema: dict[str, Any], whole: Any) -> Any:
    """What a reference within the schema leads to; None where it cannot be followed simply."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = whole
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found
