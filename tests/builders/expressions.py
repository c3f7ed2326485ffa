"""What expressions are evaluated in."""

from __future__ import annotations

from typing import Any

from heed.core.cel.expression import Scope
from heed.core.cel.variables import VARIABLES


def scope(**variables: Any) -> Scope:
    """A scope in which these variables are set, the others empty maps."""
    return Scope({**{name: {} for name in VARIABLES}, **variables})
