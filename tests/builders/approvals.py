"""Approvals that wait, and answers to them."""

from __future__ import annotations

from typing import Any

from heed import names
from heed.core.approval.answer import Answer
from heed.core.approval.ends import answer_event
from heed.core.approval.request import PendingApproval, find_approval
from heed.core.compiler.program import Program
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import AGENT, NAMESPACE, UID, asking, program
from tests.builders.decisions import after, only_task
from tests.builders.events import at, received

ASK = {"name": "ask", "state": {"asked": True}, "start": [{"task": "buy", "input": "${event.data}"}]}
DONE = {
    "name": "done",
    "type": "dev.heed.task.completed",
    "emit": [{"type": "com.example.answered", "data": "${event.data.result}"}],
}
FAILED = {
    "name": "failed",
    "type": "dev.heed.task.failed",
    "emit": [{"type": "com.example.unanswered", "data": "${event.data.reason}"}],
}
HALT = {"name": "halt", "type": "com.example.halt", "cancel": [{"task": "buy"}]}


def buyer(timeout: str | None = None, **approval: Any) -> Program:
    """An Agent that asks whether to buy what an event names."""
    return program(ASK, DONE, FAILED, HALT, tasks={"buy": asking(timeout=timeout, **approval)})


def awaiting(agent: Program, data: Any = None) -> Ledger:
    """The ledger in which its approval waits; it was asked a second after noon."""
    return after(agent, received(1, data=data))


def approval_of(ledger: Ledger) -> PendingApproval:
    """The one approval that waits."""
    found = find_approval(ledger, only_task(ledger))
    assert found is not None
    return found


def an_answer(choice: str = "approve", user: str = "kim", seconds: float = 2, **more: Any) -> Answer:
    """An answer, so many seconds after noon."""
    return Answer(more.pop("name", "answer-1"), choice, user, at(seconds), **more)


def stored_answer(sequence: int, ledger: Ledger, given: Answer, uid: str = "uid-1") -> Received:
    """The stored event that an answer becomes."""
    ref = AgentRef(NAMESPACE, AGENT, UID)
    made = answer_event(ref, approval_of(ledger), given, uid, at(sequence))
    assert made is not None
    return Received(sequence, at(sequence), names.inbox_subject(NAMESPACE, AGENT, made.type), made)
