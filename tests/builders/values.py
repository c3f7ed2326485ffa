"""JSON values and statuses as they come back from an API server."""

from __future__ import annotations

import json
from typing import Any


def normalised(value: Any) -> Any:
    """JSON as the API server gives it back (measured): null members dropped, whole floats below 1e21 as integers."""
    if isinstance(value, dict):
        return {key: normalised(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def json_refusal(value: float) -> str:
    """Why Python's `json` does not write a number, in its own words: they differ from version to version."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{value} is JSON")


def as_stored(status: dict[str, Any]) -> dict[str, Any]:
    """A status that has been written to the API server and read again."""
    result: dict[str, Any] = normalised(json.loads(json.dumps(status)))
    return result


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch applied, letter by letter as in RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def nested_lists(depth: int) -> Any:
    """A value in so many lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def nested_maps(depth: int) -> Any:
    """A value in so many maps."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def nested_schema(depth: int, keyword: str = "not") -> dict[str, Any]:
    """A JSON Schema in itself, so many times."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {keyword: schema}
    return schema
