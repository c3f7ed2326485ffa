"""Events, and the messages that carry them in the stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Extension = str | int | bool

MAX_HOPS = 64


# Not frozen, though never changed: freezing makes a record three times as slow to construct, and this one is made
# for every event.
@dataclass(slots=True)
class Event:
    """A CloudEvent 1.0. `data` is JSON, text, or bytes, as `datacontenttype` says; `time` is RFC 3339."""

    id: str
    source: str
    type: str
    data: Json | bytes = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, Extension] = field(default_factory=dict)

    @property
    def correlationid(self) -> str:
        """The Correlation extension's id of the flow; without one, the event's own id, as it starts a flow."""
        return str(self.extensions.get("correlationid") or self.id)

    @property
    def hops(self) -> int:
        """How many decisions lie between this event and the first one of its flow (`heedhops`)."""
        hops = str(self.extensions.get("heedhops", 0))
        if not (hops.isascii() and hops.isdecimal()):
            return 0
        # What a sender claims may be of any length; beyond the limit all numbers are alike.
        return min(int(hops), MAX_HOPS) if len(hops) <= 9 else MAX_HOPS


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A message that is no valid event: a CamelCase code, and a sentence why."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Redrive:
    """The redrive a message is: of which dead letter, which attempt, and the task that the event ended at first."""

    letter: str
    attempt: int  # 2 for the first redrive
    task: str | None = None  # JSON of the pending task, as the letter kept it
    subject: str | None = None  # that the event was first published on, where that is known


@dataclass(slots=True)
class Received:
    """A message in the stream. `sequence` and `at` (RFC 3339, UTC) are the stream's own."""

    sequence: int
    at: str
    subject: str
    event: Event | MalformedMessage
    redrive: Redrive | None = None

    @property
    def origin(self) -> str:
        """The subject of the event's first publication: for a redriven dead letter not the redrive subject."""
        return self.redrive.subject or self.subject if self.redrive is not None else self.subject
