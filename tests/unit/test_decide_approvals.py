"""Approvals at decisions: how they begin, and which ends are believed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed.api.status import TakenAnswer
from heed.core.approval.ends import approval_timed_out, timeout_result
from heed.core.approval.request import MAX_DETAILS_BYTES, MAX_REQUEST_BYTES
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.effects import StartTask
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.ledger import Ledger, dump_ledger, load_ledger
from tests.builders.approvals import an_answer, approval_of, awaiting, buyer, stored_answer
from tests.builders.decisions import after, decide_each, emitted, letter_of, only_task
from tests.builders.events import at, received, task_end

BUYER = buyer(approvers={"users": ["kim", "lee"]})


def decided(ledger: Ledger, item: Received, agent: Any = BUYER) -> Decision:
    return decide(agent, ledger, item)


def test_an_approval_is_in_the_ledger_with_what_is_asked_and_nothing_is_owed() -> None:
    agent = buyer("1h", details="For **${event.data.who}**", approvers={"groups": ["${event.data.team}"]})

    decision = decide(agent, Ledger(), received(1, data={"who": "Ada", "team": "buyers"}))

    ((task_id, record),) = decision.ledger.pending_tasks.items()
    assert (record.kind, record.phase, record.owed, record.deadline, record.due) == (
        "approval",
        "Started",
        None,
        at(3601),
        None,
    )
    request = approval_of(decision.ledger).request
    assert (request.title, request.details, request.groups) == ("Buy it?", "For **Ada**", ("buyers",))
    assert decision.effects == (StartTask(task_id, record),)


def test_the_ledger_keeps_it_through_a_restart() -> None:
    ledger = awaiting(buyer("1h", onTimeout="reject", fields={"type": "object"}))

    again = load_ledger(dump_ledger(ledger))

    assert again.pending_tasks == ledger.pending_tasks
    assert approval_of(again) == approval_of(ledger)


@pytest.mark.parametrize(
    ("approval", "data", "message"),
    [
        (
            {"title": "${event.data}"},
            "a\nb",
            "title has to be text of one line of at most 256 bytes; shorten it",
        ),
        (
            {"title": "${event.data}"},
            "x" * 257,
            "title has to be text of one line of at most 256 bytes; shorten it",
        ),
        ({"title": "${event.data}"}, "", "title is empty; say what is asked"),
        ({"title": "${event.data}"}, 5, "title yields no text; wrap it in string(…)"),
        (
            {"details": "${event.data}"},
            "x" * (MAX_DETAILS_BYTES + 1),
            f"details has to be text of at most {MAX_DETAILS_BYTES} bytes; shorten it",
        ),
        (
            {"approvers": {"users": ["${event.data}"]}},
            ["kim"],
            "approvers.users yields what is no name of 1 to 256 characters; give each item one name",
        ),
        (
            {"approvers": {"groups": ["${event.data}"]}},
            "",
            "approvers.groups yields what is no name of 1 to 256 characters; give each item one name",
        ),
    ],
)
def test_what_nobody_could_be_asked_is_a_dead_letter(
    approval: dict[str, Any], data: Any, message: str
) -> None:
    decision = decide(buyer(**approval), Ledger(), received(1, data=data))

    assert letter_of(decision) == ("BadApproval", f"spec.tasks.buy.approval: {message}", "ask")
    assert decision.ledger.pending_tasks == {}


def test_what_is_asked_is_bounded_as_a_whole() -> None:
    users = {"users": ["${event.data}" for _ in range(64)]}
    schema = {"description": "x" * 8000}

    decision = decide(
        buyer(approvers=users, fields=schema, details="y" * 8000), Ledger(), received(1, data="é" * 255)
    )

    assert letter_of(decision)[:2] == (
        "BadApproval",
        f"spec.tasks.buy.approval: what is asked exceeds {MAX_REQUEST_BYTES} bytes; "
        "shorten it, or link to what is long",
    )


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_completes_the_task_and_the_handlers_see_who_said_what() -> None:
    agent = buyer(fields={"type": "object"})
    ledger = awaiting(agent)
    given = an_answer("reject", "kim", 2, fields={"amount": 7.0, "none": None}, comment="too dear")

    decision = decided(ledger, stored_answer(2, ledger, given), agent)

    assert decision.outcome == "handled"
    assert [event.data for event in emitted(decision)] == [
        {
            "choice": "reject",
            "fields": {"amount": 7},
            "comment": "too dear",
            "answeredBy": "kim",
            "answeredAt": at(2),
            "timedOut": False,
        }
    ]
    assert decision.ledger.pending_tasks == {}
    (recent,) = decision.ledger.recent_tasks
    assert (recent.outcome, recent.reason) == ("Completed", None)
    assert recent.answer == TakenAnswer("answer-1", "reject", "kim", at(2))
    assert load_ledger(dump_ledger(decision.ledger)).recent_tasks == decision.ledger.recent_tasks


def test_the_first_answer_in_the_stream_wins_and_the_second_is_stale() -> None:
    ledger = awaiting(BUYER)
    first = stored_answer(2, ledger, an_answer("reject", "lee", 3, name="one"), "uid-1")
    second = stored_answer(3, ledger, an_answer("approve", "kim", 2, name="two"), "uid-2")

    decisions = decide_each(BUYER, [first, second], ledger)

    assert [decision.outcome for decision in decisions] == ["handled", "stale"]
    assert [recent.answer and recent.answer.name for recent in decisions[1].ledger.recent_tasks] == ["one"]


def test_an_answer_that_does_not_count_leaves_the_approval_waiting() -> None:
    ledger = awaiting(BUYER)

    decision = decided(ledger, stored_answer(2, ledger, an_answer(user="eve")))

    assert letter_of(decision) == (
        "InvalidAnswer",
        "NotAnApprover: eve is not among the users kim, lee",
        None,
    )
    assert decision.ledger.pending_tasks == ledger.pending_tasks
    assert decided(decision.ledger, stored_answer(3, ledger, an_answer())).outcome == "handled"


@pytest.mark.parametrize(
    "result", [None, "approve", {"choice": "approve"}, {"choice": "approve", "timedOut": True}]
)
def test_a_completion_that_is_no_answer_is_not_believed(result: Any) -> None:
    ledger = awaiting(buyer("1h", onTimeout="approve"))

    decision = decided(ledger, task_end(2, only_task(ledger), result))

    assert letter_of(decision)[0] == "InvalidAnswer"
    assert decision.ledger.pending_tasks == ledger.pending_tasks


@pytest.mark.parametrize("data", [None, "approve", ["approve"], {"result": {"choice": "approve"}}])
def test_nor_is_one_that_says_it_in_another_form(data: Any) -> None:
    ledger = awaiting(buyer("1h", onTimeout="approve"))
    told = task_end(2, only_task(ledger), {})
    assert isinstance(told.event, Event)

    decision = decided(ledger, replace(told, event=replace(told.event, data=data)))

    assert letter_of(decision)[0] == "InvalidAnswer"


@pytest.mark.parametrize("reason", [None, "Broken"])
def test_an_end_that_another_tells_is_not_believed_whatever_it_says(reason: str | None) -> None:
    ledger = awaiting(BUYER)
    told = stored_answer(2, ledger, an_answer())
    if reason is None:
        assert isinstance(told.event, Event)
        told = replace(told, event=replace(told.event, source="/someone"))
    else:
        told = task_end(2, only_task(ledger), reason=reason, source="/someone")

    decision = decided(ledger, told)

    assert letter_of(decision)[0] == "InvalidAnswer"
    assert decision.ledger.pending_tasks == ledger.pending_tasks


def test_a_question_stays_as_it_was_asked_whatever_is_edited() -> None:
    ledger = awaiting(BUYER)
    edited = buyer(approvers={"users": ["eve"]}, choices=[{"name": "other"}])

    assert decided(ledger, stored_answer(2, ledger, an_answer("approve", "kim")), edited).outcome == "handled"
    assert (
        decided(ledger, stored_answer(2, ledger, an_answer("other", "eve")), edited).outcome
        == "dead_lettered"
    )


def test_an_approval_that_is_cancelled_takes_no_answer_any_more() -> None:
    ledger = awaiting(BUYER)
    event = stored_answer(3, ledger, an_answer())
    halted = decided(ledger, received(2, "com.example.halt", correlationid="e1")).ledger

    late = decided(halted, event)
    failed = decided(late.ledger, task_end(4, only_task(ledger), reason="Cancelled"))

    assert late.outcome == "stale"
    assert [event.data for event in emitted(failed)] == ["Cancelled"]
    assert failed.ledger.pending_tasks == {}


def test_the_letter_of_an_answer_can_be_redriven_like_any_end() -> None:
    ledger = awaiting(BUYER)
    kept = json.dumps(
        {
            "session": "e1",
            "input": None,
            "id": only_task(ledger),
            "name": "buy",
            "kind": "approval",
            "startedAt": at(1),
        }
    )
    event = stored_answer(2, ledger, an_answer())
    ended = decided(ledger, event).ledger
    again = replace(
        event,
        sequence=3,
        subject=event.subject.replace("heed.inbox.", "heed.redrive."),
        redrive=Redrive("letter", 2, kept, event.subject),
    )

    decision = decided(ended, again)

    assert decision.outcome == "handled"
    assert [event.type for event in emitted(decision)] == ["com.example.answered"]


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deadline_is_due_with_grace_for_answers_that_are_on_their_way() -> None:
    failing, choosing = buyer("10s"), buyer("10s", onTimeout="reject")
    (fails,) = [due for due in list_due_times(failing, awaiting(failing)) if due.kind != "session"]
    (chooses,) = [due for due in list_due_times(choosing, awaiting(choosing)) if due.kind != "session"]

    assert (fails.kind, fails.at, fails.grace) == ("deadline", at(11), True)
    assert (chooses.kind, chooses.at, chooses.grace) == ("approval", at(11), True)
    assert isinstance(fails, DueTime)


def timed_out(sequence: int, ledger: Ledger, time: float, **result: Any) -> Received:
    """The event that says that time chose."""
    task_id = only_task(ledger)
    end = approval_timed_out(task_id, ledger.pending_tasks[task_id], at(time))
    return task_end(sequence, task_id, {**end.result, **result}, id_=end.id, time=time)


def test_at_its_due_time_the_choice_for_that_is_taken() -> None:
    agent = buyer("10s", onTimeout="reject")
    ledger = awaiting(agent)

    decision = decided(ledger, timed_out(2, ledger, 11), agent)

    (event,) = emitted(decision)
    assert event.data == {
        "choice": "reject",
        "fields": {},
        "comment": "",
        "answeredBy": "",
        "answeredAt": at(11),
        "timedOut": True,
    }
    assert decision.ledger.recent_tasks[0].answer is None
    late = decided(decision.ledger, stored_answer(3, ledger, an_answer(seconds=5)), agent)
    assert late.outcome == "stale"


def test_time_is_believed_by_the_ledgers_clock_and_only_for_its_own_choice() -> None:
    agent = buyer("2m", onTimeout="reject")
    ledger = awaiting(agent)

    early = decided(ledger, timed_out(2, ledger, 60), agent)
    skewed = decided(ledger, timed_out(2, ledger, 61), agent)
    other = decided(ledger, timed_out(2, ledger, 200, choice="approve"), agent)

    assert [item.outcome for item in (early, skewed, other)] == ["dead_lettered", "handled", "dead_lettered"]
    assert early.ledger.pending_tasks == other.ledger.pending_tasks == ledger.pending_tasks


def test_an_answer_given_in_time_counts_also_where_it_is_stored_late() -> None:
    agent = buyer("10s")
    ledger = awaiting(agent)

    assert decided(ledger, stored_answer(50, ledger, an_answer(seconds=11)), agent).outcome == "handled"
    assert letter_of(decided(ledger, stored_answer(50, ledger, an_answer(seconds=12)), agent))[1].startswith(
        "Expired"
    )


def test_without_a_choice_for_that_the_task_fails_at_its_deadline() -> None:
    agent = buyer("10s")
    ledger = awaiting(agent)

    decision = decided(ledger, task_end(2, only_task(ledger), reason="DeadlineExceeded", time=11), agent)

    assert [event.data for event in emitted(decision)] == ["DeadlineExceeded"]


def test_a_status_that_somebody_wrote_takes_no_answer() -> None:
    ledger = awaiting(BUYER)
    task_id = only_task(ledger)
    event = stored_answer(2, ledger, an_answer())
    for request in (None, "", "{}", "[]", '{"approvers": 1}'):
        record = replace(ledger.pending_tasks[task_id], request=request)
        decision = decided(replace(ledger, pending_tasks={task_id: record}), event)
        assert letter_of(decision)[0] == "InvalidAnswer"


@pytest.mark.parametrize("request_", [None, "", "{}", "[]", '{"approvers": {"users": []}}'])
def test_nor_does_time_choose_for_it(request_: str | None) -> None:
    ledger = awaiting(buyer("10s", onTimeout="reject"))
    record = ledger.pending_tasks[only_task(ledger)]
    assert timeout_result(record) is not None

    assert timeout_result(replace(record, request=request_)) is None
    assert timeout_result(replace(record, due=None)) is None


def test_sessions_with_approvals_are_not_idle() -> None:
    ledger = after(BUYER, received(1), received(2, time=30 * 3600, correlationid="other"))

    assert "e1" in ledger.sessions
