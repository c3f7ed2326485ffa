"""What an Agent's status says of its approvals, read leniently: others may have written it."""

from collections.abc import Mapping
from typing import Any

from heed.core.approval.request import KIND
from heed.core.ledger.ledger import Ledger, load_ledger


def read_approvals(status: Mapping[str, Any]) -> Ledger:
    """The parts of a ledger that approvals need; an empty one where the status holds no ledger."""
    tasks = status.get("pendingTasks") or {}
    asked = {key: item for key, item in tasks.items() if isinstance(item, dict) and item.get("kind") == KIND}
    sessions = status.get("sessions") or {}
    own = {item.get("session") for item in asked.values()}
    try:
        return load_ledger(
            {
                "cursor": {"stream": ""},
                "pendingTasks": asked,
                "sessions": {key: item for key, item in sessions.items() if key in own},
                "recentTasks": status.get("recentTasks") or [],
            }
        )
    except ValueError:
        return Ledger()
