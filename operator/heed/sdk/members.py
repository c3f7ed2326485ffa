"""Members of maps in manifests and answers."""

from collections.abc import Mapping
from typing import Any


def without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are there: those that are not None."""
    return {name: value for name, value in members.items() if value is not None}
