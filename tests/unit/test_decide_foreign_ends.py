"""Ends of tasks that another than Heed tells: they count, and what may still run is stopped, durably and once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.decision.decide import Decision, decide
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.events import Received, Redrive
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger, dump_ledger, list_owed_effects, settle
from heed.engine.batch import effects_still_owed
from tests.builders.agents import AGENT, NAMESPACE, job, program
from tests.builders.decisions import after, decide_each, emitted, only_task, session_states
from tests.builders.events import received, task_end

HALT, MORE = "com.example.halt", "com.example.more"
BEGIN = {
    "name": "begin",
    "state": {"topic": "${event.data}"},
    "start": [{"task": "work", "input": "${event.data}"}],
}
DONE: dict[str, Any] = {"name": "done", "type": names.TASK_COMPLETED}
ANSWER = {**DONE, "emit": [{"type": "x.done", "data": "${[task.id, input, event.data.result.n]}"}]}
TASKS = {"work": job("${input}")}
WORKING = program(
    BEGIN,
    {"name": "more", "type": MORE, "start": [{"task": "work"}]},
    {"name": "halt", "type": HALT, "cancel": [{"task": "work"}]},
    ANSWER,
    tasks=TASKS,
)
KEPT, BROKEN = {"n": 4}, {"no": "n"}


def told(sequence: int, task_id: str, result: Any = None, source: str = "/someone", **more: Any) -> Received:
    """An end that another tells."""
    return task_end(sequence, task_id, KEPT if result is None else result, source=source, **more)


def begun(*, made: bool = True, topic: str = "tides") -> Ledger:
    """A ledger with one task, whose start is made or is still owed."""
    decision = decide(WORKING, Ledger(), received(1, data=topic))
    return settle(decision.ledger, decision.effects) if made else decision.ledger


def left(decision: Decision, task_id: str) -> None:
    """What may still run is owed its stop, by the decision and by the ledger alone, and then forgotten."""
    record = decision.ledger.pending_tasks[task_id]
    assert (record.phase, record.input, record.owed) == ("Abandoned", None, None)
    assert decision.effects[-1] == CancelTask(task_id, None)
    assert [item for item in list_owed_effects(decision.ledger) if isinstance(item, CancelTask)] == [
        CancelTask(task_id, None)
    ]
    assert settle(decision.ledger, decision.effects).pending_tasks == {}


# ── what becomes of it ──────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_handled_as_an_end_and_the_task_is_stopped() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, told(2, task))

    assert decision.outcome == "handled"
    assert emitted(decision)[0].data == [task, "tides", 4]
    assert [type(effect) for effect in decision.effects] == [Publish, CancelTask]
    assert decision.ledger.totals.tasks_completed == 1
    assert [(item.id, item.outcome) for item in decision.ledger.recent_tasks] == [(task, "Completed")]
    left(decision, task)


def test_it_is_stopped_also_where_a_handler_breaks() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, told(2, task, BROKEN))

    assert decision.letter is not None
    assert json.loads(decision.letter.task or "")["input"] == "tides"
    assert [type(effect) for effect in decision.effects] == [Publish, CancelTask]
    assert session_states(decision.ledger) == {"e1": {"topic": "tides"}}
    left(decision, task)


def test_it_is_stopped_also_where_no_handler_wants_to_know() -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, told(2, task, reason="Enough"))

    assert decision.outcome == "ignored"
    assert decision.ledger.totals.tasks_failed == 1
    assert decision.effects == (CancelTask(task, None),)
    left(decision, task)


@pytest.mark.parametrize("result", [KEPT, BROKEN])
def test_what_heed_tells_itself_is_over_and_not_stopped(result: Any) -> None:
    ledger = begun()

    decision = decide(WORKING, ledger, task_end(2, only_task(ledger), result))

    assert decision.ledger.pending_tasks == {}
    assert not [effect for effect in decision.effects if isinstance(effect, CancelTask)]


@pytest.mark.parametrize(("namespace", "name"), [(NAMESPACE, "other"), ("other", AGENT)])
def test_the_word_of_another_agent_is_not_heeds_own(namespace: str, name: str) -> None:
    ledger = begun()
    task = only_task(ledger)

    decision = decide(WORKING, ledger, told(2, task, source=names.agent_source(namespace, name)))

    left(decision, task)


def test_a_later_end_is_stale_and_changes_nothing() -> None:
    ledger = begun()
    task = only_task(ledger)

    first, own, another = decide_each(
        WORKING, [told(2, task), task_end(3, task, {"n": 5}), told(4, task)], ledger
    )

    assert [own.outcome, another.outcome] == ["stale", "stale"]
    assert own.effects == another.effects == ()
    assert another.ledger.pending_tasks == first.ledger.pending_tasks
    assert another.ledger.totals.tasks_completed == 1
    assert len(another.ledger.recent_tasks) == 1


def test_a_session_of_tasks_alone_goes_with_it() -> None:
    agent = program({"start": [{"task": "work"}]}, tasks={"work": job()})
    ledger = after(agent, received(1))

    decision = decide(agent, ledger, told(2, only_task(ledger)))

    assert decision.ledger.sessions == {}
    left(decision, only_task(ledger))


# ── with what its handlers do ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reaction", [{"end": True}, {"cancel": [{"task": "work"}]}])
def test_a_handler_that_stops_everything_stops_it_once(reaction: dict[str, Any]) -> None:
    # Given two tasks of one session
    agent = program(
        BEGIN, {"name": "more", "type": MORE, "start": [{"task": "work"}]}, {**DONE, **reaction}, tasks=TASKS
    )
    ledger = after(agent, received(1, data="tides"), received(2, MORE, correlationid="e1"))
    one, other = ledger.pending_tasks

    # When another tells the end of one, upon which its handler stops all
    decision = decide(agent, ledger, told(3, one))

    # Then each is stopped once, and the one that ended is heard of no more
    effects = [effect for effect in decision.effects if isinstance(effect, CancelTask)]
    heard = None if "end" in reaction else decision.ledger.pending_tasks[other]
    assert effects == [CancelTask(other, heard), CancelTask(one, None)]
    assert decision.ledger.pending_tasks[one].phase == "Abandoned"
    assert set(settle(decision.ledger, effects).pending_tasks) == ({other} if heard else set())


def test_a_handler_that_starts_the_task_again_starts_another_one() -> None:
    agent = program(BEGIN, {**DONE, "start": [{"task": "work", "input": "${input}"}]}, tasks=TASKS)
    ledger = settle(after(agent, received(1, data="tides")), [])
    old = only_task(ledger)

    decision = decide(agent, ledger, told(2, old))

    starts = [effect.id for effect in decision.effects if isinstance(effect, StartTask)]
    assert [type(effect) for effect in decision.effects] == [StartTask, CancelTask]
    assert list(decision.ledger.pending_tasks) == [old, *starts]
    assert list(settle(decision.ledger, decision.effects).pending_tasks) == starts
    assert session_states(decision.ledger) == {"e1": {"topic": "tides"}}


# ── whatever the task was at ────────────────────────────────────────────────────────────────────────────────────────


def test_a_start_that_is_still_owed_dies_with_its_task() -> None:
    started = decide(WORKING, Ledger(), received(1, data="tides"))
    task = only_task(started.ledger)

    decision = decide(WORKING, started.ledger, told(2, task))

    assert not [effect for effect in list_owed_effects(decision.ledger) if isinstance(effect, StartTask)]
    batch = list(effects_still_owed(decision.ledger, [started, decision]))
    assert [type(effect) for effect in batch] == [Publish, CancelTask]
    assert settle(decision.ledger, started.effects) is decision.ledger
    left(decision, task)


def test_one_that_is_being_cancelled_is_stopped_and_waited_for_no_more() -> None:
    halted = decide(WORKING, begun(), received(2, HALT, correlationid="e1"))
    task = only_task(halted.ledger)

    decision = decide(WORKING, halted.ledger, told(3, task))

    left(decision, task)
    assert (
        settle(decision.ledger, halted.effects).pending_tasks == {}
    )  # its Job is gone, by whichever of the two
    assert decide(WORKING, decision.ledger, task_end(4, task, reason="Cancelled")).outcome == "stale"


def test_halting_it_afterwards_asks_for_nothing() -> None:
    ledger = begun()
    task = only_task(ledger)

    _, halted = decide_each(WORKING, [told(2, task), received(3, HALT, correlationid="e1")], ledger)

    assert halted.effects == ()
    assert halted.ledger.pending_tasks[task].phase == "Abandoned"


# ── room, and again ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("result", [KEPT, BROKEN])
def test_what_is_kept_of_it_makes_room(result: Any) -> None:
    ledger = begun(topic="x" * 5000)
    task = only_task(ledger)

    end, own = told(2, task, result), task_end(2, task, result)
    kept, gone = (len(json.dumps(dump_ledger(decide(WORKING, ledger, item).ledger))) for item in (end, own))

    assert kept - gone < 600


def test_where_its_result_has_no_room_it_is_a_letter_and_stopped() -> None:
    ledger = begun()
    task = only_task(ledger)

    full = decide(WORKING, ledger, told(2, task), room=Headroom(0, 0))
    fits = decide(
        WORKING, ledger, told(2, task), room=Headroom(decide(WORKING, ledger, told(2, task)).growth, 0)
    )

    assert full.letter is not None
    assert full.letter.code == "StatusFull"
    left(full, task)
    assert fits.outcome == "handled"
    left(fits, task)


@pytest.mark.parametrize("stopped", [False, True])
def test_its_letter_can_be_redriven_whether_it_was_stopped_by_then_or_not(stopped: bool) -> None:
    # Given the letter of an end that a handler broke on
    ledger = begun()
    task = only_task(ledger)
    end = told(2, task, BROKEN)
    dead = decide(WORKING, ledger, end)
    assert dead.letter is not None

    # When it is redriven with its task, twice
    mended = program(BEGIN, {**DONE, "state": {"of": "${[task.name, input]}"}}, tasks=TASKS)
    subject = names.redrive_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    redrive = Redrive("letter-1", 2, dead.letter.task, end.subject)
    again = [replace(end, sequence=n, subject=subject, redrive=redrive) for n in (3, 4)]
    ledger = settle(dead.ledger, dead.effects) if stopped else dead.ledger
    first, second = decide_each(mended, again, ledger)

    # Then it is decided once, with its task, and stops nothing more
    assert [first.outcome, second.outcome] == ["handled", "duplicates"]
    assert session_states(first.ledger)["e1"]["of"] == ["work", "tides"]
    assert first.effects == ()
    assert first.ledger.pending_tasks == ledger.pending_tasks
    assert first.ledger.totals.tasks_completed == 1


@pytest.mark.parametrize("made", [False, True])
def test_whenever_effects_are_made_it_comes_to_the_same(made: bool) -> None:
    agent, ledger = WORKING, Ledger()
    task = only_task(begun())
    events = [received(1, data="tides"), told(2, task), received(3, data="moon"), task_end(4, task, BROKEN)]

    for event in events:
        decision = decide(agent, ledger, event)
        ledger = settle(decision.ledger, decision.effects) if made else decision.ledger

    plain = decide_each(agent, events)[-1].ledger
    assert dump_ledger(settle(ledger, list_owed_effects(ledger))) == dump_ledger(
        settle(plain, list_owed_effects(plain))
    )
    assert ledger.totals.stale == 1
