"""The judge finds what is wrong: a world that agrees with the model, and the same world with one thing amiss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from heed.core.effects import StartTask
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import add_to_totals, list_owed_effects, settle
from tests.faults.agents import edited_manifest
from tests.faults.incarnation import Incarnation
from tests.faults.judging import World, judge
from tests.faults.people import Deletion
from tests.faults.spec_parts import DOMAIN
from tests.integration.engine.oracle import Fold, folded

NAMESPACE, AGENT = "storm-a", "clerk"
CREATED = "2026-11-01T11:00:00Z"
WORK = {"task": "pack", "input": {"play": "succeed", "value": 7}}


def received_at(
    sequence: int, type_: str, data: Any, subject: str | None = None, namespace: str = NAMESPACE
) -> Received:
    """An event of one session; the end of a task where there is a subject."""
    source = names.agent_source(NAMESPACE, AGENT) if subject else "/shop/1"
    event = Event(f"e{sequence}", source, type_, data, subject, extensions={"correlationid": "o-1"})
    place = names.inbox_subject(NAMESPACE, AGENT, type_) if subject else names.event_subject(namespace, type_)
    return Received(sequence, f"2026-11-01T12:00:{sequence:02}.000000Z", place, event)


def compiled(namespace: str = NAMESPACE, name: str = AGENT) -> Program:
    """An Agent of the storm."""
    body = edited_manifest(namespace, name)
    body["metadata"]["uid"] = "uid-1"
    return compile_agent(parse_agent(body))


@pytest.fixture
def world() -> World:
    """Two tasks, one of which came to its end; an emitted event for each handler that emits, and a dead letter."""
    program = compiled()
    asked = [received_at(1, DOMAIN + "order.placed", {"item": "tea"})]
    asked += [received_at(number, DOMAIN + "order.work", WORK) for number in (2, 3)]
    nonsense = MalformedMessage("NotAnEvent", "no event")
    asked.append(Received(4, "2026-11-01T12:00:04.000000Z", asked[0].subject, nonsense))
    task_id = first_task(folded(program, asked, CREATED))
    asked.append(received_at(5, names.TASK_COMPLETED, {"task": "pack", "result": {"value": 7}}, task_id))
    fold = folded(program, asked, CREATED)
    ledger = settle(fold.ledger, list_owed_effects(fold.ledger))
    made = {(NAMESPACE, names.job_name(AGENT, started)): 1 for started in fold.started}
    return World([Incarnation(program, ledger, fold, True)], made, fold.emitted, fold.letters, [])


def first_task(fold: Fold) -> str:
    """The task that was started first."""
    return next(effect.id for effect in fold.effects if isinstance(effect, StartTask))


def changed(world: World, **changes: Any) -> World:
    """The world with another ledger, or another fold."""
    return replace(world, incarnations=[replace(world.incarnations[0], **changes)])


def test_a_world_as_the_model_has_it_gives_no_finding(world: World) -> None:
    assert len(world.made) == 2 and len(world.emitted) == 2 and len(world.letters) == 1
    assert judge(world) == []


def test_an_event_counted_twice_is_found(world: World) -> None:
    ledger = world.incarnations[0].ledger
    findings = judge(changed(world, ledger=replace(ledger, totals=add_to_totals(ledger.totals, handled=1))))
    assert any("totals" in finding for finding in findings)
    assert any("5 events delivered, 6 in the totals" in finding for finding in findings)


def test_a_session_that_is_another_one_is_found(world: World) -> None:
    assert any(
        "sessions" in finding
        for finding in judge(changed(world, ledger=replace(world.incarnations[0].ledger, sessions={})))
    )


def test_a_ledger_that_still_owes_is_found(world: World) -> None:
    item = world.incarnations[0]
    assert any("still owed" in finding for finding in judge(changed(world, ledger=item.fold.ledger)))
    assert judge(changed(world, ledger=item.fold.ledger, alive=False)) == [], "a deleted Agent may owe"


@pytest.mark.parametrize(("times", "says"), [(0, "never made"), (2, "made 2 times, decided 1 times")])
def test_a_job_that_was_not_made_once_is_found(world: World, times: int, says: str) -> None:
    name = next(iter(world.made))
    (finding,) = judge(replace(world, made={**world.made, name: times}))
    assert name[1] in finding and says in finding


def test_a_job_that_a_deleted_agent_owed_may_be_made_once_more(world: World) -> None:
    owing = world.incarnations[0].fold.ledger
    (task_id,) = owing.pending_tasks
    name = NAMESPACE, names.job_name(AGENT, task_id)

    def judged(times: int, **changes: Any) -> list[str]:
        there = replace(world, made={**world.made, name: times})
        return judge(changed(there, alive=False, **changes))

    assert judged(2, ledger=owing) == []
    assert "made 3 times" in judged(3, ledger=owing)[0]
    assert "made 2 times" in judged(2)[0], "its ledger says that it had started"


def test_a_job_that_nobody_decided_is_found(world: World) -> None:
    (finding,) = judge(replace(world, made={**world.made, (NAMESPACE, "clerk-pack-0"): 1}))
    assert "made 1 times, decided 0 times" in finding


@pytest.mark.parametrize("what", ["emitted", "letters"])
def test_a_message_that_is_not_there_once_is_found(world: World, what: str) -> None:
    there = getattr(world, what)
    for amiss, says in (
        (there[1:], "not in the stream"),
        ([*there, there[0]], "in the stream 2 times"),
        ([*there, "x"], "decided 0 times"),
    ):
        changed: dict[str, Any] = {what: amiss}
        (finding,) = judge(replace(world, **changed))
        assert says in finding


def test_an_end_that_says_what_was_not_played_is_found(world: World) -> None:
    item = world.incarnations[0]
    for data, deletions, found in (
        ({"result": {"value": 8}}, [], True),
        ({"result": None}, [], True),
        ({"result": None}, [deletion("pod", item)], True),
        ({"result": None, "message": "it went with its pod"}, [deletion("pod", item)], False),
        ({"result": None, "message": "it went with its pod"}, [], True),
        ({"reason": "JobLost"}, [], True),
        ({"reason": "InvalidJob"}, [], True),
        ({"reason": "JobLost"}, [deletion("pod", item)], True),
        ({"reason": "JobLost"}, [deletion("job", item)], False),
    ):
        assert bool(judge(replace(with_end(world, data), deletions=deletions))) == found, (data, deletions)


def deletion(kind: str, item: Incarnation) -> Deletion:
    """That a person deleted what the task that ended ran in."""
    return Deletion(kind, "some-name", "some-uid", first_task(item.fold), 0.0)


def with_end(world: World, data: dict[str, Any]) -> World:
    """The world in which the task's end says this."""
    item = world.incarnations[0]
    events = [decision.received for decision in item.fold.decisions]
    type_ = names.TASK_FAILED if "reason" in data else names.TASK_COMPLETED
    end = received_at(5, type_, data, first_task(item.fold))
    fold = folded(item.program, [*events[:-1], end], CREATED)
    ledger = settle(fold.ledger, list_owed_effects(fold.ledger))
    return changed(replace(world, emitted=fold.emitted), fold=fold, ledger=ledger)


