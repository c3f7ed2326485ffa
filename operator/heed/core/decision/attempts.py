"""Attempts at a task: whether a failure is followed by another one, and its start when that is due."""

import json
from dataclasses import replace
from typing import Final

from heed import names
from heed.api.status import PendingTask
from heed.core.cel.expression import Scope
from heed.core.cel.template import TemplateError
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_from_json
from heed.core.compiler.program import TaskTemplate
from heed.core.decision.event_variables import build_variables
from heed.core.decision.guard import NEEDS_GUARD, check_harmless
from heed.core.decision.model import MAX_WORK_BYTES, Outcome
from heed.core.decision.step import Step
from heed.core.due.due_times import DueTime
from heed.core.effects import StartTask
from heed.core.events import Event
from heed.core.ledger.ledger import may_retry
from heed.core.tasks.job_contract import REASON_DEADLINE
from heed.core.tasks.losses import CALL_LOST
from heed.core.tasks.retry import add_delay
from heed.core.tasks.slots import enqueue
from heed.core.tasks.work import begin_attempt
from heed.errors import DecisionFailed

# Of a call that may have been served: nobody knows, or its answer cannot be told.
UNKNOWN_OUTCOMES: Final = frozenset((CALL_LOST, REASON_DEADLINE, "BadResult", "Error"))
MAX_RETRY_AFTER_S: Final = 24 * 3600.0


def read_attempt(event: Event) -> int | None:
    """Which attempt the end of a task names; None where it speaks of the task."""
    attempt = event.data.get("attempt") if isinstance(event.data, dict) else None
    return attempt if type(attempt) is int else None


def read_retry_after(event: Event) -> float:
    """Seconds that the end of an attempt wants the next one to wait at least."""
    wanted = event.data.get("retryAfter") if isinstance(event.data, dict) else None
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or not wanted > 0:
        return 0.0
    return min(float(wanted), MAX_RETRY_AFTER_S)


def retry_task(step: Step, task_id: str, record: PendingTask) -> Outcome | None:
    """Put a task whose attempt failed back, to be attempted again after its backoff; None where the failure is final.

    What keeps the next attempt from being rendered makes it final, and is said in the event's message. Raises
    DecisionFailed where a careful program may not find that out.
    """
    task = step.program.tasks.get(record.task)
    if task is None or (due := _next_attempt_at(step, task, task_id, record)) is None:
        return None
    following = replace(
        record, phase="Retrying", attempt=record.attempt + 1, due=due, attempt_deadline=None, queue=None
    )
    try:
        following = replace(following, owed=_render(step, task, task_id, following), target=task.target)
    except DecisionFailed as failure:
        if failure.code == NEEDS_GUARD:
            raise
        step.event = _with_obstacle(step.event, failure)
        return None
    step.ledger = replace(step.ledger, pending_tasks={**step.ledger.pending_tasks, task_id: following})
    return "retried"


def _next_attempt_at(step: Step, task: TaskTemplate, task_id: str, record: PendingTask) -> str | None:
    """When the next attempt starts (RFC 3339); None where there is none."""
    policy, event, agent = task.retry, step.event, step.program.agent
    if policy is None or task.kind != record.kind or record.phase not in ("Owed", "Started"):
        return None
    if not may_retry(record) or record.owed is None or record.attempt >= policy.attempts:
        return None
    own = event.source == names.agent_source(agent.namespace, agent.name)
    if not own or read_attempt(event) is None or not isinstance(event.data, dict):
        return None
    reason = str(event.data.get("reason"))
    if not policy.covers(reason, event.data.get("cause")) or event.data.get("retryable") is False:
        return None
    if not task.repeatable and reason in UNKNOWN_OUTCOMES:
        return None
    delay = max(policy.delay(task_id, record.attempt), read_retry_after(event))
    due = add_delay(step.received.at, delay)
    return None if record.deadline is not None and due >= record.deadline else due


def _render(step: Step, task: TaskTemplate, task_id: str, record: PendingTask) -> str:
    """What the next attempt is owed, rendered by today's manifest from what the first one was. Raises DecisionFailed.

    An event that is too large to be kept with the task cannot be read again: the spec stays as it was rendered then.
    """
    program, owed = step.program, json.loads(record.owed or "")
    spec, document = owed["spec"], owed["document"]
    of_task = {"id": task_id, "name": task.name, "attempt": record.attempt}
    if "heeddatainstream" not in document["event"]:
        variables = {
            **build_variables(program, event_from_json(document["event"])),
            "task": of_task,
            "input": record.input,
            "session": document["session"],
            "state": owed.get("state", {}),
        }
        if program.careful:
            check_harmless(program.limit.allows(variables))
        try:
            spec = task.template.render(Scope(variables))
        except TemplateError as error:
            where = f"spec.tasks.{task.name}.{task.kind}{error.path}"
            raise DecisionFailed("TemplateFailed", f"{where}: {error.message}") from None
    work = dump_compact({**owed, "spec": spec, "document": {**document, "task": of_task}})
    if len(work.encode()) > MAX_WORK_BYTES:
        raise DecisionFailed(
            "InputTooLarge", f"what task {task.name} is given exceeds {MAX_WORK_BYTES} bytes"
        )
    return work


def _with_obstacle(event: Event, failure: DecisionFailed) -> Event:
    """The end of a task that also says why no other attempt could be made."""
    data = event.data if isinstance(event.data, dict) else {}
    said = "; ".join(filter(None, (str(data.get("message") or ""), f"no further attempt: {failure.message}")))
    return replace(event, data={**data, "message": said})


def start_attempt(step: Step, due: DueTime) -> Outcome:
    """Owe the start of an attempt that is due, or queue it for a slot.

    Past the task's deadline nothing starts: its end is on the way.
    """
    task_id, attempt = names.split_attempt(due.key)
    record = step.ledger.pending_tasks.get(task_id)
    if record is None or (record.phase, record.attempt, record.due) != ("Retrying", attempt, due.at):
        return "stale"
    at = step.received.at
    if record.deadline is None or at < record.deadline:
        tasks, limits = step.ledger.pending_tasks, step.program.slots
        if limits.covers(record):
            started = enqueue(limits, tasks, {task_id: record}, at)
        else:
            started = {task_id: begin_attempt(record, at)}
            step.effects = (StartTask(task_id, started[task_id]),)
        step.ledger = replace(step.ledger, pending_tasks={**tasks, **started})
    return "due"
