"""What leaves an Agent: tasks it starts and cancels, events it emits. All names derive from the decision's place."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from heed import names
from heed.api.status import OutboxMessage, PendingTask, TaskCause
from heed.core.cel.expression import Scope
from heed.core.cel.template import TemplateError
from heed.core.codec.canonical_json import compact
from heed.core.codec.cloudevents_json import from_json, to_json
from heed.core.compiler.program import Program
from heed.core.decision import quotas
from heed.core.decision.handlers import MAX_DECISION_BYTES, Reacted, Wish, check_harmless
from heed.core.decision.schema_check import misfits
from heed.core.decision.sessions import later
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.events import MAX_HOPS, Event, Received
from heed.core.ledger import ledger as ledgers
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.work import owed_work
from heed.errors import POLICY_VIOLATION, DecisionFailed, MalformedEvent

MAX_WORK_BYTES: Final = 192 * 1024
MAX_EMITTED_BYTES: Final = 192 * 1024
_ENVELOPE: Final = 512  # about what a record takes beside its content
_TRACE: Final = ("traceparent", "tracestate")


def cancelled(ledger: Ledger, key: str, reacted: Reacted) -> dict[str, PendingTask]:
    """The session's tasks that are to be stopped: all of them, unheard, where it ended; else the named ones."""
    phase: Literal["Abandoned", "Cancelling"] = "Abandoned" if reacted.ended else "Cancelling"
    return {
        task_id: replace(task, phase=phase, owed=None)
        for task_id, task in ledger.pending_tasks.items()
        if task.session == key
        and (reacted.ended or task.task in reacted.cancels)
        and task.phase not in ("Abandoned", phase)
    }


def cancels(records: Mapping[str, PendingTask]) -> list[CancelTask]:
    """The effects that stop these tasks."""
    return [ledgers.cancel(task_id, record) for task_id, record in records.items()]


def started(
    program: Program,
    origin: str,
    received: Received,
    event: Event,
    key: str,
    variables: Mapping[str, Any],
    reacted: Reacted,
) -> dict[str, PendingTask]:
    """The tasks that the handlers started, rendered. Raises DecisionFailed."""
    records: dict[str, PendingTask] = {}
    size = 0
    for index, wish in enumerate(reacted.starts):
        task_id = names.task_id(origin, received.sequence, index, wish.task)
        scope = {
            **variables,
            "state": reacted.state,
            "task": {"id": task_id, "name": wish.task},
            "input": wish.input,
        }
        if program.careful and wish.input is not None:
            check_harmless(program.limit.allows(scope))
        try:
            records[task_id] = _pending(program, received, event, key, scope, wish)
        except DecisionFailed as failure:
            raise DecisionFailed(failure.code, failure.message, wish.handler) from None
        size += _task_size(records[task_id])
        if size > MAX_DECISION_BYTES:
            check_size(records, {})  # no need to make them all
    return records


def starts(records: Mapping[str, PendingTask]) -> list[StartTask]:
    """The effects that start these tasks."""
    return [StartTask(task_id, record) for task_id, record in records.items()]


def _pending(
    program: Program, received: Received, event: Event, key: str, variables: Mapping[str, Any], wish: Wish
) -> PendingTask:
    task = program.tasks[wish.task]
    try:
        spec = task.template.render(Scope(variables))
    except TemplateError as error:
        message = f"spec.tasks.{task.name}.{task.kind}{error.path}: {error.message}"
        raise DecisionFailed("TemplateFailed", message) from None
    if (refused := program.permissions.job_problem(spec)) is not None:
        raise DecisionFailed(POLICY_VIOLATION, f"spec.tasks.{task.name}.{task.kind}: {refused}")
    publish = program.emissions if task.publish else None
    owed = owed_work(spec, _document(program, event, variables), task.timeout, task.retention, publish)
    if len(owed.encode()) > MAX_WORK_BYTES:
        slim = _document(program, event, variables, with_data=False)
        owed = owed_work(spec, slim, task.timeout, task.retention, publish)
    if len(owed.encode()) > MAX_WORK_BYTES:
        message = (
            f"what task {task.name} is given exceeds {MAX_WORK_BYTES} bytes; pass large input by reference"
        )
        raise DecisionFailed("InputTooLarge", message)
    return PendingTask(
        task=task.name,
        session=key,
        kind=task.kind,
        started_at=received.at,
        cause=_cause(received, event),
        deadline=None if task.timeout is None else later(received.at, task.timeout),
        input=wish.input,
        owed=owed,
    )


def _document(
    program: Program, event: Event, variables: Mapping[str, Any], *, with_data: bool = True
) -> dict[str, Any]:
    """The task file. Where the event's data would make it too large, it is left out and `heeddatainstream` says so."""
    document = to_json(event)
    if not with_data:
        document = {name: value for name, value in document.items() if name not in ("data", "data_base64")}
        document["heeddatainstream"] = True
    return {
        "task": variables["task"],
        "input": variables["input"],
        "event": document,
        "session": variables["session"],
        "agent": {"name": program.agent.name, "namespace": program.agent.namespace},
    }


