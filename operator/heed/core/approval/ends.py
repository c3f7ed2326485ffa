"""The ends of approvals as events: by an answer, or by time. They are believed only where the ledger agrees."""

from dataclasses import replace
from typing import Any, Final

from heed import names
from heed.api.status import PendingTask, TakenAnswer
from heed.core.approval.answer import Answer, answer_id
from heed.core.approval.request import FAIL, ApprovalRequest, PendingApproval
from heed.core.codec.canonical_json import canonicalize
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event
from heed.core.tasks.work import end_event

PROOF: Final = "answer"  # member of an end's data: what the decision checks beside the result


def answer_result(answer: Answer) -> dict[str, Any]:
    """The result of an approval that somebody answered."""
    return {
        "choice": answer.choice,
        "fields": canonicalize(dict(answer.fields), stored=True),
        "comment": answer.comment,
        "answeredBy": answer.user,
        "answeredAt": answer.at,
        "timedOut": False,
    }


def timeout_result(record: PendingTask) -> dict[str, Any] | None:
    """The result of an approval that chooses by itself when it is due; None for one that does not."""
    try:
        choice = ApprovalRequest.from_json(record.request or "").on_timeout
    except (ValueError, KeyError, TypeError):  # somebody wrote the status
        return None
    if record.due is None or choice == FAIL:
        return None
    return {
        "choice": choice,
        "fields": {},
        "comment": "",
        "answeredBy": "",
        "answeredAt": record.due,
        "timedOut": True,
    }


def approval_timed_out(task_id: str, record: PendingTask, at: str) -> TaskEnd:
    """The end of an approval that chooses by itself, at its due time. `at` is the time of saying so (RFC 3339)."""
    return TaskEnd(task_id, names.digest("approval", task_id), at, True, result=timeout_result(record))


def answer_event(
    agent: AgentRef, approval: PendingApproval, answer: Answer, uid: str, at: str
) -> Event | None:
    """The event that ends an approval with an answer; None where no event can carry it.

    `uid` identifies the answer, so that publishing it again changes nothing; `at` is the time of saying so.
    """
    end = TaskEnd(approval.task_id, answer_id(uid), at, True, result=answer_result(answer))
    event = end_event(agent, approval.record, end)
    if event.type != names.TASK_COMPLETED:
        return None
    assert isinstance(event.data, dict)
    return replace(event, data={**event.data, PROOF: {"name": answer.name, "groups": list(answer.groups)}})


def read_answer(event: Event) -> Answer | None:
    """The answer that a task's end claims to be; None where it claims none."""
    data: Any = event.data
    try:
        result, proof = data["result"], data[PROOF]
        return Answer(
            name=_text(proof["name"]),
            choice=_text(result["choice"]),
            user=_text(result["answeredBy"]),
            at=_text(result["answeredAt"]),
            groups=tuple(map(_text, proof["groups"])),
            fields=dict(result["fields"]),
            comment=_text(result["comment"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def taken_answer(answer: Answer) -> TakenAnswer:
    """What the ledger keeps of the answer that ended an approval."""
    return TakenAnswer(answer.name, answer.choice, answer.user, answer.at)
