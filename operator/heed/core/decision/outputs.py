"""What leaves an Agent: tasks it starts and cancels, events it emits. All names derive from the decision's place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from heed import names
from heed.api.status import OutboxMessage, PendingTask, TaskCause
from heed.core.cel.expression import Scope
from heed.core.cel.template import TemplateError
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_from_json, event_to_json
from heed.core.compiler.program import Program, TaskTemplate
from heed.core.decision import quotas
from heed.core.decision.approvals import begin_approval
from heed.core.decision.guard import check_harmless
from heed.core.decision.loop_ends import stop_loops
from heed.core.decision.loop_start import begin_turns
from heed.core.decision.model import MAX_WORK_BYTES, RECORD_BYTES, HandlerResult, StartRequest
from heed.core.decision.requests import MAX_DECISION_BYTES
from heed.core.decision.schema_check import check_schema
from heed.core.decision.sessions import add_seconds
from heed.core.decision.step import Step
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.events import MAX_HOPS, Event, Received
from heed.core.ledger.ledger import Ledger, drop_keys, make_cancel
from heed.core.tasks.kinds import LLM
from heed.core.tasks.slots import enqueue, is_idle
from heed.core.tasks.wait import wait_end
from heed.core.tasks.work import begin_attempt, owed_work, work_problem
from heed.errors import POLICY_VIOLATION, DecisionFailed, MalformedEvent

MAX_EMITTED_BYTES: Final = 192 * 1024
_TRACE: Final = ("traceparent", "tracestate")


@dataclass(slots=True)
class Outputs:
    """Everything that leaves an Agent by one decision, each by its id: tasks to stop and to start, messages to send.

    `ends` are messages that say the ends of tasks whose budget has no room for their first call of a model.
    """

    cancelled: dict[str, PendingTask]
    started: dict[str, PendingTask]
    emitted: dict[str, OutboxMessage]
    ends: dict[str, OutboxMessage] = field(default_factory=dict)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The same as effects: starts, then messages, then stops."""
        return (
            *(StartTask(task_id, record) for task_id, record in self.started.items() if record.tools is None),
            *(Publish(key, message) for key, message in (self.emitted | self.ends).items()),
            *self.stops,
        )

    @property
    def stops(self) -> tuple[CancelTask, ...]:
        """What stops tasks."""
        return tuple(
            make_cancel(task_id, record)
            for task_id, record in self.cancelled.items()
            if not _is_dropped(record)
        )

    def change(self, tasks: Mapping[str, PendingTask]) -> Mapping[str, PendingTask]:
        """The pending tasks with these changes; the same object without any.

        What waits for its start leaves with its session: there is nothing to be stopped.
        """
        if not self.cancelled and not self.started:
            return tasks
        dropped = [task_id for task_id, record in self.cancelled.items() if _is_dropped(record)]
        return drop_keys({**tasks, **self.cancelled, **self.started}, dropped)


def _is_dropped(record: PendingTask) -> bool:
    return record.phase == "Abandoned" and is_idle(record)


def render_outputs(step: Step) -> Outputs:
    """What the handlers want started, emitted and stopped, rendered. Raises DecisionFailed."""
    ledger, result = step.ledger, step.result
    check_count(result)
    cancelled = cancel_tasks(ledger, step.key or "", result)
    cancelled = stop_loops(step, ledger.pending_tasks, cancelled) | cancelled
    quotas.check_starts(step.program.permissions.limits, ledger, cancelled, result)
    started = enqueue(step.program.slots, ledger.pending_tasks, render_tasks(step), step.received.at)
    outputs = Outputs(cancelled, started, render_events(step), step.loop_ends)
    check_size(outputs.started, outputs.emitted | outputs.ends)
    return outputs


def cancel_tasks(ledger: Ledger, key: str, result: HandlerResult) -> dict[str, PendingTask]:
    """The tasks of the session to stop: all where it ended, without awaiting their ends; else the named ones."""
    phase: Literal["Abandoned", "Cancelling"] = "Abandoned" if result.ended else "Cancelling"
    return {
        task_id: replace(task, phase=phase, owed=None, loop=None)
        for task_id, task in ledger.pending_tasks.items()
        if task.session == key
        and (result.ended or task.task in result.cancels)
        and task.phase not in ("Abandoned", phase)
    }


