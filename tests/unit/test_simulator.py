"""The virtual stream of a simulation: its clock, its order, and when it stops."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from heed import names
from heed.core.effects import AgentRef
from heed.core.simulation.steps import SimulationRun, StubbedEnd
from heed.core.simulation.world import with_uid
from tests.builders.agents import AGENT, ASKED, NAMESPACE, program
from tests.unit.simulations import STOP, WORKER, message, run, stored_types

# ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────────

USUAL = ["2026-01-01T00:00:01.000000Z", "2026-01-01T00:00:02.000000Z", "2026-01-01T00:00:03.000000Z"]


def test_events_come_a_second_after_each_other_from_the_beginning_of_a_year() -> None:
    steps = run(message("a"), message("b"), message("c")).steps

    assert [step.at for step in steps] == USUAL
    assert [step.message.event.time for step in steps] == USUAL
    assert [step.sequence for step in steps] == [1, 2, 3]


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("2026-01-01T00:00:01.500000Z", "2026-01-01T00:00:01.500000Z"),
        ("2026-01-01T00:00:01.000001Z", "2026-01-01T00:00:01.000001Z"),
        ("2026-01-01T00:00:01Z", USUAL[1]),  # not later than the one before
        ("2025-12-31T23:59:59Z", USUAL[1]),
        ("2026-06-01T12:00:00+02:00", "2026-06-01T10:00:00.000000Z"),
        ("2199-12-31T23:59:59Z", "2199-12-31T23:59:59.000000Z"),
        ("2200-01-01T00:00:00Z", USUAL[1]),  # no time that a stream has
        ("9999-12-31T23:59:59Z", USUAL[1]),
        ("9999-12-31T23:59:59-10:00", USUAL[1]),
        ("0001-01-01T00:00:00+10:00", USUAL[1]),
        ("2026-06-30T23:59:60Z", USUAL[1]),  # a leap second
    ],
)
def test_a_given_time_moves_the_clock_and_never_back(time: str, at: str) -> None:
    steps = run(message("a"), message("b", time=time)).steps

    assert [step.at for step in steps] == [USUAL[0], at]
    assert steps[1].message.event.time == time


def test_after_a_given_time_the_clock_goes_on_from_there() -> None:
    steps = run(message("a", time="2030-01-01T00:00:00Z"), message("b"), answer=StubbedEnd()).steps

    assert [step.at[:19] for step in steps] == [f"2030-01-01T00:00:0{second}" for second in range(6)]


def test_what_a_task_or_an_agent_says_has_the_time_of_its_cause_and_does_not_move_the_clock() -> None:
    steps = run(message("a"), answer=StubbedEnd()).steps

    assert [
        (step.message.origin, step.at[17:19], (step.message.event.time or "")[17:19]) for step in steps
    ] == [
        ("given", "01", "01"),
        ("task", "02", "01"),
        ("emitted", "03", "02"),
    ]


# ── the order ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_comes_of_an_event_comes_before_the_next_one() -> None:
    assert (
        stored_types(run(message("a"), message("b"), answer=StubbedEnd()))
        == ["asked", "completed", "done"] * 2
    )


def test_a_message_is_delivered_to_those_that_read_its_subject() -> None:
    other = program({"type": STOP, "state": {"n": 1}}, subscribe=[{"type": STOP}])
    other = replace(other, agent=AgentRef(NAMESPACE, "other", "uid-2"))

    steps = run(message("a"), message("b", STOP), agents=(WORKER, other)).steps

    assert [[item.agent.name for item in step.deliveries] for step in steps] == [[AGENT], [AGENT, "other"]]


def test_it_stops_at_its_limit_and_says_what_was_not_stored() -> None:
    given = [message("a"), message("b"), message("c")]

    runs = [run(*given, answer=StubbedEnd(), limit=limit) for limit in (0, 1, 2, 3, 9)]

    assert [(len(item.steps), item.waiting) for item in runs] == [(0, 3), (1, 3), (2, 3), (3, 2), (9, 0)]


def test_types_are_counted_the_most_frequent_first() -> None:
    finished = run(message("a"), message("b"), message("c", STOP), answer=StubbedEnd())

    assert finished.busiest(2) == [(ASKED, 2), (names.TASK_COMPLETED, 2)]
    assert finished.busiest() == [(ASKED, 2), (names.TASK_COMPLETED, 2), ("x.done", 2), (STOP, 1)]
    assert SimulationRun(
        tuple(run(*(message("e", f"com.x{n}") for n in range(7))).steps), {}, {}, 0
    ).busiest() == [(f"com.x{n}", 1) for n in range(5)]


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_shuffled_run_repeats_itself(seed: str) -> None:
    given = [message(id_) for id_ in "abcdef"]

    one, other = (run(*given, answer=StubbedEnd(), shuffle=seed) for _ in range(2))

    assert stored_types(one) == stored_types(other)
    assert sorted(stored_types(one)) == sorted(["asked", "completed", "done"] * 6)
    assert one.waiting == 0


def test_shuffled_events_come_in_another_order_and_given_ones_in_theirs() -> None:
    given = [message(id_) for id_ in "abcdef"]
    runs = [run(*given, answer=StubbedEnd(), shuffle=str(seed)) for seed in range(12)]

    assert len({tuple(stored_types(item)) for item in runs}) == 12
    for item in runs:
        ids = [step.message.event.id for step in item.steps if step.message.origin == "given"]
        assert ids == list("abcdef")
    # whatever waits may be next: the oldest or the youngest of what was caused, or a given event
    assert {tuple(stored_types(item))[:2] for item in runs} == {("asked", "asked"), ("asked", "completed")}


# ── Agents ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_without_a_uid_gets_one() -> None:
    bare = replace(WORKER, agent=AgentRef("demo", "clerk", ""))

    assert with_uid(bare).agent == AgentRef("demo", "clerk", "demo/clerk")
    assert with_uid(WORKER) is WORKER
    finished = run(message("a"), agents=(bare,))
    assert list(finished.programs) == list(finished.ledgers) == [AgentRef("demo", "clerk", "demo/clerk")]


def test_the_clock_begins_with_a_year() -> None:
    assert datetime.fromisoformat(run(message("a")).steps[0].at) == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
