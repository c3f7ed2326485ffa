"""What becomes of an answer: whether it counts, and if not, why and who was first. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heed import names
from heed.api.approval_answer import ApprovalAnswer
from heed.api.status import TakenAnswer
from heed.core.approval.answer import Answer
from heed.core.approval.ends import read_answer, taken_answer
from heed.core.approval.request import KIND
from heed.core.events import Event
from heed.core.ledger.ledger import MAX_RECENT_TASKS, Ledger
from heed.core.tasks.job_contract import REASON_DEADLINE
from heed.kube.status.accepted import Judgement

UNKNOWN_TASK: Final = "UnknownTask"
ACCEPTED_JUDGEMENT = Judgement(True, "Accepted", "it is the answer that ended the task")


@dataclass(frozen=True, slots=True)
class AgentView:
    """What is known of an Agent that runs: its ledger, and the answers that were taken lately, by task id."""

    ledger: Ledger
    taken: Mapping[str, TakenAnswer]


def answer_of(found: ApprovalAnswer) -> Answer:
    """The answer in an object. When it was given is when the API server made the object."""
    spec, metadata = found.spec, found.metadata
    return Answer(
        name=metadata.name,
        choice=spec.choice,
        user=spec.user,
        at=metadata.creation_timestamp,
        groups=tuple(spec.groups),
        fields=spec.fields,
        comment=spec.comment,
    )


def judge_late(task: str, name: str, view: AgentView) -> Judgement:
    """The judgement on an answer of a name to a task that waits for none, or not any more."""
    ledger = view.ledger
    recent = next((item for item in ledger.recent_tasks if item.id == task), None)
    taken = view.taken.get(task) or (recent.answer if recent is not None else None)
    if taken is not None:
        return _after(taken, name)
    if recent is not None:
        return _ended(recent.outcome == "Completed", recent.reason, recent.ended_at)
    record = ledger.pending_tasks.get(task)
    if record is not None and record.kind != KIND:
        return Judgement(False, UNKNOWN_TASK, f"{task} is a task of kind {record.kind}, and takes no answers")
    if record is not None:
        return Judgement(False, "TaskEnded", f"{task} is being cancelled")
    message = (
        f"no approval {task} waits: there never was one, or more than {MAX_RECENT_TASKS} tasks of the Agent have ended "
        "since, of which alone it remembers how; `heed approvals` lists those that wait"
    )
    return Judgement(False, UNKNOWN_TASK, message)


def judge_by_end(end: Event, name: str) -> Judgement:
    """The judgement on an answer of a name to an approval that this event ended."""
    if (answer := read_answer(end)) is not None:
        return _after(taken_answer(answer), name)
    data = end.data if isinstance(end.data, dict) else {}
    return _ended(end.type == names.TASK_COMPLETED, str(data.get("reason")), end.time)


def _after(taken: TakenAnswer, name: str) -> Judgement:
    if taken.name == name:
        return ACCEPTED_JUDGEMENT
    message = f"{taken.user} answered {taken.choice} at {taken.at}, and was first"
    return Judgement(False, "AlreadyAnswered", message)


def _ended(completed: bool, reason: str | None, at: str | None) -> Judgement:
    if completed:
        return Judgement(False, "Expired", f"nobody had answered in time, and onTimeout chose at {at}")
    if reason == REASON_DEADLINE:
        return Judgement(False, "Expired", f"nobody had answered in time, and the task failed at {at}")
    return Judgement(False, "TaskEnded", f"the task failed at {at}: {reason}")
