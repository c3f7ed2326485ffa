"""Answers of made-up people, for approvals in a simulation."""

from collections.abc import Mapping
from typing import Any, Final

from heed.core.approval.answer import Answer
from heed.core.approval.ends import answer_event
from heed.core.approval.request import PendingApproval
from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.errors import DecisionFailed

STUB_USER: Final = "somebody"
_MEMBERS: Final = ("choice", "fields", "comment", "answeredBy", "groups")


def stubbed_answer(agent: AgentRef, approval: PendingApproval, result: Any, at: str) -> Event:
    """The event of a stubbed answer: a choice, or {choice, fields?, comment?, answeredBy?, groups?}.

    Who answers is one of the approvers where the stub names none. What does not fit what was asked is dead-lettered
    when it is decided. Raises DecisionFailed: InvalidAnswer, for a stub that is no answer.
    """
    stub: Mapping[str, Any] = {"choice": result} if isinstance(result, str) else _checked(approval, result)
    request = approval.request
    user = stub.get("answeredBy", next(iter(request.users), STUB_USER))
    groups = stub.get("groups", request.groups if "answeredBy" not in stub else ())
    answer = Answer(
        name="simulated",
        choice=str(stub["choice"]),
        user=str(user),
        at=at,
        groups=tuple(map(str, groups)),
        fields=stub.get("fields") or {},
        comment=str(stub.get("comment", "")),
    )
    event = answer_event(agent, approval, answer, approval.task_id, at)
    if event is None:
        raise DecisionFailed("InvalidAnswer", f"no event can carry the answer to {approval.record.task}")
    return event


def _checked(approval: PendingApproval, result: Any) -> Mapping[str, Any]:
    known = ", ".join(_MEMBERS)
    if not isinstance(result, dict) or "choice" not in result or not set(result) <= set(_MEMBERS):
        message = f"the result of approval {approval.record.task} is no answer"
        raise DecisionFailed("InvalidAnswer", f"{message}; give a choice, or a map of {known}")
    return result
