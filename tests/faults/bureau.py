"""The bureau, an Agent that asks people, and whether each of its approvals ended as people or time decided.

What the people of the storm did is known from the ApprovalAnswers that the API server holds: their creation is when an
answer was given. An answer counts where an approver gave it in time and it fits what was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.decision.model import Decision
from heed.core.events import Event
from heed.core.tasks.job_contract import REASON_DEADLINE
from tests.faults.incarnation import Findings, Incarnation, is_end, list_starts
from tests.faults.spec_parts import DOMAIN, IDLE, emit, handler

NAMESPACE, NAME = "storm-a", "bureau"
TIMEOUT_S = 6
APPROVERS = ("kim", "lee")
STRANGER = "eve"
PLAYS_OF_TASKS = {  # what people do about each task: a grant is refused at its timeout, and a leave fails
    "permit": ("answer", "wrong", "wrong", "race", "forged"),
    "grant": ("answer", "wrong", "late", "silent"),
    "leave": ("answer", "race", "late", "silent"),
}
REFUSALS = {"AlreadyAnswered", "UnknownChoice", "InvalidFields", "NotAnApprover", "Expired", "TaskEnded"}

Body = dict[str, Any]


def user(name: str) -> str:
    """Who the API server says that somebody is."""
    return f"system:serviceaccount:{NAMESPACE}:{name}"


QUESTION = {
    "title": "May ${event.correlationid} have ${string(event.data.input.value)}?",
    "approvers": {"users": [user(name) for name in APPROVERS]},
    "fields": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
}
BUREAU = {
    "subscribe": [{"type": DOMAIN + "permit.asked"}],
    "session": {"idleTimeout": IDLE},
    "tasks": {
        "permit": {"approval": QUESTION, "timeout": "10m"},
        "grant": {"approval": QUESTION | {"onTimeout": "reject"}, "timeout": f"{TIMEOUT_S}s"},
        "leave": {"approval": QUESTION, "timeout": f"{TIMEOUT_S}s"},
    },
    "handlers": [
        handler(
            "ask",
            "permit.asked",
            start=[{"from": "${[{'task': event.data.task, 'input': event.data.input}]}"}],
        ),
        handler(
            "decided",
            names.TASK_COMPLETED,
            state={"decided": "${event.data.result.choice}"},
            emit=[emit("permit.decided", task="${task.id}", of="${event.data.result}")],
        ),
        handler(
            "undecided",
            names.TASK_FAILED,
            emit=[emit("permit.undecided", task="${task.id}", reason="${event.data.reason}")],
        ),
    ],
}


def approval_findings(item: Incarnation, answers: Sequence[Body]) -> Findings:
    """Every approval ended by the one answer that is said to be accepted, or by time and for want of one."""
    if item.program.agent.name != NAME:
        return []
    starts, given = list_starts(item), _by_task(answers)
    wrong = [f"{item}: {amiss}" for answer in answers for amiss in _unjudged(answer)]
    for decision in item.fold.decisions:
        event = decision.received.event
        if isinstance(event, Event) and is_end(decision) and event.subject in starts:
            approval = starts[event.subject]
            amiss = _amiss(approval, decision, event, given.get(event.subject, []))
            wrong += [f"{item}: approval {event.subject} {what}" for what in amiss]
    return wrong


def _by_task(answers: Sequence[Body]) -> Mapping[str, list[Body]]:
    found: dict[str, list[Body]] = {}
    for answer in answers:
        found.setdefault(answer["spec"]["task"], []).append(answer)
    return found


def _unjudged(answer: Body) -> Iterator[str]:
    """A verdict that no answer of the storm deserves."""
    status, reason = verdict(answer)
    if not (status == "True" and reason == "Accepted") and not (status == "False" and reason in REFUSALS):
        yield f"the answer {answer['metadata']['name']} was said to be {reason or 'nothing'}"


def verdict(answer: Body) -> tuple[str, str]:
    """What the operator says of an answer: whether it is accepted, and why; nothing where it says nothing yet."""
    for condition in (answer.get("status") or {}).get("conditions") or ():
        return condition["status"], condition["reason"]
    return "", ""


def _amiss(approval: PendingTask, decision: Decision, event: Event, given: list[Body]) -> Iterator[str]:
    data: Any = event.data
    until = _time(approval.due or approval.deadline or "")
    counting = [answer for answer in given if _fits(answer) and _given_at(answer) <= until]
    accepted = [answer for answer in given if verdict(answer)[0] == "True"]
    result = data.get("result") or {}
    if "reason" in data or result.get("timedOut"):
        became = data.get("reason") or result["choice"]
        if became != {"leave": REASON_DEADLINE, "grant": "reject"}.get(approval.task):
            yield f"came to {became} by time"
        if _time(decision.received.at) < until:
            yield f"was over at {decision.received.at}, before {until}"
        if counting or accepted:
            yield f"ran out although {_names(counting)} came in time, and {_names(accepted)} was accepted"
        return
    said = [answer for answer in counting if _says(answer, result)]
    if not said or said != accepted:
        yield f"ended with {result}, which {_names(said)} said, and {_names(accepted)} was accepted"


def _fits(answer: Body) -> bool:
    """Whether it is of an approver, and answers what was asked."""
    spec = answer["spec"]
    return (
        spec["user"] in map(user, APPROVERS)
        and spec["choice"] in ("approve", "reject")
        and isinstance((spec.get("fields") or {}).get("amount"), int)
    )


def _says(answer: Body, result: Mapping[str, Any]) -> bool:
    spec, at = answer["spec"], answer["metadata"]["creationTimestamp"]
    given = (spec["choice"], spec["user"], spec.get("fields"), spec.get("comment", ""), at)
    members = ("choice", "answeredBy", "fields", "comment", "answeredAt")
    return given == tuple(result[name] for name in members)


def _given_at(answer: Body) -> datetime:
    return _time(answer["metadata"]["creationTimestamp"])


def _names(answers: Sequence[Body]) -> str:
    return ", ".join(answer["metadata"]["name"] for answer in answers) or "none"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
