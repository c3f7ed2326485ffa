"""What tests read of an Agent's status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def totals(status: Mapping[str, Any]) -> dict[str, int]:
    """The totals of a status that are not zero."""
    return {name: count for name, count in (status.get("totals") or {}).items() if count}


def condition(status: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """One of its conditions, {} where it is not there."""
    return next((item for item in status.get("conditions", []) if item["type"] == type_), {})
