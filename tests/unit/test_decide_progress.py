"""What a running task says: only the subject says which task that is, and nothing it claims reaches further."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import DeadLetterCause
from heed.bus.task_credentials import task_permissions
from heed.core.decision.decide import Decision, decide
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import AllowList, Permissions
from heed.core.tasks.work import work_of
from tests.builders.agents import AGENT, NAMESPACE, job, program
from tests.builders.decisions import after, decide_each, emitted, only_task, owed_work_of, session_states
from tests.builders.events import at, received, task_end

REPORTING = program(
    {"name": "begin", "start": [{"task": "work", "input": "${event.data}"}]},
    {
        "name": "note",
        "type": names.TASK_PROGRESS,
        "when": "task.name == 'work'",
        "state": {"percent": "${event.data.percent}", "topic": "${input.topic}"},
        "emit": [{"type": "com.example.moved", "data": "${[task.id, event.data.percent]}"}],
    },
    {"name": "done", "type": names.TASK_COMPLETED, "state": {"result": "${event.data.result}"}},
    tasks={"work": job("x", publish=True)},
)
SESSION = "e1"


def begun() -> Ledger:
    """A ledger with one task under way."""
    return after(REPORTING, received(1, data={"topic": "tides"}))


def progress(
    sequence: int,
    task_id: str,
    percent: Any = 1,
    *,
    type_: str = names.TASK_PROGRESS,
    agent: str = AGENT,
    **attributes: Any,
) -> Received:
    facts: dict[str, Any] = {
        "id": f"p{sequence}",
        "source": "/job",
        "data": {"percent": percent},
        **attributes,
    }
    event = Event(type=type_, **facts)
    return Received(sequence, at(sequence), names.task_subject(NAMESPACE, agent, task_id, type_), event)


def decided(ledger: Ledger, said: Received) -> Decision:
    return decide(REPORTING, ledger, said)


def test_progress_is_decided_in_the_session_of_its_task_which_goes_on() -> None:
    ledger = begun()
    task_id = only_task(ledger)

    decision = decided(ledger, progress(2, task_id, 40))

    assert (decision.outcome, decision.session, decision.handlers) == ("handled", SESSION, ("note",))
    assert session_states(decision.ledger) == {SESSION: {"percent": 40, "topic": "tides"}}
    assert [event.data for event in emitted(decision)] == [[task_id, 40]]
    assert only_task(decision.ledger) == task_id


def test_what_was_said_before_the_end_is_decided_before_it_and_what_comes_after_it_is_stale() -> None:
    ledger = begun()
    task_id = only_task(ledger)

    said, ended, late = decide_each(
        REPORTING, [progress(2, task_id, 40), task_end(3, task_id, "r"), progress(4, task_id, 50)], ledger
    )

    assert [item.outcome for item in (said, ended, late)] == ["handled", "handled", "stale"]
    assert session_states(late.ledger) == {SESSION: {"percent": 40, "topic": "tides", "result": "r"}}


def test_the_same_message_twice_is_decided_once() -> None:
    ledger = begun()
    said = progress(2, only_task(ledger))

    decisions = decide_each(REPORTING, [said, replace(said, sequence=3)], ledger)

    assert [item.outcome for item in decisions] == ["handled", "duplicates"]


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda own: progress(2, "work-0123456789abcdef"), id="a task that there is not"),
        pytest.param(lambda own: progress(2, own, subject="work-other"), id="claims to be another task"),
        pytest.param(lambda own: progress(2, own, type_=names.TASK_COMPLETED), id="claims to have completed"),
        pytest.param(lambda own: progress(2, own, type_=names.TASK_RESULT), id="a result"),
        pytest.param(
            lambda own: received(2, names.TASK_PROGRESS, {"percent": 1}, inbox=True, subject=own),
            id="progress that came through the inbox",
        ),
    ],
)
def test_what_the_subject_does_not_bear_out_is_stale(forge: Any) -> None:
    ledger = begun()

    decision = decided(ledger, forge(only_task(ledger)))

    assert decision.outcome == "stale"
    assert decision.ledger.pending_tasks == ledger.pending_tasks
    assert not session_states(decision.ledger)[SESSION]


def test_progress_as_a_broadcast_event_is_a_dead_letter() -> None:
    decision = decided(begun(), received(2, names.TASK_PROGRESS, {"percent": 1}))

    assert decision.letter is not None
    assert decision.letter.code == "ReservedType"


def test_a_task_can_neither_choose_its_flow_nor_begin_its_hops_anew() -> None:
    ledger = after(REPORTING, received(1, data={"topic": "tides"}, correlationid="c-1", heedhops=7))
    forged = {"correlationid": "other", "causationid": "other", "heedhops": 0}

    decision = decided(ledger, progress(2, only_task(ledger), extensions=forged))

    (event,) = emitted(decision)
    assert decision.session == "c-1"
    assert event.extensions["correlationid"] == "c-1"
    assert event.extensions["heedhops"] == 9


def test_a_task_cannot_make_the_agent_take_somebody_elses_event_for_a_duplicate() -> None:
    ledger = begun()
    theirs = received(3, id_="order-42", source="/shop", data={"topic": "moon"})

    said, heard = decide_each(
        REPORTING, [progress(2, only_task(ledger), id="order-42", source="/shop"), theirs], ledger
    )

    assert (said.outcome, heard.outcome) == ("handled", "handled")


def test_a_handler_that_breaks_costs_the_message_and_not_the_task_and_it_can_be_redriven() -> None:
    ledger = begun()
    task_id = only_task(ledger)
    said = progress(2, task_id)
    assert isinstance(said.event, Event)
    broken = replace(said, event=replace(said.event, data={}))

    decision = decided(ledger, broken)

    assert isinstance(decision.letter, DeadLetterCause)
    assert (decision.letter.code, decision.letter.handler) == ("TemplateFailed", "note")
    assert only_task(decision.ledger) == task_id
    subject = names.redrive_subject(NAMESPACE, AGENT, names.TASK_PROGRESS)
    again = replace(said, sequence=3, subject=subject, redrive=Redrive("letter", 2, decision.letter.task))
    assert session_states(decided(decision.ledger, again).ledger) == {
        SESSION: {"percent": 1, "topic": "tides"}
    }


def test_an_agent_reads_what_its_tasks_say_also_while_it_reads_its_inbox_only() -> None:
    ledger = begun()
    said = progress(5, only_task(ledger))

    ahead = decide(REPORTING, ledger, said, ahead=True)
    passed = decided(ahead.ledger, said)

    assert (ahead.outcome, passed.outcome) == ("handled", "passed")


def test_a_task_that_may_publish_is_owed_with_the_patterns_that_its_agent_may_emit() -> None:
    ledger = begun()
    task_id = only_task(ledger)

    assert owed_work_of(ledger, task_id)["publish"] == [">"]
    owed = work_of(REPORTING.agent, task_id, ledger.pending_tasks[task_id])
    grants = task_permissions(owed)
    own = f"heed.tasks.{NAMESPACE}.{AGENT}.{task_id}"
    assert grants.publish == (
        f"{own}.dev.heed.task.progress",
        f"{own}.dev.heed.task.result",
        f"heed.events.{NAMESPACE}.>",
    )
    assert grants.deny == (f"heed.events.{NAMESPACE}.dev.heed.>", f"heed.events.{NAMESPACE}.dev.heed")


def test_a_task_may_broadcast_no_more_than_policies_let_its_agent_emit() -> None:
    allowed = AllowList(("com.example.moved", "com.example.b.>"), ("demo/strict",))
    restricted = replace(REPORTING, permissions=Permissions(NAMESPACE, emissions=allowed))

    ledger = after(restricted, received(1, data={"topic": "tides"}))

    owed = work_of(REPORTING.agent, only_task(ledger), ledger.pending_tasks[only_task(ledger)])
    assert owed.publish == ("com.example.moved", "com.example.b.>")
    assert [subject for subject in task_permissions(owed).publish if subject.startswith("heed.events.")] == [
        f"heed.events.{NAMESPACE}.com.example.moved",
        f"heed.events.{NAMESPACE}.com.example.b.>",
    ]


@pytest.mark.parametrize(
    ("owed", "problem"),
    [
        (("com.example.moved", "com.example.b.c"), None),
        ((), None),
        ((">",), "AgentPolicy demo/strict allows no emission of > by a task"),
        (("com.example.*",), "AgentPolicy demo/strict allows no emission of com.example.* by a task"),
    ],
)
def test_what_a_task_may_broadcast_is_checked_again_before_it_gets_credentials(
    owed: tuple[str, ...], problem: str | None
) -> None:
    """A policy may have come since; and whoever can write a status is not to make themselves more powerful."""
    allowed = Permissions(
        NAMESPACE, emissions=AllowList(("com.example.moved", "com.example.b.>"), ("demo/strict",))
    )

    found = allowed.publishing_problem(owed)

    assert found == problem or (problem is not None and (found or "").startswith(problem))


def test_what_is_no_pattern_is_granted_to_nobody() -> None:
    ledger = begun()
    owed = work_of(REPORTING.agent, only_task(ledger), ledger.pending_tasks[only_task(ledger)])

    grants = task_permissions(replace(owed, publish=("a b", "", "x.", "ok.>")))

    assert [item for item in grants.publish if item.startswith("heed.events.")] == [
        f"heed.events.{NAMESPACE}.ok.>"
    ]


def test_a_task_that_may_not_publish_is_owed_as_ever() -> None:
    silent = program({"name": "begin", "start": [{"task": "work", "input": 1}]}, tasks={"work": job("x")})

    ledger = after(silent, received(1))

    assert "publish" not in owed_work_of(ledger, only_task(ledger))
    assert work_of(silent.agent, only_task(ledger), ledger.pending_tasks[only_task(ledger)]).publish is None
