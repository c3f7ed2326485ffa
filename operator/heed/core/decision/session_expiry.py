"""The end of sessions by time: those that were idle for too long, and those that are too old.

With `onExpire: Emit` each end is an event that the Agent's outbox owes its own inbox.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from heed import names
from heed.api.status import OutboxMessage, Session
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_from_json, event_to_json
from heed.core.decision.model_budgets import settle_stopped
from heed.core.decision.sessions import MAX_KEY, add_seconds, list_idle_sessions
from heed.core.decision.step import Step
from heed.core.effects import Publish
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, abandon_task, add_to_totals, drop_keys, make_cancel
from heed.core.tasks.slots import is_idle
from heed.errors import MalformedEvent

MAX_ENDED_SESSIONS: Final = (
    50  # that one decision ends where it has to say so; the others with the next due time
)
MAX_FAREWELL_BYTES: Final = 256 * 1024  # of the messages that say so, but for one that alone is larger
Reason = Literal["Idle", "MaxAge"]


def end_idle_sessions(step: Step, now: str) -> None:
    """End the sessions that had no event since `now` less the idle timeout, and wait for nothing."""
    program, ledger = step.program, step.opened
    idle = list_idle_sessions(program, ledger, now)
    if idle and not program.announces_ends:
        _replace(step, _without(ledger, idle))
    elif idle:
        _end(step, idle, "Idle", now)


def end_old_sessions(step: Step, now: str) -> None:
    """End the sessions that began more than the maximal age before `now`, with all that they wait for."""
    if (age := step.program.max_age) is not None:
        limit = add_seconds(now, -age)
        _end(
            step,
            [key for key, item in step.opened.sessions.items() if item.started_at <= limit],
            "MaxAge",
            now,
        )


def _end(step: Step, keys: Sequence[str], reason: Reason, now: str) -> None:
    """End as many of these sessions as one decision may, and say so where the Agent wants to hear of it."""
    ledger, ended, messages, size = step.opened, list[str](), dict[str, OutboxMessage](), 0
    for key in keys[:MAX_ENDED_SESSIONS]:
        if step.program.announces_ends:
            message = _farewell(step, key, ledger.sessions[key], reason, now, len(messages))
            size += len(message.event or "")
            if size > MAX_FAREWELL_BYTES and ended:
                break
            messages[_farewell_id(step, key, ledger.sessions[key])] = message
        ended.append(key)
    if not ended:
        return
    over = set(ended)
    ending = {
        task_id: task
        for task_id, task in ledger.pending_tasks.items()
        if task.session in over and task.phase != "Abandoned"
    }
    waiting = [task_id for task_id, task in ending.items() if is_idle(task)]  # there is nothing to be stopped
    stopped = {task_id: abandon_task(task) for task_id, task in drop_keys(ending, waiting).items()}
    step.farewells += (
        *(Publish(key, message) for key, message in messages.items()),
        *(make_cancel(task_id, task) for task_id, task in stopped.items()),
    )
    loops = {task_id: task.loop for task_id, task in ending.items() if task.loop is not None}
    ledger = _without(ledger, ended)
    _replace(
        step,
        replace(
            ledger,
            budgets=settle_stopped(ledger.budgets, loops),
            pending_tasks={**drop_keys(ledger.pending_tasks, waiting), **stopped},
            outbox={**ledger.outbox, **messages},
            held=ledger.held.recall(ended),
        ),
    )


def _replace(step: Step, ledger: Ledger) -> None:
    step.opened = step.ledger = ledger
    step.budgets = ledger.budgets


def _without(ledger: Ledger, keys: Sequence[str]) -> Ledger:
    totals = add_to_totals(ledger.totals, sessions_expired=len(keys))
    return replace(ledger, sessions=drop_keys(ledger.sessions, keys), totals=totals)


def _farewell_id(step: Step, key: str, session: Session) -> str:
    return names.digest("session expired", step.origin, key, session.started_at, session.last_event_at)


def _farewell(step: Step, key: str, session: Session, reason: Reason, now: str, index: int) -> OutboxMessage:
    """The message that says that a session ended. A state that no event could carry is left out."""
    agent = step.program.agent
    data = {
        "key": key,
        "state": session.state,
        "startedAt": session.started_at,
        "lastEventAt": session.last_event_at,
        "reason": reason,
    }
    event = Event(
        id=_farewell_id(step, key, session),
        source=names.agent_source(agent.namespace, agent.name),
        type=names.SESSION_EXPIRED,
        time=now,
        datacontenttype="application/json",
        data=data,
        extensions={"correlationid": session.correlationid},
    )
    subject = names.inbox_subject(agent.namespace, agent.name, event.type)
    return OutboxMessage(step.received.sequence, index, subject, now, event=dump_compact(_readable(event)))


def _readable(event: Event) -> dict[str, object]:
    """The event as JSON that can be read again."""
    body = event_to_json(event)
    try:
        event_from_json(body)
    except MalformedEvent:  # it nests as deep as a state may
        assert isinstance(event.data, dict)
        data = {name: value for name, value in event.data.items() if name != "state"}
        body = event_to_json(replace(event, data=data))
    return body


def read_key(event: Event) -> str | None:
    """The key of the session that an event says the end of; None where it says none."""
    data = event.data
    key = data.get("key") if isinstance(data, dict) else None
    return key if isinstance(key, str) and 0 < len(key) <= MAX_KEY else None
