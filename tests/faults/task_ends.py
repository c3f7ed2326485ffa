"""Whether tasks ended as they had to: with what was played, when their time was over, after so many attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heed.core.effects import StartTask
from heed.core.events import Event
from heed.core.tasks.job_contract import REASON_DEADLINE, REASON_INVALID
from heed.core.tasks.losses import JOB_LOST
from tests.faults.agents import ATTEMPTS
from tests.faults.incarnation import Findings, Incarnation, is_end, list_called_off, list_ends, list_starts
from tests.faults.people import Deletion

REASON_CANCELLED = "Cancelled"


def ends_findings(item: Incarnation, deletions: Sequence[Deletion]) -> Findings:
    """Every end that counted tells the truth: the result is the one played, and only what was deleted was lost.

    Where a person deleted the pod, or the Job and with it the pod, the result of one that was done may be gone too;
    then the end says so.
    """
    jobs = {deletion.task_id for deletion in deletions if deletion.kind == "job"}
    touched = {deletion.task_id for deletion in deletions}
    starts = list_starts(item)
    wrong = []
    for task_id, data in list_ends(item):
        if starts[task_id].kind != "job":
            continue
        if data.get("reason") == JOB_LOST and task_id not in jobs:
            wrong.append(f"{item}: task {task_id} was said to be lost, and nobody deleted its Job")
        if data.get("reason") == REASON_INVALID and starts[task_id].task != "refused":
            wrong.append(f"{item}: task {task_id} was said to be refused, and is no such task")
        result, played = data.get("result"), _result(starts[task_id].input)
        said_lost = result is None and "message" in data and task_id in touched
        if "reason" not in data and result != played and not said_lost:
            wrong.append(f"{item}: task {task_id} ended with {result}, played was {played}")
    return wrong


def wait_findings(item: Incarnation) -> Findings:
    """Every wait ended as it had to, and none before its time.

    A nap is over when its time is, and a doze, which lasts longer than it may, at its deadline: unless they were called
    off. That each ended at all, and once, the ledger says: nothing is pending, and the totals are the model's.
    """
    starts, wrong = list_starts(item), []
    for decision in item.fold.decisions:
        event, at = decision.received.event, decision.received.at
        if not isinstance(event, Event) or not is_end(decision) or event.subject not in starts:
            continue
        record = starts[event.subject]
        if record.kind != "wait":
            continue
        data = event.data if isinstance(event.data, dict) else {}
        reason, due = data.get("reason"), record.deadline if record.task == "doze" else record.due
        right = REASON_DEADLINE if record.task == "doze" else None
        if reason not in (right, REASON_CANCELLED):
            wrong.append(f"{item}: wait {event.subject} ended with {reason}, not with {right}")
        elif reason == right and at < (due or ""):
            wrong.append(f"{item}: wait {event.subject} ended at {at}, before {due}")
        elif reason is None and data.get("result") != {"until": record.due}:
            wrong.append(f"{item}: wait {event.subject} was until {record.due}, and ended with {data}")
    return wrong


def attempt_findings(item: Incarnation, deletions: Sequence[Deletion]) -> Findings:
    """Every frail task was tried until it succeeded, one attempt after the other, and no more often than it may be.

    Where a person deleted a Job or a pod of it, or it was called off, it may have had fewer or other attempts.
    """
    attempts: dict[str, list[int]] = {}
    for effect in item.fold.effects:
        if isinstance(effect, StartTask) and effect.record.task == "frail":
            attempts.setdefault(effect.id, []).append(effect.record.attempt)
    starts, touched = list_starts(item), {deletion.task_id for deletion in deletions}
    touched |= list_called_off(item)
    wrong = [
        f"{item}: task {task_id} had the attempts {found}"
        for task_id, found in attempts.items()
        if found != list(range(1, len(found) + 1)) or len(found) > ATTEMPTS
    ]
    for decision in item.fold.decisions:
        event = decision.received.event
        if not isinstance(event, Event) or not is_end(decision) or decision.outcome == "retried":
            continue
        found, task_id = attempts.get(event.subject or "", []), event.subject or ""
        data = event.data if isinstance(event.data, dict) else {}
        if not found or task_id in touched or data.get("reason") in (REASON_CANCELLED, REASON_DEADLINE):
            continue
        until = starts[task_id].input["until"]
        if len(found) != min(until, ATTEMPTS) or ("reason" in data) != (until > ATTEMPTS):
            wrong.append(
                f"{item}: task {task_id}, to succeed at {until}, ended with {data} after {len(found)}"
            )
    return wrong


def _result(input: Any) -> Any:
    return f"value {input['value']}" if input["play"] == "text" else {"value": input["value"]}