# --- waits ----------------------------------------------------------------------------------------------------

NAP = {"task": "nap", "input": {"play": "nap", "value": 7, "seconds": 3}}
DOZE = {"task": "doze", "input": {"play": "doze", "value": 7}}
OVER = "2026-11-01T12:00:05.000000Z"  # three seconds after it was asked for


def with_wait(world: World, work: dict[str, Any], end: dict[str, Any], at: int) -> World:
    """The world in which somebody also waited, at second 2, and the wait ended at another with these data."""
    item = world.incarnations[0]
    asked = [
        received_at(1, DOMAIN + "order.placed", {"item": "tea"}),
        received_at(2, DOMAIN + "order.work", work),
    ]
    task_id = first_task(folded(item.program, asked, CREATED))
    type_ = names.TASK_FAILED if "reason" in end else names.TASK_COMPLETED
    fold = folded(
        item.program, [*asked, received_at(at, type_, {"task": work["task"], **end}, task_id)], CREATED
    )
    ledger = settle(fold.ledger, list_owed_effects(fold.ledger))
    return World([Incarnation(item.program, ledger, fold, True)], {}, fold.emitted, fold.letters, [])


@pytest.mark.parametrize(
    ("work", "end", "at", "says"),
    [
        (NAP, {"result": {"until": OVER}}, 5, None),
        (NAP, {"result": {"until": OVER}}, 4, "before 2026-11-01T12:00:05"),
        (NAP, {"result": {"until": "2026-11-01T12:00:06.000000Z"}}, 6, "was until 2026-11-01T12:00:05"),
        (NAP, {"reason": "Cancelled"}, 3, None),
        (NAP, {"reason": "DeadlineExceeded"}, 9, "ended with DeadlineExceeded, not with None"),
        (NAP, {"reason": "JobLost"}, 9, "ended with JobLost"),
        (DOZE, {"reason": "DeadlineExceeded"}, 7, None),
        (DOZE, {"reason": "DeadlineExceeded"}, 6, "before 2026-11-01T12:00:07"),
        (DOZE, {"reason": "Cancelled"}, 3, None),
        (DOZE, {"result": {"until": OVER}}, 9, "ended with None, not with DeadlineExceeded"),
    ],
)
def test_a_wait_that_did_not_end_as_it_had_to_is_found(
    world: World, work: dict[str, Any], end: dict[str, Any], at: int, says: str | None
) -> None:
    findings = judge(with_wait(world, work, end, at))

    assert [(says or "nothing") in finding for finding in findings] == ([True] if says else []), findings


