"""What became of one event, as `decide` says it."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from heed.api.status import DeadLetterCause
from heed.core.effects import Effect, Publish, StartTask
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger

Outcome = Literal["handled", "ignored", "duplicates", "stale", "dead_lettered", "waiting", "passed"]

ENVELOPE: Final = 512  # about the bytes of a record beside its content
SHELL: Final = 200  # about the bytes of a session beside its state
PLACE: Final = 24  # bytes of the place of an event that waits


# Not frozen, though nobody changes one: freezing makes the making of a record three times as slow, and this is made
# for every event.
@dataclass(slots=True)
class Decision:
    """What became of one event. `before` and `after` are the session's state, None where there is no session.

    An event that is `waiting` is not decided yet, and one that is `passed` was decided before; neither is counted.
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
    state_size: int = 0  # bytes of the session's state as JSON, where it was handled

    @property
    def growth(self) -> int:
        """About how many bytes it adds to the status. A state that was there before counts whole."""
        if self.outcome == "waiting":
            return PLACE
        size = SHELL + self.state_size
        for effect in self.effects:
            match effect:
                case StartTask(record=record):
                    size += ENVELOPE + len(record.owed or "")
                case Publish(owed=owed):
                    size += ENVELOPE + len(owed.event or "")
                case _:
                    pass
        return size
