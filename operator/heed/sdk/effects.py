"""Effects: what a handler asks for beside the new state. They are values; nothing happens before the commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from heed import names
from heed.sdk.durations import parse_duration
from heed.sdk.errors import CodeError
from heed.sdk.events import Event
from heed.sdk.state import State

if TYPE_CHECKING:
    from heed.sdk.tasks import Task


class Effect:
    """What a handler asks for beside the new state: one of the classes below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Start(Effect):
    """Start a task with an input: JSON."""

    task: str
    input: Any = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Emit(Effect):
    """Emit an event, broadcast in the Agent's namespace or to one Agent there."""

    event: Event
    subject: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel(Effect):
    """Cancel all pending tasks of a name in this session."""

    task: str


@dataclass(frozen=True, slots=True)
class End(Effect):
    """Forget the session: its state goes, its pending tasks are cancelled unheard."""


@dataclass(frozen=True, slots=True)
class Hold(Effect):
    """Set the event aside until the session's state changes, for so many seconds at most. Nothing else counts then."""

    seconds: int
    handled: bool = False


# What a handler returns: nothing where it does not act, the new state, effects, or both.
Reaction = State | Effect | Sequence[Effect] | tuple[State | None, Effect | Sequence[Effect]] | None


def emit(event: Event, *, subject: str | None = None, to: str | None = None) -> Emit:
    """Emit an event; `to` is the name of the only Agent in this namespace that gets it.

    Raises CodeError for a class that has no type of its own: BadType.
    """
    if not names.is_type(event.event_type):
        what = f"is of several types, {event.event_type}," if event.event_type else "has no type"
        raise CodeError(
            "BadType", f"{type(event).__name__} {what} and cannot be emitted; emit one of a single type"
        )
    return Emit(event, subject, to)


def cancel(task: "Task[Any]") -> Cancel:
    """Cancel the session's pending runs of a task; each ends as failed, with the reason Cancelled."""
    return Cancel(task.name)


def end() -> End:
    """Forget the session, whose pending tasks are cancelled unheard."""
    return End()


def hold(timeout: str = "24h", *, on_expire: Literal["DeadLetter", "Handle"] = "DeadLetter") -> Hold:
    """Handle this event later: it is looked at again with each change of the session's state, until `timeout`.

    It is a dead letter then, or with Handle the handlers of HoldExpired act instead.
    """
    return Hold(parse_duration(timeout), on_expire == "Handle")
