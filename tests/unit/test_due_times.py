"""What is due when: from the ledger alone."""

from dataclasses import replace

import pytest

from heed import names
from heed.api.status import Session
from heed.core.due.due_times import AT_ONCE, DueTime, list_due_times
from heed.core.due.timers import parse_time, schedule_timers
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import job, nap, program
from tests.builders.decisions import after
from tests.builders.events import at, received

JOBS = program(
    {"start": [{"task": "work"}]}, tasks={"work": job(timeout="60s")}, session={"idleTimeout": "1h"}
)
WAITS = program({"start": [{"task": "nap"}]}, tasks={"nap": nap("90s")})


def in_phase(phase: str) -> Ledger:
    """A ledger with a task that was decided one second after noon, with a minute to go."""
    ledger = after(JOBS, received(1))
    tasks = {key: replace(task, phase=phase) for key, task in ledger.pending_tasks.items()}  # type: ignore[arg-type]
    return replace(ledger, pending_tasks=tasks)


def touched(*moments: float) -> Ledger:
    """Sessions whose latest events were so many seconds after noon."""
    return Ledger(sessions={f"s{index}": Session(at(0), at(time), "c") for index, time in enumerate(moments)})


def test_a_task_that_is_owed_is_due_at_its_deadline() -> None:
    ledger = in_phase("Owed")

    assert list(list_due_times(JOBS, ledger)) == [
        DueTime(at(61), "deadline", next(iter(ledger.pending_tasks)))
    ]


def test_a_started_job_gets_time_for_its_own_end_to_arrive() -> None:
    ledger = in_phase("Started")

    assert [due.grace for due in list_due_times(JOBS, ledger)] == [True]


@pytest.mark.parametrize("phase", ["Cancelling", "Abandoned"])
def test_what_is_being_stopped_has_no_deadline(phase: str) -> None:
    assert [due for due in list_due_times(JOBS, in_phase(phase)) if due.kind == "deadline"] == []


@pytest.mark.parametrize(("phase", "grace"), [("Owed", False), ("Started", True)])
def test_an_attempt_has_a_deadline_of_its_own(phase: str, grace: bool) -> None:
    ledger = in_phase(phase)
    (task_id,) = ledger.pending_tasks
    record = replace(ledger.pending_tasks[task_id], attempt=2, attempt_deadline=at(21))

    assert sorted(list_due_times(JOBS, replace(ledger, pending_tasks={task_id: record}))) == [
        DueTime(at(21), "attempt", task_id, grace=grace, attempt=2),
        DueTime(at(61), "deadline", task_id, grace=grace, attempt=2),
    ]


def test_a_task_between_attempts_is_due_when_the_next_one_is() -> None:
    ledger = in_phase("Retrying")
    (task_id,) = ledger.pending_tasks
    record = replace(ledger.pending_tasks[task_id], attempt=3, due=at(31), attempt_deadline=at(21))

    assert sorted(list_due_times(JOBS, replace(ledger, pending_tasks={task_id: record}))) == [
        DueTime(at(31), "retry", names.attempt_id(task_id, 3), attempt=3),
        DueTime(at(61), "deadline", task_id, attempt=3),
    ]


def test_no_timeout_no_deadline() -> None:
    agent = program({"start": [{"task": "work"}]}, tasks={"work": job()})

    assert list(list_due_times(agent, after(agent, received(1)))) == []


def test_a_wait_is_due_when_it_is_over() -> None:
    ledger = after(WAITS, received(1))

    assert list(list_due_times(WAITS, ledger)) == [DueTime(at(91), "wait", next(iter(ledger.pending_tasks)))]


def test_a_wait_with_a_timeout_may_be_over_earlier_and_nothing_else_knows_better() -> None:
    agent = program({"start": [{"task": "nap"}]}, tasks={"nap": nap("90s", timeout="30s")})
    ledger = after(agent, received(1))

    assert sorted(due.at for due in list_due_times(agent, ledger)) == [at(31), at(91)]
    assert not any(due.grace for due in list_due_times(agent, ledger))


@pytest.mark.parametrize(("last", "due"), [(0, 3660), (0.5, 3660), (59.9, 3660), (60, 3720)])
def test_the_first_idle_session_is_due_at_the_next_full_minute(last: float, due: float) -> None:
    assert list(list_due_times(JOBS, touched(last, 70))) == [DueTime(at(due), "session", "")]


def test_a_session_with_pending_tasks_is_not_idle() -> None:
    ledger = in_phase("Started")
    (record,) = ledger.pending_tasks.values()
    ledger = replace(ledger, sessions={record.session: Session(at(0), at(0), "c"), **touched(90).sessions})

    assert [due.at for due in list_due_times(JOBS, ledger) if due.kind == "session"] == [at(3720)]


def test_nothing_is_due_in_an_empty_ledger() -> None:
    assert list(list_due_times(JOBS, Ledger())) == []


TICKING = program({"type": "dev.heed.timer.fired"}, timers={"t": {"every": "10m"}, "u": {"every": "15m"}})


def scheduled(seconds: float = 0) -> Ledger:
    """The timers, scheduled so many seconds after noon."""
    return schedule_timers(TICKING, Ledger(), parse_time(at(seconds)))


def test_timers_that_are_not_scheduled_yet_are_due_at_once() -> None:
    assert list(list_due_times(TICKING, Ledger())) == [DueTime(AT_ONCE, "timers", "3")]


def test_each_timer_is_due_at_its_next_tick() -> None:
    assert sorted(list_due_times(TICKING, scheduled())) == [
        DueTime(at(600), "timer", "t"),
        DueTime(at(900), "timer", "u"),
    ]


def test_timers_that_were_edited_or_removed_are_not_due_and_scheduled_at_once() -> None:
    edited = program({"type": "dev.heed.timer.fired"}, timers={"t": {"every": "10m"}, "u": {"every": "1h"}})
    removed = program({"type": "dev.heed.timer.fired"}, timers={"t": {"every": "10m"}})

    for agent in (edited, removed):
        assert sorted(list_due_times(agent, scheduled())) == [
            DueTime(AT_ONCE, "timers", "3"),
            DueTime(at(600), "timer", "t"),
        ]
    assert list(list_due_times(JOBS, scheduled())) == [DueTime(AT_ONCE, "timers", "3")]