def render_tasks(step: Step) -> dict[str, PendingTask]:
    """The tasks that the handlers started, rendered. Raises DecisionFailed."""
    result, origin = step.result, step.origin
    records: dict[str, PendingTask] = {}
    size = 0
    for index, request in enumerate(result.starts):
        task_id = names.task_id(origin, step.received.sequence, index, request.task)
        try:
            records[task_id] = render_task(step, {**step.variables, "state": result.state}, request, task_id)
        except DecisionFailed as failure:
            raise DecisionFailed(failure.code, failure.message, request.handler) from None
        size += measure_task(records[task_id])
        if size > MAX_DECISION_BYTES:
            check_size(records, {})  # no need to make them all
    return records


def render_task(step: Step, variables: Mapping[str, Any], request: StartRequest, task_id: str) -> PendingTask:
    """A task that is asked for, rendered. `variables` are all but those of the task itself. Raises DecisionFailed."""
    program = step.program
    scope = {
        **variables,
        "task": {"id": task_id, "name": request.task, "attempt": 1},
        "input": request.input,
    }
    if program.careful and request.input is not None:
        check_harmless(program.limit.allows(scope))
    return _pending(step, scope, request)


def _pending(step: Step, variables: Mapping[str, Any], request: StartRequest) -> PendingTask:
    program, received = step.program, step.received
    task = program.tasks[request.task]
    try:
        spec = task.template.render(Scope(variables))
    except TemplateError as error:
        message = f"spec.tasks.{task.name}.{task.kind}{error.path}: {error.message}"
        raise DecisionFailed("TemplateFailed", message) from None
    record = PendingTask(
        task=task.name,
        session=step.key or "",
        kind=task.kind,
        started_at=received.at,
        cause=_cause(received, step.event),
        deadline=None if task.timeout is None else add_seconds(received.at, task.timeout),
        input=request.input,
        attempts=task.attempts if task.attempts > 1 else None,
        priority=task.priority if request.priority is None else request.priority,
    )
    try:
        return _begin(step, record, spec, variables)
    except DecisionFailed as failure:
        raise DecisionFailed(failure.code, f"spec.tasks.{task.name}.{task.kind}: {failure.message}") from None


def _begin(step: Step, record: PendingTask, spec: Any, variables: Mapping[str, Any]) -> PendingTask:
    """The record with what its kind needs: the ledger owes a start, or already holds all there is of the task."""
    if record.kind == "wait":
        return replace(record, phase="Started", due=wait_end(spec, record.started_at))
    if record.kind == "approval":
        return begin_approval(step.program, record, spec)
    task = step.program.tasks[record.task]
    if (refused := work_problem(step.program.permissions, record.kind, spec)) is not None:
        raise DecisionFailed(POLICY_VIOLATION, refused)
    record = replace(record, owed=_work(step, task, spec, variables), target=task.target)
    if record.kind == LLM:
        record = begin_turns(step, variables["task"]["id"], record, spec)
        if record.tools is not None:
            return record
    return record if task.attempt_timeout is None else begin_attempt(record, record.started_at)


def _work(step: Step, task: TaskTemplate, spec: Any, variables: Mapping[str, Any]) -> str:
    """What the ledger owes a task as JSON, without the event's data where they would make it too large."""
    publish = step.program.emissions if task.publish else None
    more = {} if task.attempt_timeout is None else {"attemptTimeout": task.attempt_timeout}
    if task.attempts > 1 and task.reads_state:
        more |= {"state": variables["state"]}
    for with_data in (True, False):
        document = _document(step, variables, with_data=with_data)
        work = owed_work(spec, document, task.timeout, task.retention, publish, more)
        if len(work.encode()) <= MAX_WORK_BYTES:
            return work
    message = f"what task {task.name} is given exceeds {MAX_WORK_BYTES} bytes; pass large input by reference"
    raise DecisionFailed("InputTooLarge", message)


def _document(step: Step, variables: Mapping[str, Any], *, with_data: bool) -> dict[str, Any]:
    """The task file; without the event's data, `heeddatainstream` says that they are in the stream."""
    document, agent = event_to_json(step.event), step.program.agent
    if not with_data:
        document = {name: value for name, value in document.items() if name not in ("data", "data_base64")}
        document["heeddatainstream"] = True
    return {
        "task": variables["task"],
        "input": variables["input"],
        "event": document,
        "session": variables["session"],
        "agent": {"name": agent.name, "namespace": agent.namespace},
    }


def _cause(received: Received, event: Event) -> TaskCause:
    trace = {name: str(value)[:512] for name in _TRACE if (value := event.extensions.get(name)) is not None}
    return TaskCause(event.id, received.sequence, event.correlationid, event.hops, **trace)


