"""What tests read of events."""

from __future__ import annotations

from typing import Any

from heed.core.events import Event, MalformedMessage


def data_of(event: Event | MalformedMessage | None) -> dict[str, Any]:
    """The data of an event, which has to be one with an object in it."""
    assert isinstance(event, Event) and isinstance(event.data, dict), event
    return event.data
