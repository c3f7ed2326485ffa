"""An Agent that ticks every second, and what it has ticked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage

TICKED = "com.example.ticked"
TICKING: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "ticking"},
    "spec": {
        "timers": {"second": {"cron": "* * * * * *", "timeZone": "Europe/Berlin", "missed": "All"}},
        "handlers": [
            {
                "name": "tick",
                "type": names.TIMER_FIRED,
                "emit": [{"type": TICKED, "data": {"at": "${event.data.scheduledAt}"}}],
            }
        ],
    },
}


def ticks(stage: Stage) -> list[datetime]:
    """When the ticks that were handled were due."""
    events = [event.data for event in stage.answers(TICKED)]
    return [datetime.fromisoformat(data["at"]) for data in events if isinstance(data, dict)]


def until_ticks(stage: Stage, count: int) -> list[datetime]:
    return eventually(lambda: found if len(found := ticks(stage)) >= count else None, what=f"{count} ticks")
