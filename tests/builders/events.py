"""Events as the stream holds them, and what tests read of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from heed import names
from heed.api.status import OutboxMessage
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event, MalformedMessage, Received
from tests.builders.agents import AGENT, ASKED, NAMESPACE

_START = datetime(2026, 1, 31, 12)


def at(seconds: float) -> str:
    """Stream time, so many seconds after noon."""
    return (_START + timedelta(seconds=seconds)).isoformat(timespec="microseconds") + "Z"


def event(data: Any = None, **extensions: Any) -> Event:
    """A question that somebody asked, outside any stream."""
    return Event("e5", "/shop", ASKED, data, extensions=extensions)


def received(
    sequence: int,
    type_: str = ASKED,
    data: Any = None,
    *,
    id_: str | None = None,
    source: str = "/shop",
    time: float | None = None,
    inbox: bool = False,
    subject: str | None = None,
    **extensions: Any,
) -> Received:
    """An event that the stream holds at `sequence`, stored so many seconds after noon."""
    given = Event(id_ or f"e{sequence}", source, type_, data, subject=subject, extensions=extensions)
    where = names.inbox_subject(NAMESPACE, AGENT, type_) if inbox else names.event_subject(NAMESPACE, type_)
    return Received(sequence, at(sequence if time is None else time), where, given)


def malformed(sequence: int) -> Received:
    """A message that is no event."""
    return Received(
        sequence, at(sequence), names.event_subject(NAMESPACE, ASKED), MalformedMessage("BadData", "no JSON")
    )


def task_end(
    sequence: int, task_id: str, result: Any = None, *, reason: str | None = None, **more: Any
) -> Received:
    """The end of a task, as Heed tells it: completed with a result, or failed for a reason."""
    type_ = names.TASK_FAILED if reason else names.TASK_COMPLETED
    data = {"reason": reason} if reason else {"result": result}
    more = {"source": names.agent_source(NAMESPACE, AGENT), **more}
    return received(sequence, type_, data, inbox=True, subject=task_id, **more)


def data_of(event: Event | MalformedMessage | None) -> dict[str, Any]:
    """The data of an event, which has to be one with an object in it."""
    assert isinstance(event, Event) and isinstance(event.data, dict), event
    return event.data


def owed_event(event: Event, subject: str, sequence: int = 0) -> OutboxMessage:
    """An emitted event in an outbox, which the event at `sequence` owes since noon."""
    return OutboxMessage(sequence, 0, subject, at(0), event=json.dumps(event_to_json(event)))
