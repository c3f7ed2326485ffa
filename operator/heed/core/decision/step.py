"""The value that goes through the stages of a decision: what one event is decided with, and what came of it so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heed import names
from heed.api.status import DeadLetterCause, HeldEvent, ModelBudget, OutboxMessage, PendingTask, Session
from heed.core.codec.canonical_json import dump_compact
from heed.core.compiler.program import CompiledHandler, Program
from heed.core.decision.code import Answers, without_code
from heed.core.decision.model import HandlerResult
from heed.core.effects import CancelTask, Effect
from heed.core.events import Event, Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger


@dataclass(slots=True)
class TaskContext:
    """The task that an event is of: its session's key, the `task` of expressions, its input.

    `ended`: the event ended it. `limited`: where the status has no headroom for what its handlers do, that is an error.
    """

    session: str
    variable: dict[str, str | int]
    input: Any
    ended: bool = False
    limited: bool = False

    @classmethod
    def of(cls, task_id: str, record: PendingTask, *, ended: bool) -> "TaskContext":
        """The context of a task that is pending, or was until its end came."""
        variable: dict[str, str | int] = {
            "id": task_id,
            "name": record.task,
            "kind": record.kind,
            "startedAt": record.started_at,
            "attempt": record.attempt,
        }
        return cls(record.session, variable, record.input, ended, limited=True)

    def to_letter(self) -> str:
        """What a dead letter keeps of the task: {session, input, id, name, kind, startedAt, attempt} as JSON.

        By the time that the letter is redriven, the task may have left the ledger.
        """
        return dump_compact({"session": self.session, "input": self.input, **self.variable})


@dataclass(frozen=True, slots=True)
class TickContext:
    """The tick that an event is: its timer's name, the scheduled time (RFC 3339), and what the timer's CEL reads."""

    timer: str
    scheduled_at: str
    variables: dict[str, Any]


# Not frozen: the stages fill one in, and `decide` discards it. A new record for each stage would cost as much as all
# of them.
@dataclass(slots=True)
class Step:
    """One event on its way to a decision. Every field says which stage fills it in; none is seen from outside `decide`.

    `opened` is the ledger with the event behind its cursor and nothing else of it; `ledger` is what will be kept.
    """

    program: Program
    received: Received
    opened: Ledger
    headroom: Headroom | None  # None: whatever is decided fits into the status
    answers: Answers = without_code
    ledger: Ledger = field(init=False)
    former: Mapping[str, PendingTask] = field(init=False)  # the pending tasks before the event
    # open
    waited: bool = False  # the event was deferred before: it leaves the queue as soon as it is decided
    released: HeldEvent | None = None  # the event was held before, and is looked at again
    farewells: tuple[Effect, ...] = ()  # of sessions that ended by their age: messages, and tasks to stop
    # route
    event: Event = field(init=False)
    digest: str | None = None  # what the dedup window remembers the event by
    task: TaskContext | None = None
    tick: TickContext | None = None
    stops: tuple[
        CancelTask, ...
    ] = ()  # tasks that may still run although their end was heard, or session is over
    # admit
    reactions: list[CompiledHandler] = field(init=False)
    variables: dict[str, Any] = field(init=False)
    key: str | None = None  # of the session; None as long as the event is in none
    session: Session = field(init=False)
    # run handlers
    before: dict[str, Any] | None = None  # the session's state, None where there was no session
    result: HandlerResult = field(init=False)
    # apply, or a turn of a model
    budgets: Mapping[str, ModelBudget] = field(init=False)  # after the calls of models that it reserves
    loop_ends: dict[str, OutboxMessage] = field(default_factory=dict)  # of tasks whose loop it ends
    # apply, or the dead letter
    after: dict[str, Any] | None = None
    effects: tuple[Effect, ...] = ()
    letter: DeadLetterCause | None = None
    held: HeldEvent | None = None  # the event is set aside

    def __post_init__(self) -> None:
        self.ledger, self.former = self.opened, self.opened.pending_tasks
        self.budgets = self.opened.budgets

    @property
    def origin(self) -> str:
        """What all names derive from that this Agent gives to tasks, events and letters of the stream."""
        return names.origin(self.program.agent.uid, self.ledger.cursor.created)

    def reopen(self) -> None:
        """Drop what routing found out and changed: after an unexpected error it is not to be relied on."""
        self.ledger = self.opened
        self.digest = self.task = self.tick = self.key = None
        self.stops = ()
        self.budgets = self.opened.budgets
        self.loop_ends = {}
