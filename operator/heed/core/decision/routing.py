"""Routing: whose event it is, which task it is of, and whether the dedup window knows it.

There are five ways to a session: an event that was broadcast or sent to the Agent, a tick of one of its timers, the end
of one of its tasks, the progress of one, and the end of a task whose letter is redriven. From here on they are decided
alike.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import PendingTask, RecentTask
from heed.core.decision.approvals import read_end
from heed.core.decision.attempts import read_attempt, retry_task, start_attempt
from heed.core.decision.loop_ends import stop_loops
from heed.core.decision.model import Outcome
from heed.core.decision.outputs import Outputs
from heed.core.decision.session_expiry import end_idle_sessions, end_old_sessions, read_key
from heed.core.decision.sessions import MAX_CLOCK_SKEW_S, add_seconds
from heed.core.decision.step import Step, TaskContext
from heed.core.decision.ticks import is_tick, route_dropped, route_scheduling, route_tick
from heed.core.decision.turns import take_lost_call, take_report, take_tool_end
from heed.core.due.due_events import read_due
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import Ledger, end_task, make_cancel
from heed.core.tasks.retry import is_final
from heed.core.tasks.slots import is_idle
from heed.core.tasks.work import progress_event
from heed.errors import DecisionFailed


def route(step: Step) -> Outcome | None:
    """Find out what kind of event it is. Raises DecisionFailed.

    An inbox is read by its Agent alone, but who can write a status can have any event of the stream deferred.
    """
    received, agent = step.received, step.program.agent
    if names.is_inbox(received.subject) and not names.is_inbox_of(
        received.subject, agent.namespace, agent.name
    ):
        return "ignored"
    if isinstance(received.event, MalformedMessage):
        if not step.program.reads_namespace(names.namespace_of_subject(received.origin)):
            return "ignored"
        raise DecisionFailed(received.event.code, received.event.message)
    step.event = received.event
    if is_tick(step):
        return route_tick(step, digest_event(step))
    if step.released is not None:
        return _deduplicate(step, digest_event(step))
    if names.is_reserved(step.event.type):
        return _route_own(step)
    return _deduplicate(step, digest_event(step))


def _route_own(step: Step) -> Outcome | None:
    """What only Heed itself says, to an inbox: of tasks, of due times, of sessions that ended."""
    event_type = step.event.type
    if not names.is_inbox(step.received.origin) or event_type.startswith(names.TIMER_TYPE_PREFIX):
        message = f"{event_type} is Heed's own to say; choose a type of your own"
        raise DecisionFailed("ReservedType", message)
    if event_type.startswith(names.TASK_TYPE_PREFIX):
        return _route_task_event(step)
    if event_type.startswith(names.DUE_TYPE_PREFIX):
        return _route_due(step)
    if event_type == names.SESSION_EXPIRED:
        return _route_session_end(step)
    return _deduplicate(step, digest_event(step))


def _deduplicate(step: Step, digest: str) -> Outcome | None:
    """Note what the event is remembered by, and whether the dedup window remembers it."""
    step.digest = digest
    return "duplicates" if digest in step.ledger.recent_events else None


def digest_event(step: Step) -> str:
    """What the event is remembered by. A letter was remembered when it was written, so a redrive has its own digest.

    Events of another namespace are remembered apart: none of them makes an event of this one a duplicate.
    """
    event, own = step.event, step.program.agent.namespace
    if (redrive := step.received.redrive) is not None:
        return names.redrive_digest(redrive.letter, redrive.attempt)
    source = event.source
    if step.program.reads_others and (other := names.namespace_of_subject(step.received.subject)) != own:
        source = f"{other} {source}"
    return names.event_digest(source, event.id)


def _route_due(step: Step) -> Outcome:
    """A due time has come. Opening the step did what the stream's time asks for; the broker's clock may be behind."""
    if step.event.type == names.DUE_TIMERS_CHANGED:
        return route_scheduling(step)
    if step.event.type == names.DUE_TICKS_DROPPED:
        return route_dropped(step)
    due = read_due(step.event)
    if due is None:
        return "stale"
    if due.kind == "retry":
        return start_attempt(step, due)
    now = step.ledger.cursor.time or ""
    if now < due.at <= add_seconds(now, MAX_CLOCK_SKEW_S):
        now = due.at
        end_idle_sessions(step, now)
    match due.kind:
        case "age":
            end_old_sessions(step, now)
        case "hold":
            _expire_holds(step, max(now, due.at) if due.at == step.ledger.held.next_expiry() else now)
    return "due"


def _expire_holds(step: Step, now: str) -> None:
    """Have held events whose time is over looked at. What the ledger says to be due is, whatever the broker's clock."""
    step.opened = step.ledger = replace(step.ledger, held=step.ledger.held.expire(now))


def _route_session_end(step: Step) -> Outcome | None:
    """A session of the Agent ended by its age: its handlers run in a new one of the same key."""
    step.key = read_key(step.event)
    return "stale" if step.key is None else _deduplicate(step, digest_event(step))


def _route_task_event(step: Step) -> Outcome | None:
    received = step.received
    if received.redrive is not None and received.redrive.task is not None:
        return _route_redriven_end(step)
    if (attempt_id := names.task_of_subject(received.subject)) is not None:
        if step.event.type == names.TASK_TURN:
            return _route_turn(step, attempt_id)
        return _route_progress(step, attempt_id)
    return _route_end(step, step.event.subject or "")