def test_a_job_made_for_a_wait_is_found(world: World) -> None:
    found = with_wait(world, NAP, {"result": {"until": OVER}}, 5)
    name = (NAMESPACE, names.job_name(AGENT, first_task(found.incarnations[0].fold)))

    (finding,) = judge(replace(found, made={name: 1}))

    assert "made 1 times, decided 0 times" in finding


# --- attempts -------------------------------------------------------------------------------------------------


def with_attempts(world: World, until: int, *ends: dict[str, Any]) -> World:
    """The world in which a frail task was tried, each attempt with an end of its own, two seconds after another."""
    program = world.incarnations[0].program
    work = {"task": "frail", "input": {"play": "frail", "value": 7, "until": until}}
    events = [
        received_at(1, DOMAIN + "order.placed", {"item": "tea"}),
        received_at(2, DOMAIN + "order.work", work),
    ]
    task_id = first_task(folded(program, events, CREATED))
    for attempt, end in enumerate(ends, 1):
        if attempt > 1:
            ledger = folded(program, events, CREATED).ledger
            (due,) = (item for item in list_due_times(program, ledger) if item.kind == "retry")
            event = due_event(program.agent, names.origin(program.agent.uid, CREATED), due)
            place = names.inbox_subject(NAMESPACE, AGENT, event.type)
            events.append(Received(10 * attempt, f"2026-11-01T12:{attempt:02}:00.000000Z", place, event))
        type_ = names.TASK_FAILED if "reason" in end else names.TASK_COMPLETED
        ended = received_at(10 * attempt + 1, type_, {"task": "frail", "attempt": attempt, **end}, task_id)
        events.append(replace(ended, at=f"2026-11-01T12:{attempt:02}:01.000000Z"))
    fold = folded(program, events, CREATED)
    ledger = settle(fold.ledger, list_owed_effects(fold.ledger))
    started = [effect.record.attempt for effect in fold.effects if isinstance(effect, StartTask)]
    made = {(NAMESPACE, names.job_name(AGENT, names.attempt_id(task_id, number))): 1 for number in started}
    return World([Incarnation(program, ledger, fold, True)], made, fold.emitted, fold.letters, [])


FAILS, SUCCEEDS = {"reason": "BackoffLimitExceeded"}, {"result": {"value": 7}}


@pytest.mark.parametrize(
    ("until", "ends", "fine"),
    [
        (1, (SUCCEEDS,), True),
        (2, (FAILS, SUCCEEDS), True),
        (3, (FAILS, FAILS, SUCCEEDS), True),
        (4, (FAILS, FAILS, FAILS), True),
        (1, (FAILS, SUCCEEDS), False),
        (3, (FAILS, SUCCEEDS), False),
        (3, (FAILS, FAILS, FAILS), False),
        (4, (FAILS, FAILS, SUCCEEDS), False),
    ],
)
def test_a_task_that_was_not_tried_until_it_succeeded_is_found(
    world: World, until: int, ends: tuple[dict[str, Any], ...], fine: bool
) -> None:
    found = with_attempts(world, until, *ends)

    assert len(found.made) == len(ends)
    assert bool(judge(found)) is not fine
    task_id = first_task(found.incarnations[0].fold)
    assert judge(replace(found, deletions=[Deletion("pod", "some-name", "some-uid", task_id, 0.0)])) == []


def test_a_second_job_of_an_attempt_and_a_missing_one_are_found(world: World) -> None:
    found = with_attempts(world, 2, FAILS, SUCCEEDS)
    for name in found.made:
        assert "made 2 times, decided 1 times" in "".join(judge(replace(found, made={**found.made, name: 2})))
        assert "never made" in "".join(judge(replace(found, made={**found.made, name: 0})))
