"""The judge of Agents in Python: what is mixed of two answers is found, and a function that did not end once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import compile_agent
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from heed.core.effects import Publish
from heed.core.events import Event, Received
from heed.core.ledger.ledger import list_owed_effects, settle
from heed.sdk.manifest import build_agent
from tests.faults import scribe
from tests.faults.answer_judging import Run, answer_findings, function_findings
from tests.faults.committed_answers import NAME, NAMESPACE, committed_answers
from tests.faults.crew_plan import ROLLS, crew_plan, last_troubles, worker_deaths
from tests.faults.doomed_worker import WORKER_POINTS
from tests.faults.incarnation import Incarnation, list_attempts
from tests.faults.judging import ledger_findings
from tests.faults.plan import NETWORK, RANDOM
from tests.faults.rogue_worker import STRANGE_EDITION
from tests.faults.spec_parts import DOMAIN
from tests.integration.engine.oracle import folded

CREATED = "2026-11-01T11:00:00Z"
ORIGIN = names.origin("uid-1", CREATED)
ORDER = [("order.placed", {"item": "ink"}), ("order.amended", {"amount": 3}), ("order.settled", {})]
WORK = ("order.work", {"input": {"play": "succeed", "value": 7}})
FRAIL = ("order.work", {"input": {"play": "frail", "value": 7, "until": 2}})
Story = Sequence[tuple[str, Any] | Event]
Written = dict[str, Any]


def compiled_scribe() -> Any:
    """The scribe as the operator compiles it."""
    manifest = build_agent(scribe.agent)
    manifest["metadata"] |= {"namespace": NAMESPACE, "uid": "uid-1"}
    return compile_agent(parse_agent(manifest))


def received_of(story: Story) -> list[Received]:
    """The events of one session, five seconds apart; what Heed says itself is there as an Event."""
    found = []
    for sequence, item in enumerate(story, 1):
        if isinstance(item, Event):
            event, place = item, names.inbox_subject(NAMESPACE, NAME, item.type)
        else:
            type_, data = DOMAIN + item[0], item[1]
            event = Event(f"e{sequence}", "/shop/1", type_, data, extensions={"correlationid": "o-1"})
            place = names.event_subject(NAMESPACE, type_)
        at = f"2026-11-01T12:{sequence // 12:02}:{sequence % 12 * 5:02}.000000Z"
        found.append(Received(sequence, at, place, event))
    return found


def id_at(sequence: int) -> str:
    """The event that the answer to the event at this place tells of."""
    return names.event_id(ORIGIN, sequence, 0)


def judged(story: Story, written: Mapping[str, Any]) -> Incarnation:
    """What the model makes of a story with what is in the stream."""
    agent = compiled_scribe()
    answers = committed_answers(agent.agent, CREATED, written)
    fold = folded(agent, received_of(story), CREATED, answers)
    ledger = settle(fold.ledger, list_owed_effects(fold.ledger))
    return Incarnation(agent, ledger, fold, True, written)


def happened(story: Story, editions: Mapping[int, int] | None = None) -> Incarnation:
    """A story as it went, with nothing amiss; each answer is of edition 1, or of another one by its place."""
    places = range(1, len(story) + 1)
    drawn = {
        id_at(place): {"nonce": f"n{place}", "edition": (editions or {}).get(place, 1)} for place in places
    }
    item = judged(story, drawn)
    published = [effect.id for effect in item.fold.effects if isinstance(effect, Publish)]
    told = {id: data for id, data in written_of(item).items() if id in published}
    return replace(item, written=told)


def written_of(item: Incarnation) -> Written:
    """The data of all events that a fold emits."""
    owed = [
        effect.owed.event for effect in item.fold.effects if isinstance(effect, Publish) and effect.owed.event
    ]
    return {event.id: event.data for event in (parse_event(text.encode(), "") for text in owed)}


def ended(story: Story, *ends: Mapping[str, Any]) -> Incarnation:
    """A story, and then these ends of the task that it started; an attempt that is due starts before the next one."""
    found = [*story]
    (task_id, *_) = list_attempts(happened(story))
    for number, end in enumerate(ends):
        item = happened(found)
        retries = [due for due in list_due_times(item.program, item.fold.ledger) if due.kind == "retry"]
        found += [due_event(item.program.agent, ORIGIN, due) for due in retries]
        type_ = names.TASK_FAILED if "reason" in end else names.TASK_COMPLETED
        source = names.agent_source(NAMESPACE, NAME)
        found.append(Event(f"end-{number}", source, type_, dict(end), task_id))
    return happened(found)


def runs(item: Incarnation, *known: str, nonce: str = "n1") -> list[Run]:
    """Runs of the first attempt, each of which came to its end."""
    (attempt, *_) = list_attempts(item)
    return [Run(what, attempt, nonce, run) for run in known for what in ("began", "done")]


def result(value: int = 7, run: str = "r1") -> dict[str, Any]:
    """The data of a completion."""
    return {"result": {"value": value, "nonce": "n1", "run": run}, "attempt": 1}


def test_answers_that_were_committed_whole_give_no_finding() -> None:
    item = happened(ORDER)
    assert len(item.written) == 3 and answer_findings(item) == ledger_findings(item) == []


def test_an_event_of_another_answer_than_the_state_is_found() -> None:
    right = happened(ORDER)
    mixed = {**right.written, id_at(2): {**right.written[id_at(2)], "nonce": "of another answer"}}
    item = replace(judged(ORDER, mixed), ledger=right.ledger)
    assert len(answer_findings(item)) == 2  # the event itself, and the one that follows on its state
    assert any("sessions is" in text for text in ledger_findings(item))


def test_an_answer_that_told_nothing_is_found() -> None:
    right = happened(ORDER)
    untold = {id: data for id, data in right.written.items() if id != id_at(3)}
    assert "tells None" in answer_findings(judged(ORDER, untold))[0]


@pytest.mark.parametrize(
    ("editions", "found"),
    [((1, 1, 2), 0), ((0, 1, 2), 0), ((1, 0, 1), 1), ((2, 1, 1), 2), ((0, STRANGE_EDITION, 0), 1)],
)
def test_editions_come_in_the_order_of_the_roll_outs(editions: tuple[int, ...], found: int) -> None:
    assert len(answer_findings(happened(ORDER, dict(enumerate(editions, 1))))) == found


def test_a_function_that_ended_once_gives_no_finding_however_often_it_ran() -> None:
    item = ended([WORK], result(run="r2"), result(run="r1"))
    assert item.fold.decisions[-1].outcome == "stale"
    assert function_findings(item, runs(item, "r1", "r2")) == []


def test_one_that_was_tried_again_has_an_end_for_each_attempt() -> None:
    smudged = {"reason": "Smudged", "attempt": 1}
    item = ended([FRAIL], smudged, {**result(), "attempt": 2})
    first, second = list_attempts(item)
    done = [Run(what, second, "n1", "r1") for what in ("began", "done")]
    assert function_findings(item, [Run("began", first, "n1", "r0"), *done]) == []
    (unended, untried) = function_findings(ended([FRAIL], smudged), [])
    assert "has 0 ends" in unended and "tried again 1 times in 1 attempts" in untried


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (result(value=8), "ended with (None, 8), played was (None, 7)"),
        (result(run="r9"), "of which there was no run"),
        ({"reason": "FunctionLost", "attempt": 1}, "ended with ('FunctionLost', None)"),
        ({"reason": "Cancelled"}, "ended with ('Cancelled', None)"),
        ({"reason": "DeadlineExceeded"}, "ended with ('DeadlineExceeded', None)"),
    ],
)
def test_an_end_that_was_not_played_is_found(end: dict[str, Any], says: str) -> None:
    item = ended([WORK], end)
    (found,) = function_findings(item, runs(item, "r1"))
    assert says in found


def test_a_function_that_began_and_did_not_come_to_its_end_has_told_of_none() -> None:
    item = ended([WORK], result())
    assert function_findings(item, runs(item, "r1")[:1]) != []


def test_one_that_ended_twice_or_never_is_found() -> None:
    item = ended([WORK], result())
    again = replace(item.fold, decisions=[*item.fold.decisions, item.fold.decisions[-1]])
    (twice,) = function_findings(replace(item, fold=again), runs(item, "r1"))
    (never,) = function_findings(happened([WORK]), [])
    assert "has 2 ends" in twice and "has 0 ends" in never


def test_one_that_was_called_off_may_have_ended_or_not() -> None:
    stopped = [WORK, ("order.stopped", {})]
    cancelled = ended(stopped, {"reason": "Cancelled"})
    done = ended(stopped, result())
    closed = happened([WORK, ("order.closed", {})])
    assert function_findings(cancelled, []) == function_findings(closed, []) == []
    assert function_findings(done, runs(done, "r1")) == []


def test_a_run_that_no_answer_started_is_found() -> None:
    item = ended([WORK], result())
    (other,) = function_findings(item, [*runs(item, "r1"), *runs(item, "r2", nonce="n2")[:1]])
    assert "ran with n2, which no answer started it with" in other


def test_a_seed_is_a_plan_for_the_workers_with_something_of_everything_in_it() -> None:
    assert crew_plan(3, 50) == crew_plan(3, 50) != crew_plan(4, 50)
    for seed in range(5):
        kinds = {trouble.kind for round_ in crew_plan(seed, 50) for trouble in round_}
        single = {"worker killed", "worker frozen", *(f"worker {roll}" for roll in ROLLS)}
        assert kinds == single | {f"workers {fault}" for fault in NETWORK}
        assert any("rolled" in trouble.kind for round_ in crew_plan(seed, 8) for trouble in round_)
    assert last_troubles(3) == last_troubles(3) != last_troubles(4)
    assert {trouble.kind for trouble in last_troubles(3)} > {"worker killed", "worker frozen"}


def test_workers_die_at_every_point_and_of_nothing() -> None:
    assert list(islice(worker_deaths(3), 9)) == list(islice(worker_deaths(3), 9))
    assert {death.point for death in islice(worker_deaths(3), 100)} == {*WORKER_POINTS, RANDOM}