def _route_redriven_end(step: Step) -> Outcome | None:
    """The end of a task that has left the ledger since: the letter kept what its handlers see of it."""
    if (outcome := _deduplicate(step, digest_event(step))) is not None:
        return outcome
    step.task = read_task(step.received)
    return None


def _route_progress(step: Step, attempt_id: str) -> Outcome | None:
    """What a pending task says. Its subject says which attempt that is: the broker lets only that one publish there."""
    event = step.event
    task_id, attempt = names.split_attempt(attempt_id)
    record = _pending(step.ledger, task_id)
    if record is None or record.attempt != attempt or event.type != names.TASK_PROGRESS:
        return "stale"
    if event.subject not in (None, task_id, attempt_id):
        return "stale"
    if (outcome := _deduplicate(step, names.progress_digest(attempt_id, event.source, event.id))) is not None:
        return outcome
    step.event = progress_event(task_id, record, event)
    step.task = TaskContext.of(task_id, record, ended=False)
    return None


def _route_turn(step: Step, attempt_id: str) -> Outcome:
    """What a worker says of a call of a model. As with progress, the broker vouches for the subject."""
    task_id, attempt = names.split_attempt(attempt_id)
    record = _pending(step.ledger, task_id)
    if record is None or not _is_at(record, attempt):
        return "stale"
    return take_report(step, task_id, record)


def _route_end(step: Step, task_id: str) -> Outcome | None:
    """The end of a pending task takes it out of the ledger, whatever the handlers then do or fail to do.

    Where it is only that of an attempt, and another one follows, no handler hears of it; nor of the end of a tool,
    which is for the model that called it.
    An end that the operator did not write itself says nothing about the work, which may still run: it is stopped.
    """
    event, agent = step.event, step.program.agent
    record = _pending(step.ledger, task_id)
    if record is None or event.type not in (names.TASK_COMPLETED, names.TASK_FAILED):
        return "stale"
    if (attempt := read_attempt(event)) is not None and not _is_at(record, attempt):
        return "stale"
    if (outcome := _try_again(step, task_id, record)) is not None:
        return outcome
    event, answer = step.event, None
    if record.kind == "approval":
        if record.phase != "Started" and event.type == names.TASK_COMPLETED:
            return "stale"
        answer = read_end(step, task_id)
    step.task = TaskContext.of(task_id, record, ended=True)
    completed = event.type == names.TASK_COMPLETED
    recent = RecentTask(
        id=task_id,
        task=record.task,
        session=record.session,
        outcome="Completed" if completed else "Failed",
        started_at=record.started_at,
        ended_at=step.received.at,
        reason=None if completed else _reason(event),
        answer=answer,
    )
    foreign = event.source != names.agent_source(agent.namespace, agent.name)
    may_run = foreign and not is_idle(record)
    tools = stop_loops(step, step.ledger.pending_tasks, (task_id,))
    step.ledger = end_task(step.ledger, recent, may_run=may_run)
    if may_run:
        step.stops = (make_cancel(task_id, step.ledger.pending_tasks[task_id]),)
    if record.loop is not None:
        _leave_tools(step, tools)
    if record.parent is not None:
        step.task = None
        return take_tool_end(step, record, completed=completed)
    return None


def _try_again(step: Step, task_id: str, record: PendingTask) -> Outcome | None:
    """What follows the end of an attempt; None where the task has ended with it. A call of a model ends in a report."""
    attempt, event = read_attempt(step.event), step.event
    if record.loop is not None and attempt is not None:
        if event.type == names.TASK_COMPLETED or not is_final(_reason(event)):
            return take_lost_call(step, task_id, record)
    return retry_task(step, task_id, record) if event.type == names.TASK_FAILED else None


def _leave_tools(step: Step, tools: Mapping[str, PendingTask]) -> None:
    """Stop the tools that a model was waiting for. Their ends are not awaited."""
    outputs = Outputs(dict(tools), {}, {})
    tasks = outputs.change(step.ledger.pending_tasks)
    step.ledger = replace(step.ledger, pending_tasks=tasks, budgets=step.budgets)
    step.stops = (*step.stops, *outputs.stops)


def _is_at(record: PendingTask, attempt: int) -> bool:
    """Whether a task is at an attempt, which may have begun."""
    return record.attempt == attempt and record.phase not in ("Retrying", "Queued")


def _pending(ledger: Ledger, task_id: str) -> PendingTask | None:
    """The task, unless the ledger has given it up or does not know it."""
    record = ledger.pending_tasks.get(task_id)
    return None if record is None or record.phase == "Abandoned" else record


def _reason(event: Event) -> str:
    data = event.data
    return str(data.get("reason") or "Unknown")[:100] if isinstance(data, dict) else "Unknown"


def read_task(received: Received) -> TaskContext:
    """The task that a redriven letter kept, see `TaskContext.to_letter`. Raises DecisionFailed: BadRedrive."""
    try:
        record: dict[str, Any] = json.loads((received.redrive and received.redrive.task) or "")
        task: dict[str, str | int] = {name: str(record[name]) for name in ("id", "name", "kind", "startedAt")}
        task["attempt"] = int(record.get("attempt", 1))
        return TaskContext(str(record["session"]), task, record["input"])
    except (ValueError, KeyError, TypeError):
        message = "the task that came with the letter cannot be read; redrive it with `heed dead redrive`"
        raise DecisionFailed("BadRedrive", message) from None
