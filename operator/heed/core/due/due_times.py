"""Due times: every moment at which the ledger says that something happens without an event from outside.

They are listed from the ledger alone, so that they hold over restarts and failovers. When one has come, an event goes
to the Agent's inbox, under an id derived from what is due and when: doing that twice changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from heed import names
from heed.api.status import PendingTask
from heed.core.compiler.program import Program
from heed.core.due.timers import list_next_ticks, needs_scheduling
from heed.core.ledger.ledger import Ledger, list_busy_sessions
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.tasks.slots import find_grantable

DueKind = Literal[
    "deadline", "attempt", "wait", "approval", "retry", "queue", "session", "age", "hold", "timer", "timers"
]

AT_ONCE: Final = "1970-01-01T00:00:00.000000Z"  # of what has been due since it is known
IDLE_STEP: Final = timedelta(
    minutes=1
)  # how exactly idle sessions are noticed: a thousand of them cost one event

_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, order=True)
class DueTime:
    """Something is due `at` a time (RFC 3339, UTC, microseconds).

    `kind` says what: the deadline of a task or of its `attempt`, a wait's end, the next attempt, an idle session, one
    that is too old, a held event whose time is over, a timer's tick, timers that are to be scheduled. `key` is the id
    of the task, for the next attempt its `names.attempt_id`, a digest of the session's key, or the name of the timer.
    With `grace` a run that knows better how it ended may say so first.
    """

    at: str
    kind: DueKind
    key: str
    grace: bool = False
    attempt: int = 1


def list_due_times(program: Program, ledger: Ledger) -> Iterator[DueTime]:
    """All due times of an Agent, in no order."""
    for task_id, record in ledger.pending_tasks.items():
        yield from _of_task(task_id, record)
    yield from _of_queue(program, ledger)
    yield from _of_idle_sessions(program, ledger)
    yield from _of_timers(program, ledger)
    yield from _of_old_sessions(program, ledger)
    if (expiry := ledger.held.next_expiry()) is not None:
        yield DueTime(expiry, "hold", "")


def _of_task(task_id: str, record: PendingTask) -> Iterator[DueTime]:
    if record.phase in ("Cancelling", "Abandoned"):
        return
    runs, attempt = record.phase == "Started" and record.kind not in LEDGER_KINDS, record.attempt
    if record.due is not None and record.phase == "Retrying":
        yield DueTime(record.due, "retry", names.attempt_id(task_id, attempt), attempt=attempt)
    elif record.due is not None and record.kind == "wait":
        yield DueTime(record.due, "wait", task_id)
    elif record.due is not None and record.kind == "approval":
        yield DueTime(record.due, "approval", task_id, grace=True)
    if record.attempt_deadline is not None and record.phase in ("Owed", "Started"):
        yield DueTime(record.attempt_deadline, "attempt", task_id, grace=runs, attempt=attempt)
    if record.deadline is not None:
        # Somebody may have answered an approval in time, while no operator ran.
        grace = runs or record.kind == "approval"
        yield DueTime(record.deadline, "deadline", task_id, grace=grace, attempt=attempt)


def _of_queue(program: Program, ledger: Ledger) -> Iterator[DueTime]:
    """Where a manifest has more slots than the one before, nothing else would give them."""
    if (since := find_grantable(program.slots, ledger.pending_tasks)) is not None:
        yield DueTime(since, "queue", str(program.generation))


def _of_timers(program: Program, ledger: Ledger) -> Iterator[DueTime]:
    if needs_scheduling(program, ledger):
        yield DueTime(AT_ONCE, "timers", str(program.generation))
    for name, tick in list_next_ticks(program, ledger):
        yield DueTime(f"{tick[:19]}.000000Z", "timer", name)


def _of_idle_sessions(program: Program, ledger: Ledger) -> Iterator[DueTime]:
    """When the next session that waits for nothing will have been idle for too long.

    At a full step of the clock; where the Agent hears of it, at the next full second, and for each session by itself.
    """
    busy = list_busy_sessions(ledger)
    key = next((key for key in ledger.sessions if key not in busy), None)
    if key is None:
        return
    moment = datetime.fromisoformat(ledger.sessions[key].last_event_at)
    moment += timedelta(seconds=program.idle_timeout)
    if program.announces_ends:
        yield DueTime(_format(moment.replace(microsecond=0) + _SECOND), "session", names.session_hash(key))
    else:
        yield DueTime(_format(_next_step(moment)), "session", "")


def _of_old_sessions(program: Program, ledger: Ledger) -> Iterator[DueTime]:
    """When the oldest session will have reached its maximal age."""
    if program.max_age is None or not ledger.sessions:
        return
    key, oldest = min(ledger.sessions.items(), key=lambda item: (item[1].started_at, item[0]))
    moment = datetime.fromisoformat(oldest.started_at) + timedelta(seconds=program.max_age)
    yield DueTime(_format(moment), "age", names.session_hash(key))


def _format(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _next_step(moment: datetime) -> datetime:
    """The first full step after a moment."""
    start = moment.replace(second=0, microsecond=0)
    return start + IDLE_STEP
