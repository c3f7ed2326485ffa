"""Tasks between their start and their end: what a runner gets, and the event that its report becomes."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from heed import names
from heed.api.status import PendingTask
from heed.core.codec.canonical_json import canonicalize, dump_compact
from heed.core.codec.cloudevents_json import event_from_json, event_to_json
from heed.core.codec.strict_json import check_no_nul
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.policy.permissions import Permissions
from heed.core.tasks.kinds import HTTP, LLM
from heed.core.tasks.resource import ObjectKind
from heed.core.tasks.retry import add_delay, seconds_between
from heed.errors import MalformedEvent

TURN: Final = "turn"  # the member of an `llm` task's work that says which call of the model it is


def owed_work(
    spec: Any,
    document: dict[str, Any],
    timeout: int | None,
    retention: int,
    publish: tuple[str, ...] | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """What a pending task carries until it has started, and `more` for its attempts: {attemptTimeout, state}."""
    owed = {"spec": spec, "document": document, "timeout": timeout, "retention": retention, **more}
    return dump_compact(owed if publish is None else {**owed, "publish": publish})


def work_problem(permissions: Permissions, kind: str, spec: Mapping[str, Any]) -> str | None:
    """Why policies do not allow the rendered work of a task, or None where they do."""
    if kind == "resource":
        created = ObjectKind.of(spec.get("template") or {})
        return permissions.resource_problem(created.group, created.kind)
    if kind in (HTTP, LLM):
        return permissions.egress_problem(spec.get("url" if kind == HTTP else "baseURL"))
    return permissions.job_problem(spec) if kind == "job" else None


def begin_attempt(record: PendingTask, at: str) -> PendingTask:
    """The record of a task that owes the start of its attempt from `at` on, with what is left of its timeouts then.

    What it takes to start is left as it is where that cannot be read, which who starts it will find, too.
    """
    record = replace(record, phase="Owed", due=None, queue=None, attempt_deadline=None)
    try:
        owed = json.loads(record.owed or "")
        own, total = owed.get("attemptTimeout"), record.deadline
    except (ValueError, AttributeError):
        return record
    own = own if isinstance(own, int) else None
    left = [] if own is None else [own]
    if total is not None:
        left.append(max(1, math.ceil(seconds_between(at, total))))
    deadline = None if own is None else add_delay(at, own)
    return replace(
        record,
        attempt_deadline=None
        if deadline is not None and total is not None and deadline >= total
        else deadline,
        owed=dump_compact({**owed, "timeout": min(left, default=None)}),
    )


def work_of(agent: AgentRef, task_id: str, record: PendingTask) -> TaskWork:
    """The work that an Owed task stands for; of a kind that nothing runs, what its record says."""
    if record.owed is None:
        return _work_in_ledger(agent, task_id, record)
    owed = json.loads(record.owed)
    if record.loop is not None:
        owed["spec"] = {**owed["spec"], TURN: _read_turn(record.loop)}
    return TaskWork(
        agent=agent,
        id=task_id,
        task=record.task,
        kind=record.kind,
        session=record.session,
        spec=canonicalize(owed["spec"], stored=True),  # an int32 that came as 2.0 is refused as such
        document=owed["document"],
        timeout=owed["timeout"],
        retention=owed["retention"],
        publish=tuple(owed["publish"]) if "publish" in owed else None,
        attempt=record.attempt,
    )


def _read_turn(loop: str) -> dict[str, Any]:
    """Which call of the model is owed: {turn, attempt, additions}."""
    state = json.loads(loop)
    return {
        "turn": state["turn"],
        "attempt": state["attempt"],
        "additions": state.get("additions", []),
    }


def _work_in_ledger(agent: AgentRef, task_id: str, record: PendingTask) -> TaskWork:
    document = {
        "task": {"id": task_id, "name": record.task},
        "input": record.input,
        "event": {"id": record.cause.id, "correlationid": record.cause.correlationid},
        "session": {"key": record.session},
        "agent": {"name": agent.name, "namespace": agent.namespace},
    }
    spec = describe_ledger_work(record)
    return TaskWork(agent, task_id, record.task, record.kind, record.session, spec, document, None, 0)


def describe_ledger_work(record: PendingTask) -> dict[str, str]:
    """What a task that nothing runs is: the `title` of an approval, and `until` when where time ends it."""
    title = {} if record.request is None else {"title": json.loads(record.request)["title"]}
    return title if record.due is None else {**title, "until": record.due}


def progress_event(task_id: str, record: PendingTask, event: Event) -> Event:
    """What a task said, as its Agent sees it: with the task's place in the flow of events, whatever it claims."""
    cause = record.cause
    own: dict[str, Any] = {
        "correlationid": cause.correlationid,
        "causationid": cause.id,
        "heedhops": cause.hops + 1,
    }
    return replace(event, subject=task_id, extensions={**event.extensions, **own})


def end_event(agent: AgentRef, record: PendingTask, end: TaskEnd) -> Event:
    """The event that tells an Agent how its task ended; it goes to the Agent's inbox.

    A result that no event could carry makes it a failure, so that the task ends in any case.
    """
    event = _end_event(agent, record, end)
    try:
        event_from_json(event_to_json(event))
        check_no_nul(event.data)
    except MalformedEvent as error:
        return _end_event(
            agent, record, replace(end, completed=False, reason="BadResult", message=str(error))
        )
    return event


def shrink_end(record: PendingTask, end: TaskEnd, why: str) -> tuple[PendingTask, TaskEnd]:
    """The same end without all that may be large, for a broker that refused its event."""
    reason = "BadResult" if end.completed else end.reason
    cause = replace(record.cause, traceparent=None, tracestate=None)
    short = replace(end, completed=False, result=None, reason=reason, message=why)
    return replace(record, cause=cause), short


def _end_event(agent: AgentRef, record: PendingTask, end: TaskEnd) -> Event:
    data: dict[str, Any]
    if end.completed:
        data = {"result": end.result, "message": end.message}
    else:
        data = {
            "reason": end.reason,
            "message": end.message,
            "exitCode": end.exit_code,
            "cause": end.cause,
            "container": end.container,
            "pod": end.pod,
            "retryable": None if end.retryable else False,
            "retryAfter": end.retry_after,
        }
    data["attempt"] = end.attempt
    cause = record.cause
    extensions: dict[str, Any] = {
        "correlationid": cause.correlationid,
        "causationid": cause.id,
        "heedhops": cause.hops + 1,
    }
    extensions |= {
        name: value for name in ("traceparent", "tracestate") if (value := getattr(cause, name)) is not None
    }
    return Event(
        id=end.id,
        source=names.agent_source(agent.namespace, agent.name),
        type=names.TASK_COMPLETED if end.completed else names.TASK_FAILED,
        subject=end.task_id,
        time=end.at,
        datacontenttype="application/json",
        data={"task": record.task, **{key: value for key, value in data.items() if value is not None}},
        extensions=extensions,
    )


def end_subject(agent: AgentRef, event: Event) -> str:
    """Where a task's end event is published."""
    return names.inbox_subject(agent.namespace, agent.name, event.type)
