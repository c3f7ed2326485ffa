"""What the specs of the storm's Agents are put together from."""

from __future__ import annotations

from typing import Any

DOMAIN = "com.example."
IDLE = "12s"  # of sessions that are waited for in the end
DEADLINE = "5s"
STRANGER = "5742a9e25742a9e2"  # a digest of code that no manifest names

CONTAINER = {"name": "main", "image": "example/pack:1", "args": ["${input.play}"]}
PACK = {"backoffLimit": 0, "template": {"spec": {"containers": [CONTAINER]}}}


def handler(name: str, type_: str, when: str | None = None, **reaction: Any) -> dict[str, Any]:
    """A handler of a type of the storm's domain, or of one of Heed's own."""
    full = type_ if type_.startswith("dev.") else DOMAIN + type_
    return {"name": name, "type": full, **({"when": when} if when else {}), **reaction}


def emit(type_: str, **data: Any) -> dict[str, Any]:
    """An event for all to hear."""
    return {"type": DOMAIN + type_, "data": data}
