"""What became of one event, as `decide` says it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from heed.api.status import DeadLetterCause, HeldEvent
from heed.core.effects import Effect, Publish, StartTask
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger

Outcome = Literal[
    "handled",
    "ignored",
    "duplicates",
    "stale",
    "dead_lettered",
    "due",
    "retried",
    "turns",
    "waiting",
    "held",
    "passed",
]

MAX_WORK_BYTES: Final = 192 * 1024  # of what one task is given
RECORD_BYTES: Final = 512  # about what a pending task or an owed message takes beside its content
SESSION_BYTES: Final = 200  # about what a session takes beside its state
DEFERRED_BYTES: Final = 24  # what the place of a deferred event takes
HELD_BYTES: Final = 256  # about what a held event takes beside the key of its session


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A task that a handler wants started."""

    handler: str
    task: str
    input: Any
    priority: int | None = None  # None: the task's own


@dataclass(frozen=True, slots=True)
class EmitRequest:
    """An event that a handler wants emitted: {type, data, subject, to} as rendered."""

    handler: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What a handler waits for: `path` is where its `hold` stands, `seconds` how long it may take at most.

    `handled` says that the handlers of dev.heed.hold.expired act where that passes.
    """

    handler: str
    path: str
    seconds: int
    handled: bool


@dataclass(slots=True)
class HandlerResult:
    """What the handlers did with a session, in order. `ended` says that what was there before is to be dropped.

    `state_size` is in bytes of JSON, known where a handler ran; `output_bytes` is about what they started and emitted,
    `schema_warnings` how many of the events do not fit a type that only warns.
    """

    state: dict[str, Any]
    state_size: int = 0
    output_bytes: int = 0
    handlers: list[str] = field(default_factory=list)
    starts: list[StartRequest] = field(default_factory=list)
    emits: list[EmitRequest] = field(default_factory=list)
    cancels: set[str] = field(default_factory=set)
    ended: bool = False
    schema_warnings: int = 0
    hold: HoldRequest | None = None  # the event is to be set aside: nothing else counts


# Not frozen, though never changed: freezing makes a record three times as slow to construct, and this one is made
# for every event.
@dataclass(slots=True)
class Decision:
    """What became of one event. `before` and `after` are the session's state, None where there is no session.

    An event that is `waiting` or `held` is not decided yet, and one that is `passed` was decided before; none of them
    is counted.
    """

    received: Received
    ledger: Ledger
    outcome: Outcome
    effects: tuple[Effect, ...] = ()
    session: str | None = None
    handlers: tuple[str, ...] = ()
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    letter: DeadLetterCause | None = None
    held: HeldEvent | None = None
    state_size: int = 0  # bytes of the session's state as JSON, where it was handled

    @property
    def growth(self) -> int:
        """About how many bytes it adds to the status. A state that was there before counts whole."""
        if self.outcome == "waiting":
            return DEFERRED_BYTES
        if self.held is not None:
            return estimate_hold(self.held)
        return estimate_growth(self.effects, self.state_size)


def estimate_hold(held: HeldEvent) -> int:
    """About how many bytes of status a held event takes."""
    return HELD_BYTES + len(held.session.encode(errors="surrogatepass"))


def estimate_growth(effects: Iterable[Effect], state_size: int) -> int:
    """About how many bytes of status these effects and a session with so large a state take."""
    size = SESSION_BYTES + state_size
    for effect in effects:
        match effect:
            case StartTask(record=record):
                size += RECORD_BYTES + sum(map(len, filter(None, (record.owed, record.request, record.loop))))
            case Publish(owed=owed):
                size += RECORD_BYTES + len(owed.event or "")
            case _:
                pass
    return size
