"""The judge of approvals finds what is amiss: ends that nobody gave, answers that were passed over, wrong verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from heed import names
from heed.core.approval.answer import Answer
from heed.core.approval.ends import answer_event, approval_timed_out
from heed.core.approval.request import find_approval
from heed.core.due.due_events import deadline_end
from heed.core.due.due_times import list_due_times
from heed.core.events import Event, Received
from heed.core.tasks.work import end_event
from tests.faults.bureau import approval_findings, user
from tests.faults.incarnation import Incarnation
from tests.faults.spec_parts import DOMAIN
from tests.faults.test_judging import CREATED, compiled, received_at
from tests.integration.engine.oracle import Fold, folded

PROGRAM = compiled("storm-a", "bureau")


def stamp(second: int) -> str:
    return f"2026-11-01T12:00:{second:02}Z"


def answer(
    name: str = "kim", second: int = 4, status: str = "True", reason: str = "Accepted", **spec: Any
) -> dict[str, Any]:
    """An ApprovalAnswer with a verdict."""
    given = {"task": TASK_ID, "user": user(name), "choice": "approve", "fields": {"amount": 7}, "comment": ""}
    return {
        "metadata": {"name": f"of-{name}", "creationTimestamp": stamp(second)},
        "spec": given | spec,
        "status": {"conditions": [{"type": "Accepted", "status": status, "reason": reason}]},
    }


def asked(task: str) -> Fold:
    """The fold in which an approval waits, from second 1 on."""
    data = {"task": task, "input": {"play": "answer", "value": 7}}
    return folded(PROGRAM, [received_at(1, DOMAIN + "permit.asked", data)], CREATED)


def ended(task: str, event: Event, second: int) -> Incarnation:
    """The bureau after an approval ended at that second."""
    subject = names.inbox_subject("storm-a", "bureau", event.type)
    received = Received(9, f"{stamp(second)[:-1]}.000000Z", subject, event)
    fold = folded(PROGRAM, [asked(task).decisions[0].received, received], CREATED)
    return Incarnation(PROGRAM, fold.ledger, fold, True)


def answered(task: str = "permit", name: str = "kim", second: int = 4, amount: int = 7) -> Incarnation:
    """The bureau after somebody's answer ended it."""
    approval = find_approval(asked(task).ledger, task_id(task))
    assert approval is not None
    said = Answer("of-kim", "approve", user(name), stamp(second), (), {"amount": amount})
    event = answer_event(PROGRAM.agent, approval, said, "uid", stamp(second))
    assert event is not None
    return ended(task, event, second + 1)


def ran_out(task: str, second: int = 18) -> Incarnation:
    """The bureau after its time was over."""
    ledger = asked(task).ledger
    (due,) = (due for due in list_due_times(PROGRAM, ledger) if due.kind in ("approval", "deadline"))
    record = ledger.pending_tasks[due.key]
    at = stamp(second)
    end = approval_timed_out(due.key, record, at) if due.kind == "approval" else deadline_end(due, at)
    return ended(task, end_event(PROGRAM.agent, record, end), second)


def task_id(task: str) -> str:
    (found,) = asked(task).ledger.pending_tasks
    return found


TASK_ID = task_id("permit")


@pytest.mark.parametrize(
    "answers",
    [
        [answer()],
        [answer("eve", 2, "False", "NotAnApprover"), answer()],
        [answer(), answer("lee", 4, "False", "AlreadyAnswered")],
        [answer("lee", 3, "False", "InvalidFields", fields={"amount": "much"}), answer()],
    ],
)
def test_an_approval_that_an_answer_ended_gives_no_finding(answers: list[dict[str, Any]]) -> None:
    assert approval_findings(answered(), answers) == []


@pytest.mark.parametrize("task", ["grant", "leave"])
def test_an_approval_that_ran_out_gives_no_finding(task: str) -> None:
    late = answer(second=8, status="False", reason="Expired", task=task_id(task))
    assert approval_findings(ran_out(task), []) == approval_findings(ran_out(task), [late]) == []


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([], "which none said, and none was accepted"),
        ([answer(status="False", reason="AlreadyAnswered")], "which of-kim said, and none was accepted"),
        ([answer(), answer("lee", 3)], "which of-kim said, and of-kim, of-lee was accepted"),
        ([answer(second=5)], "which none said, and of-kim was accepted"),
        ([answer(fields={"amount": 8})], "which none said"),
        ([answer(), answer("lee", 3, "False", "IdentityUnproven")], "was said to be IdentityUnproven"),
        ([answer(), answer("lee", 3, "True", "Expired")], "was said to be Expired"),
        ([answer(), answer("lee", 3, "", "")], "was said to be nothing"),
    ],
)
def test_an_end_that_is_not_that_of_the_accepted_answer_is_found(
    answers: list[dict[str, Any]], says: str
) -> None:
    assert any(says in finding for finding in approval_findings(answered(), answers))


def test_an_answer_that_should_have_counted_or_not_is_found() -> None:
    in_time = answer(second=5, status="False", reason="Expired", task=task_id("grant"))
    assert "ran out although of-kim came in time" in approval_findings(ran_out("grant"), [in_time])[0]
    assert "which none said" in approval_findings(answered(amount=8), [answer()])[0]
    assert "before 2026-11-01 12:00:07" in approval_findings(ran_out("grant", 6), [])[0]
