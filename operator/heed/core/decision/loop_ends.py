"""How a loop of turns ends: the end of its task as a message to the Agent's inbox, and what it leaves when stopped."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from heed import names
from heed.api.status import OutboxMessage, PendingTask
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.decision.model_budgets import settle_stopped
from heed.core.decision.step import Step
from heed.core.effects import TaskEnd
from heed.core.llm.turn_events import CompleteTask, FailTask
from heed.core.tasks.work import end_event, end_subject

MAX_RESULT_BYTES: Final = 128 * 1024  # of the event that says it, as long as the outbox owes that
RESULT_TOO_LARGE: Final = "ResultTooLarge"
STATUS_FULL: Final = "StatusFull"


def owe_end(step: Step, task_id: str, record: PendingTask, end: CompleteTask | FailTask) -> PendingTask:
    """The record of a task whose end the outbox owes; nothing of it runs any more."""
    record = replace(record, phase="Started", owed=None, due=None, queue=None, tools=0, attempt_deadline=None)
    message = _message(step, task_id, record, end)
    size = len((message.event or "").encode())
    if isinstance(end, CompleteTask):
        if size > MAX_RESULT_BYTES:
            text = f"the result takes {size} bytes, more than {MAX_RESULT_BYTES}; have a tool store it"
            message = _message(step, task_id, record, FailTask(RESULT_TOO_LARGE, text))
        elif step.headroom is not None and size > step.headroom.left:
            text = "the Agent's status is full; end sessions, or remember less"
            message = _message(step, task_id, record, FailTask(STATUS_FULL, text))
    step.loop_ends[names.digest("loop-end", task_id)] = message
    return record


def _message(step: Step, task_id: str, record: PendingTask, said: CompleteTask | FailTask) -> OutboxMessage:
    completed = isinstance(said, CompleteTask)
    end = TaskEnd(
        task_id,
        names.digest("loop-end", task_id),
        step.received.at,
        completed,
        result=said.result if isinstance(said, CompleteTask) else None,
        reason=said.reason if isinstance(said, FailTask) else None,
        message=said.message if isinstance(said, FailTask) else None,
    )
    agent, received = step.program.agent, step.received
    event = end_event(agent, record, end)
    subject = end_subject(agent, event)
    body = dump_compact(event_to_json(event))
    return OutboxMessage(received.sequence, len(step.loop_ends), subject, received.at, event=body)


def stop_loops(
    step: Step, tasks: Mapping[str, PendingTask], stopped: Collection[str]
) -> dict[str, PendingTask]:
    """The tools of loops that were stopped from outside, as they are to be stopped; their ends are not awaited.

    `tasks` are the pending ones as they were before.
    """
    loops = {
        task_id: loop
        for task_id in stopped
        if (record := tasks.get(task_id)) is not None and (loop := record.loop) is not None
    }
    if not loops:
        return {}
    step.budgets = settle_stopped(step.budgets, loops)
    found: dict[str, PendingTask] = {}
    parents = set(loops)
    while parents:
        tools = {
            task_id: record
            for task_id, record in tasks.items()
            if record.parent is not None and record.parent.task in parents and record.phase != "Abandoned"
        }
        nested = {task_id: record.loop for task_id, record in tools.items() if record.loop is not None}
        step.budgets = settle_stopped(step.budgets, nested)
        found |= {
            task_id: replace(record, phase="Abandoned", owed=None, loop=None)
            for task_id, record in tools.items()
        }
        parents = set(nested)
    return found
