"""Tasks from their start to their end: one record, one end, and nothing lost when a handler breaks in between."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import PendingTask
from heed.core.decision.decide import decide
from heed.core.effects import CancelTask, StartTask, TaskEnd
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger, list_owed_effects, settle
from heed.core.tasks.work import end_event, end_subject, work_of
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.decisions import after, decide_each, emitted, only_task, owed_work_of, session_states
from tests.builders.events import at, received, task_end

STOP, HALT = "com.example.stop", "com.example.halt"
WORKING = program(
    {
        "name": "begin",
        "state": {"topic": "${event.data.topic}"},
        "start": [{"task": "work", "input": "${event.data}"}],
    },
    {"name": "stop", "type": STOP, "end": True},
    {"name": "halt", "type": HALT, "cancel": [{"task": "work"}]},
    {
        "name": "done",
        "type": names.TASK_COMPLETED,
        "when": "task.name == 'work'",
        "emit": [{"type": "x.done", "data": "${[task.id, input.topic, state.topic, event.data.result.n]}"}],
    },
    {
        "name": "failed",
        "type": names.TASK_FAILED,
        "emit": [{"type": "x.failed", "data": "${event.data.reason}"}],
    },
    tasks={"work": job("${input.topic}", "${task.id}", timeout="10m")},
)
TIDES = {"topic": "tides"}


def begun() -> Ledger:
    """A ledger with one task under way."""
    return after(WORKING, received(1, data=TIDES))


# ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_started_task_is_owed_with_all_that_a_runner_needs() -> None:
    decision = decide(WORKING, Ledger(), received(1, data=TIDES, correlationid="c", heedhops=2))

    task = only_task(decision.ledger)
    record = decision.ledger.pending_tasks[task]
    assert task == names.task_id(WORKING.agent.uid, 1, 0, "work")
    assert decision.effects == (StartTask(task, record),)
    assert (record.phase, record.kind, record.session, record.input) == ("Owed", "job", "c", TIDES)
    assert (record.started_at, record.deadline) == (at(1), at(601))
    assert (record.cause.id, record.cause.sequence, record.cause.hops) == ("e1", 1, 2)
    given = work_of(WORKING.agent, task, record)
    assert given.spec["template"]["spec"]["containers"][0]["args"] == ["tides", task]
    assert given.document == {
        "task": {"id": task, "name": "work", "attempt": 1},
        "input": TIDES,
        "event": {
            "specversion": "1.0",
            "id": "e1",
            "source": "/shop",
            "type": ASKED,
            "correlationid": "c",
            "heedhops": 2,
            "data": TIDES,
        },
        "session": {"key": "c", "startedAt": at(1)},
        "agent": {"name": AGENT, "namespace": NAMESPACE},
    }
    assert (given.timeout, given.retention) == (600, 3600)


def test_data_too_large_for_the_task_file_stay_in_the_stream() -> None:
    small = program({"start": [{"task": "work"}]}, tasks={"work": job()})

    ledger = after(small, received(1, data="x" * 300_000))

    event = owed_work_of(ledger, only_task(ledger))["document"]["event"]
    assert "data" not in event
    assert event["heeddatainstream"] is True


def test_bytes_are_given_to_a_task_as_base64() -> None:
    small = program({"start": [{"task": "work"}]}, tasks={"work": job()})

    ledger = after(small, received(1, data=b"\xff\x00"))

    assert owed_work_of(ledger, only_task(ledger))["document"]["event"]["data_base64"] == "/wA="


def test_a_task_template_sees_the_state_that_all_handlers_left() -> None:
    agent = program(
        {"state": {"n": 1}, "start": [{"task": "work"}]},
        {"state": {"n": 2}},
        tasks={"work": job("${state.n}")},
    )

    ledger = after(agent, received(1))

    assert owed_work_of(ledger, only_task(ledger))["spec"]["template"]["spec"]["containers"][0]["args"] == [2]


# ── ending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_task_finds_its_session_its_input_and_its_name() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, task_end(2, task, {"n": 4}))

    assert emitted(decision)[0].data == [task, "tides", "tides", 4]
    assert decision.session == "e1"
    assert decision.ledger.pending_tasks == {}
    assert decision.ledger.totals.tasks_completed == 1
    assert decision.ledger.recent_tasks[-1].outcome == "Completed"


def test_a_handler_that_breaks_on_an_end_leaves_the_tasks_record_in_the_letter() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, task_end(2, task, {"no": "n"}))

    assert decision.outcome == "dead_lettered"
    assert decision.letter is not None
    assert (decision.letter.code, decision.letter.handler) == ("TemplateFailed", "done")
    record = json.loads(decision.letter.task or "")
    assert (record["id"], record["name"], record["session"], record["input"]) == (task, "work", "e1", TIDES)
    assert decision.ledger.pending_tasks == {}
    assert session_states(decision.ledger) == {"e1": TIDES}
    assert decision.ledger.totals.tasks_completed == 1


def test_an_end_that_cel_cannot_read_ends_its_task_all_the_same() -> None:
    ledger = begun()

    decision = decide(WORKING, ledger, task_end(2, only_task(ledger), "a\0b"))

    assert decision.outcome == "dead_lettered"
    assert decision.ledger.pending_tasks == {}


def test_a_session_of_tasks_alone_goes_with_its_last_one() -> None:
    agent = program({"start": [{"task": "work"}, {"task": "work"}]}, tasks={"work": job()})
    ledger = after(agent, received(1))
    first, second = ledger.pending_tasks

    one_left = decide(agent, ledger, task_end(2, first)).ledger
    none_left = decide(agent, one_left, task_end(3, second)).ledger

    assert list(one_left.sessions) == ["e1"]
    assert none_left.sessions == {}


def test_an_end_event_carries_the_flow_on() -> None:
    ledger = after(
        WORKING, received(1, data=TIDES, correlationid="c", heedhops=7, traceparent="t", tracestate="s")
    )
    task = only_task(ledger)

    event = end_event(
        WORKING.agent, ledger.pending_tasks[task], TaskEnd(task, "run", at(9), True, result=[1])
    )

    assert (event.id, event.type, event.subject) == ("run", names.TASK_COMPLETED, task)
    assert event.data == {"task": "work", "result": [1]}
    assert event.extensions == {
        "correlationid": "c",
        "causationid": "e1",
        "heedhops": 8,
        "traceparent": "t",
        "tracestate": "s",
    }
    assert end_subject(WORKING.agent, event) == names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)


@pytest.mark.parametrize("result", [{"n": 2**70}, ["\ud800"], float("nan"), "a\0b", {"a": {1: 2}}])
def test_a_result_that_no_event_can_carry_is_a_failure_and_still_an_end(result: Any) -> None:
    ledger = begun()
    task = only_task(ledger)

    event = end_event(
        WORKING.agent, ledger.pending_tasks[task], TaskEnd(task, "run", at(9), True, result=result)
    )

    assert event.type == names.TASK_FAILED
    assert isinstance(event.data, dict)
    assert event.data["reason"] == "BadResult"


@pytest.mark.parametrize("hops", [0, 63, 64, 2**31 - 1, "9" * 4000])
def test_a_task_of_a_far_travelled_event_still_comes_to_its_end(hops: Any) -> None:
    ledger = after(WORKING, received(1, data=TIDES, heedhops=hops))
    task = only_task(ledger)
    event = end_event(
        WORKING.agent, ledger.pending_tasks[task], TaskEnd(task, "run", at(9), True, result={"n": 1})
    )
    end = Received(2, at(2), end_subject(WORKING.agent, event), event)

    decision = decide(WORKING, ledger, end)

    assert event.type == names.TASK_COMPLETED
    assert decision.ledger.pending_tasks == {}


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_session_stops_its_tasks_unheard() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, received(2, STOP, correlationid="e1"))

    assert decision.effects == (CancelTask(task, None),)
    assert decision.ledger.sessions == {}
    assert decision.ledger.pending_tasks[task].phase == "Abandoned"
    assert settle(decision.ledger, decision.effects).pending_tasks == {}


def test_a_cancelled_task_is_heard_of_once_more() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, received(2, HALT, correlationid="e1"))
    settled = settle(decision.ledger, decision.effects)
    failed = decide(WORKING, settled, task_end(3, task, reason="Cancelled"))

    assert decision.effects == (CancelTask(task, decision.ledger.pending_tasks[task]),)
    assert settled.pending_tasks[task].phase == "Cancelling"
    assert session_states(settled) == {"e1": TIDES}
    assert emitted(failed)[0].data == "Cancelled"
    assert failed.ledger.pending_tasks == {}


def test_cancelling_twice_asks_once() -> None:
    first, second = decide_each(WORKING, [received(n, HALT, correlationid="e1") for n in (2, 3)], begun())

    assert len(first.effects) == 1
    assert second.effects == ()


def test_a_session_that_ends_after_cancelling_waits_for_nothing() -> None:
    halted, stopped = decide_each(
        WORKING, [received(2, HALT, correlationid="e1"), received(3, STOP, correlationid="e1")], begun()
    )
    task = only_task(stopped.ledger)

    assert stopped.effects == (CancelTask(task, None),)
    assert decide(WORKING, stopped.ledger, task_end(4, task, reason="Cancelled")).outcome == "stale"
    assert halted.ledger.pending_tasks[task].phase == "Cancelling"


@pytest.mark.parametrize("type_", [STOP, HALT])
def test_only_the_sessions_own_tasks_are_stopped(type_: str) -> None:
    ledger = after(WORKING, received(1, data=TIDES), received(2, data=TIDES))

    decision = decide(WORKING, ledger, received(3, type_, correlationid="e1"))

    phases = {record.session: record.phase for record in decision.ledger.pending_tasks.values()}
    assert phases["e2"] == "Owed"
    assert phases["e1"] != "Owed"


def test_a_new_session_of_the_same_key_is_not_touched_by_abandoned_tasks() -> None:
    ledger = after(
        WORKING,
        received(1, data=TIDES, correlationid="k"),
        received(2, STOP, correlationid="k"),
        received(3, data=TIDES, correlationid="k"),
    )
    old, new = ledger.pending_tasks

    ended = decide(WORKING, ledger, task_end(4, old, {"n": 1}))

    assert ended.outcome == "stale"
    assert ended.ledger.pending_tasks[new].phase == "Owed"
    assert session_states(ended.ledger) == {"k": TIDES}


def test_what_an_ended_session_abandoned_is_not_cancelled_in_the_next_one() -> None:
    ledger = after(
        WORKING,
        received(1, data=TIDES, correlationid="k"),
        received(2, STOP, correlationid="k"),
        received(3, data=TIDES, correlationid="k"),
    )
    old, new = ledger.pending_tasks

    halted = decide(WORKING, ledger, received(4, HALT, correlationid="k"))
    stopped = decide(WORKING, ledger, received(4, STOP, correlationid="k"))

    for decision, phase in ((halted, "Cancelling"), (stopped, "Abandoned")):
        tasks = decision.ledger.pending_tasks
        assert (tasks[old].phase, tasks[new].phase) == ("Abandoned", phase)
        assert [effect.id for effect in decision.effects] == [new]


# ── what is owed, and no more ───────────────────────────────────────────────────────────────────────────────────────


def test_after_a_crash_the_ledger_alone_owes_every_effect_in_order() -> None:
    decisions = decide_each(
        WORKING,
        [
            received(1, data=TIDES),
            received(2, data=TIDES),
            received(3, HALT, correlationid="e1"),
            received(4, data={}),
        ],
    )

    owed = list_owed_effects(decisions[-1].ledger)

    assert [type(effect).__name__ for effect in owed] == ["CancelTask", "StartTask", "Publish"]
    assert owed[1:] == [*decisions[1].effects, *decisions[3].effects]


def test_what_one_event_started_and_emitted_is_owed_in_its_order() -> None:
    agent = program(
        {
            "start": [{"task": "work", "input": 2}, {"task": "work", "input": 1}],
            "emit": [{"type": "x.b"}, {"type": "x.a"}],
        },
        tasks={"work": job()},
    )
    first, second = decide_each(agent, [received(1), received(2)])

    assert len(first.effects) == 4
    assert list_owed_effects(second.ledger) == [*first.effects, *second.effects]


def test_what_was_made_is_owed_no_more() -> None:
    decision = decide(WORKING, Ledger(), received(1, data=TIDES))

    settled = settle(decision.ledger, decision.effects)

    task = only_task(settled)
    assert list_owed_effects(settled) == []
    assert settled.pending_tasks[task].phase == "Started"
    assert settled.pending_tasks[task].owed is None
    assert settled.pending_tasks[task].input == TIDES


def test_settling_what_is_not_owed_changes_nothing() -> None:
    decision = decide(WORKING, Ledger(), received(1, data=TIDES))
    settled = settle(decision.ledger, decision.effects)

    assert settle(settled, decision.effects) is settled
    assert settle(Ledger(), decision.effects) == Ledger()


def test_a_start_that_was_made_after_its_task_was_cancelled_does_not_revive_it() -> None:
    started = decide(WORKING, Ledger(), received(1, data=TIDES))
    halted = decide(WORKING, started.ledger, received(2, HALT, correlationid="e1"))

    settled = settle(halted.ledger, started.effects)

    assert settled is halted.ledger
    assert settled.pending_tasks[only_task(settled)].phase == "Cancelling"


def test_a_start_without_its_record_can_not_be_owed() -> None:
    ledger = begun()
    task = only_task(ledger)
    halted: PendingTask = replace(ledger.pending_tasks[task], phase="Cancelling", owed=None)

    assert [type(item) for item in list_owed_effects(replace(ledger, pending_tasks={task: halted}))] == [
        CancelTask
    ]


def test_a_handler_for_all_types_sees_no_task_in_ordinary_events() -> None:
    agent = program({"type": ">", "when": "has(task.name)", "state": {"n": 1}})

    assert decide(agent, Ledger(), received(1, ASKED)).outcome == "ignored"
