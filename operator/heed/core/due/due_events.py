"""What is published when a due time has come: the end of a task where it ends one, else an event of its own."""

from datetime import datetime
from typing import Final

from heed import names
from heed.core.compiler.program import Program
from heed.core.due.due_times import DueKind, DueTime
from heed.core.due.timers import choose_event, scheduling_event
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.job_contract import REASON_DEADLINE

# What is said by an event that ends no task.
EVENT_KINDS: Final[dict[str, DueKind]] = {
    "session": "session",
    "retry": "retry",
    "queue": "queue",
    "age": "age",
    "hold": "hold",
}


def deadline_end(due: DueTime, at: str) -> TaskEnd:
    """The end of a task whose deadline has passed, or of its attempt. `at` is the time of saying so (RFC 3339)."""
    if due.kind == "attempt":
        attempt_id = names.attempt_id(due.key, due.attempt)
        return TaskEnd(
            due.key,
            names.digest("attempt-deadline", attempt_id),
            at,
            False,
            reason=REASON_DEADLINE,
            message=f"attempt {due.attempt} was not done by {due.at}, its attemptTimeout",
            attempt=due.attempt,
        )
    message = f"not done by {due.at}, its timeout after the event that started it"
    end_id = names.digest("deadline", due.key)
    return TaskEnd(due.key, end_id, at, False, reason=REASON_DEADLINE, message=message)


def wait_completed(due: DueTime, at: str) -> TaskEnd:
    """The end of a wait that is over. Its result says until when it was."""
    return TaskEnd(due.key, names.digest("wait", due.key), at, True, result={"until": due.at})


def timer_event(program: Program, ledger: Ledger, due: DueTime, now: datetime) -> Event | None:
    """The event that a timer's due time comes to; None where it turns out not to be due."""
    if due.kind == "timers":
        return scheduling_event(program, ledger)
    return choose_event(program, ledger, due.key, now)


def due_event(agent: AgentRef, origin: str, due: DueTime) -> Event:
    """The event that says to the Agent that something is due. `origin` as in `names.origin`."""
    return Event(
        id=names.digest("due", origin, due.kind, due.key, due.at),
        source=names.agent_source(agent.namespace, agent.name),
        type=f"{names.DUE_TYPE_PREFIX}{due.kind}",
        subject=due.key or None,
        time=due.at,
        datacontenttype="application/json",
        data={"at": due.at, "key": due.key},
    )


def read_due(event: Event) -> DueTime | None:
    """The due time that an event claims; None where it claims none that there could be."""
    data = event.data
    kind = EVENT_KINDS.get(event.type.removeprefix(names.DUE_TYPE_PREFIX))
    if kind is None or not isinstance(data, dict):
        return None
    at, key = data.get("at"), data.get("key")
    return DueTime(at, kind, key) if isinstance(at, str) and isinstance(key, str) else None
