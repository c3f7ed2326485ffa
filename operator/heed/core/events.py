"""Events as the core sees them, and what the stream adds to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
Extension = str | int | bool

MAX_HOPS = 64


# Not frozen, though nobody changes one: freezing makes the making of a record three times as slow, and this is made
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
        """The Correlation extension's id of the whole flow; an event without one begins a flow of its own."""
        return str(self.extensions.get("correlationid") or self.id)

    @property
    def hops(self) -> int:
        """How many decisions lie between this event and the first of its kind."""
        hops = str(self.extensions.get("heedhops", 0))
        if not (hops.isascii() and hops.isdecimal()):
            return 0
        # What a sender claims may be of any length; beyond the limit all numbers are alike.
        return min(int(hops), MAX_HOPS) if len(hops) <= 9 else MAX_HOPS


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A message that is no event Heed can take, with the reason."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Redrive:
    """That a message is a dead letter sent again: by which letter, for which time, and the task it once ended."""

    letter: str
    attempt: int  # 2 for the first redrive
    task: str | None = None  # JSON of the pending task, as the letter kept it
    subject: str | None = None  # that the event was first published on, where that is known


@dataclass(slots=True)
class Received:
    """A message as the stream holds it: `sequence` and `at` (RFC 3339, UTC) are the stream's own."""

    sequence: int
    at: str
    subject: str
    event: Event | MalformedMessage
    redrive: Redrive | None = None

    @property
    def origin(self) -> str:
        """The subject that the event was first published on: of a redriven dead letter not its own."""
        return self.redrive.subject or self.subject if self.redrive is not None else self.subject
