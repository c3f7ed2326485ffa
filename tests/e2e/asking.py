"""Events that the stories publish."""

from __future__ import annotations

from typing import Any

from heed.core.events import Event
from tests.e2e.agents import ASKED, TICK


def tick(number: int) -> Event:
    return _event(f"tick-{number}", TICK, {"tick": number})


def question(topic: str, seconds: float) -> Event:
    """A session of its own for each topic."""
    return _event(topic, ASKED, {"topic": topic, "seconds": seconds}, topic)


def _event(id_: str, type_: str, data: Any, correlation: str = "all") -> Event:
    extensions: dict[str, Any] = {"correlationid": correlation}
    return Event(id_, "/e2e", type_, data, datacontenttype="application/json", extensions=extensions)