def _cause(received: Received, event: Event) -> TaskCause:
    trace = {name: str(value)[:512] for name in _TRACE if (value := event.extensions.get(name)) is not None}
    return TaskCause(event.id, received.sequence, event.correlationid, event.hops, **trace)


def emitted(
    program: Program, origin: str, received: Received, event: Event, correlationid: str, reacted: Reacted
) -> dict[str, OutboxMessage]:
    """The events that the handlers emitted, for the outbox. Raises DecisionFailed."""
    if not reacted.emits:
        return {}
    if event.hops >= MAX_HOPS:
        message = f"the event is {event.hops} decisions from its origin; Agents may be in a loop"
        raise DecisionFailed("HopLimit", message, reacted.emits[0].handler)
    quotas.check_hops(program.permissions.limits, event.hops, reacted)
    owed: dict[str, OutboxMessage] = {}
    size = 0
    for index, wanted in enumerate(reacted.emits):
        key = names.event_id(origin, received.sequence, index)
        try:
            new = _event(program, received, event, correlationid, key, wanted.event)
            subject = _subject(program, new.type, wanted.event.get("to"))
            owed[key] = OutboxMessage(received.sequence, index, subject, received.at, event=_body(new))
            reacted.misfits += misfits(program, program.agent.namespace, new)
        except DecisionFailed as failure:
            raise DecisionFailed(failure.code, failure.message, wanted.handler) from None
        size += _event_size(owed[key])
        if size > MAX_DECISION_BYTES:
            check_size({}, owed)
    return owed


def _body(event: Event) -> str:
    """The event as the outbox keeps it, proven to be readable again, and not too large. Raises DecisionFailed."""
    try:
        body = compact(to_json(event))
        from_json(json.loads(body))
    except (MalformedEvent, ValueError) as error:
        raise DecisionFailed("BadEvent", f"{event.type} cannot be emitted: {error}") from None
    if len(body.encode()) > MAX_EMITTED_BYTES:
        message = f"{event.type} would exceed {MAX_EMITTED_BYTES} bytes; send a reference (dataref) instead"
        raise DecisionFailed("EventTooLarge", message)
    return body


def check_count(reacted: Reacted) -> None:
    """Raise DecisionFailed, before anything is rendered, for more than could ever pass `check_size`."""
    if (len(reacted.starts) + len(reacted.emits)) * _ENVELOPE > MAX_DECISION_BYTES:
        message = (
            f"{len(reacted.starts)} tasks and {len(reacted.emits)} events are more than one decision can hold; "
            "let several events do it"
        )
        raise DecisionFailed("DecisionTooLarge", message)


def check_size(started: Mapping[str, PendingTask], emitted: Mapping[str, OutboxMessage]) -> None:
    """Raise DecisionFailed where one event would make more than a ledger can take: it could never be committed."""
    size = sum(map(_task_size, started.values())) + sum(map(_event_size, emitted.values()))
    if size > MAX_DECISION_BYTES:
        message = (
            f"{len(started)} tasks and {len(emitted)} events of one decision would take {size} bytes, more than "
            f"{MAX_DECISION_BYTES}; pass references, or let several events do it"
        )
        raise DecisionFailed("DecisionTooLarge", message)


def _task_size(task: PendingTask) -> int:
    return _ENVELOPE + len((task.owed or "").encode()) + len(compact(task.input).encode())


def _event_size(owed: OutboxMessage) -> int:
    return _ENVELOPE + len((owed.event or "").encode())


def publishes(owed: Mapping[str, OutboxMessage]) -> list[Publish]:
    """The effects that publish these messages."""
    return [Publish(key, message) for key, message in owed.items()]


def _event(
    program: Program,
    received: Received,
    cause: Event,
    correlationid: str,
    key: str,
    wanted: Mapping[str, Any],
) -> Event:
    type_, subject = wanted.get("type"), wanted.get("subject")
    if not isinstance(type_, str) or not names.is_type(type_) or type_.startswith(names.TASK_EVENTS):
        raise DecisionFailed(
            "BadType", f"{compact(type_)} cannot be emitted; use dot-separated tokens, not dev.heed.task.*"
        )
    if (refused := program.permissions.emission_problem(type_)) is not None:
        raise DecisionFailed(POLICY_VIOLATION, refused)
    if subject is not None and (not isinstance(subject, str) or not subject):
        raise DecisionFailed("BadSubject", "the subject of an emitted event must be a non-empty string")
    trace = {name: value for name in _TRACE if (value := cause.extensions.get(name)) is not None}
    data = wanted.get("data")
    return Event(
        id=key,
        source=names.agent_source(program.agent.namespace, program.agent.name),
        type=type_,
        subject=subject,
        time=received.at,
        datacontenttype=None if data is None else "application/json",
        data=data,
        extensions={
            "correlationid": correlationid,
            "causationid": cause.id,
            "heedhops": cause.hops + 1,
            **trace,
        },
    )


def _subject(program: Program, type_: str, to: Any) -> str:
    if to is None:
        return names.event_subject(program.agent.namespace, type_)
    if not isinstance(to, str) or not names.is_name(to):
        raise DecisionFailed("BadReceiver", f"`to` is {compact(to)}, not the name of an Agent")
    return names.inbox_subject(program.agent.namespace, to, type_)