def render_events(step: Step) -> dict[str, OutboxMessage]:
    """The events that the handlers emitted, for the outbox. Raises DecisionFailed."""
    program, received, event, result = step.program, step.received, step.event, step.result
    if not result.emits:
        return {}
    if event.hops >= MAX_HOPS:
        message = f"the event is {event.hops} decisions from its origin; Agents may be in a loop"
        raise DecisionFailed("HopLimit", message, result.emits[0].handler)
    quotas.check_hops(program.permissions.limits, event.hops, result)
    owed: dict[str, OutboxMessage] = {}
    origin, size = step.origin, 0
    for index, request in enumerate(result.emits):
        key = names.event_id(origin, received.sequence, index)
        try:
            new = _event(step, key, request.event)
            subject = _subject(program, new.type, request.event.get("to"))
            owed[key] = OutboxMessage(received.sequence, index, subject, received.at, event=_body(new))
            result.schema_warnings += check_schema(program, program.agent.namespace, new)
        except DecisionFailed as failure:
            raise DecisionFailed(failure.code, failure.message, request.handler) from None
        size += _event_size(owed[key])
        if size > MAX_DECISION_BYTES:
            check_size({}, owed)
    return owed


def _body(event: Event) -> str:
    """The event as the outbox keeps it, proven to be readable again, and not too large. Raises DecisionFailed."""
    try:
        body = dump_compact(event_to_json(event))
        event_from_json(json.loads(body))
    except (MalformedEvent, ValueError) as error:
        raise DecisionFailed("BadEvent", f"{event.type} cannot be emitted: {error}") from None
    if len(body.encode()) > MAX_EMITTED_BYTES:
        message = f"{event.type} would exceed {MAX_EMITTED_BYTES} bytes; send a reference (dataref) instead"
        raise DecisionFailed("EventTooLarge", message)
    return body


def check_count(result: HandlerResult) -> None:
    """Raise DecisionFailed, before anything is rendered, for more than could ever pass `check_size`."""
    if (len(result.starts) + len(result.emits)) * RECORD_BYTES > MAX_DECISION_BYTES:
        message = (
            f"{len(result.starts)} tasks and {len(result.emits)} events are more than one decision can hold; "
            "let several events do it"
        )
        raise DecisionFailed("DecisionTooLarge", message)


def check_size(started: Mapping[str, PendingTask], emitted: Mapping[str, OutboxMessage]) -> None:
    """Raise DecisionFailed where one event would make more than a ledger can take: it could never be committed."""
    size = sum(map(measure_task, started.values())) + sum(map(_event_size, emitted.values()))
    if size > MAX_DECISION_BYTES:
        message = (
            f"{len(started)} tasks and {len(emitted)} events of one decision would take {size} bytes, more than "
            f"{MAX_DECISION_BYTES}; pass references, or let several events do it"
        )
        raise DecisionFailed("DecisionTooLarge", message)


def measure_task(task: PendingTask) -> int:
    """About how many bytes of status a task takes."""
    content = (task.owed, task.request, task.target, task.loop, dump_compact(task.input))
    return RECORD_BYTES + sum(len(text.encode()) for text in content if text is not None)


def _event_size(owed: OutboxMessage) -> int:
    return RECORD_BYTES + len((owed.event or "").encode())


def _event(step: Step, key: str, request: Mapping[str, Any]) -> Event:
    program, cause = step.program, step.event
    type_, subject = request.get("type"), request.get("subject")
    if not isinstance(type_, str) or not names.is_type(type_) or names.is_reserved(type_):
        raise DecisionFailed(
            "BadType",
            f"{dump_compact(type_)} cannot be emitted; use dot-separated tokens, not dev.heed.*",
        )
    if (refused := program.permissions.emission_problem(type_)) is not None:
        raise DecisionFailed(POLICY_VIOLATION, refused)
    if subject is not None and (not isinstance(subject, str) or not subject):
        raise DecisionFailed("BadSubject", "the subject of an emitted event must be a non-empty string")
    trace = {name: value for name in _TRACE if (value := cause.extensions.get(name)) is not None}
    data = request.get("data")
    return Event(
        id=key,
        source=names.agent_source(program.agent.namespace, program.agent.name),
        type=type_,
        subject=subject,
        time=step.received.at,
        datacontenttype=None if data is None else "application/json",
        data=data,
        extensions={
            "correlationid": step.session.correlationid,
            "causationid": cause.id,
            "heedhops": cause.hops + 1,
            **trace,
        },
    )


def _subject(program: Program, type_: str, to: Any) -> str:
    if to is None:
        return names.event_subject(program.agent.namespace, type_)
    if not isinstance(to, str) or not names.is_name(to):
        raise DecisionFailed("BadReceiver", f"`to` is {dump_compact(to)}, not the name of an Agent")
    return names.inbox_subject(program.agent.namespace, to, type_)
