"""Approvals at a decision: how one begins, and which ends are believed.

An answer is believed by what the ledger says, whoever published it: the first in the stream that fits what was asked
wins. Who gave it is the word of whoever may publish to the Agent's inbox, which is Heed alone where the broker asks
who everybody is.
"""

from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import PendingTask, TakenAnswer
from heed.core.approval.answer import check_answer
from heed.core.approval.ends import read_answer, taken_answer, timeout_result
from heed.core.approval.request import FAIL, ApprovalRequest, find_approval
from heed.core.compiler.program import Program
from heed.core.decision.sessions import MAX_CLOCK_SKEW_S, add_seconds
from heed.core.decision.step import Step
from heed.errors import DecisionFailed


def begin_approval(program: Program, record: PendingTask, rendered: Any) -> PendingTask:
    """The record of an approval that waits for its answer. Raises DecisionFailed: BadApproval."""
    spec = program.manifest.spec.tasks[record.task].approval
    assert spec is not None
    request = ApprovalRequest.render(spec, rendered)
    record = replace(record, phase="Started", request=request.to_json())
    return record if request.on_timeout == FAIL else replace(record, due=record.deadline, deadline=None)


def read_end(step: Step, task_id: str) -> TakenAnswer | None:
    """The answer that ends an approval; None where it fails, or time chose. Raises DecisionFailed: InvalidAnswer."""
    event, agent = step.event, step.program.agent
    if event.source != names.agent_source(agent.namespace, agent.name):
        message = f"the end of approval {task_id} comes from {event.source}; answer it with `heed answer`"
        raise DecisionFailed("InvalidAnswer", message)
    if event.type == names.TASK_FAILED or _is_timeout(step, step.ledger.pending_tasks[task_id]):
        return None
    approval, answer = find_approval(step.ledger, task_id), read_answer(event)
    if approval is None or answer is None:
        raise DecisionFailed(
            "InvalidAnswer", f"{task_id} completes with an answer or at its due time, and this is neither"
        )
    if (refusal := check_answer(approval, answer)) is not None:
        raise DecisionFailed("InvalidAnswer", f"{refusal.reason}: {refusal.message}")
    return taken_answer(answer)


def _is_timeout(step: Step, record: PendingTask) -> bool:
    """Whether the event says what time chooses, and that time has come; the broker's clock may be behind."""
    data, now = step.event.data, step.ledger.cursor.time or ""
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, dict) or record.due is None or result != timeout_result(record):
        return False
    return record.due <= add_seconds(now, MAX_CLOCK_SKEW_S)
