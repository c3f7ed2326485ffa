"""Deadlines of tasks from the ledger alone; time is an argument."""

from dataclasses import replace
from datetime import datetime

import pytest

from heed.core.ledger import Ledger
from heed.engine.deadlines import GRACE, due, next_due
from tests.unit.builders import after, at, job, program, received

AGENT = program({"start": [{"task": "work"}]}, tasks={"work": job(timeout="60s")})


def seconds(offset: float) -> float:
    """Seconds of the epoch, so many after noon."""
    return datetime.fromisoformat(at(offset)).timestamp()


def in_phase(phase: str) -> Ledger:
    """A ledger with a task that was decided one second after noon, with a minute to go."""
    ledger = after(AGENT, received(1))
    tasks = {key: replace(task, phase=phase) for key, task in ledger.pending_tasks.items()}  # type: ignore[arg-type]
    return replace(ledger, pending_tasks=tasks)


def test_a_task_that_never_started_ends_at_its_deadline() -> None:
    ledger = in_phase("Owed")

    assert list(due(ledger, seconds(60.9), since=0)) == []
    assert [task_id for task_id, _ in due(ledger, seconds(61), since=0)] == list(ledger.pending_tasks)
    assert next_due(ledger, seconds(0), since=0) == seconds(61)


def test_a_started_one_gets_time_for_its_own_end_to_arrive() -> None:
    ledger = in_phase("Started")

    assert list(due(ledger, seconds(61 + GRACE) - 0.1, since=0)) == []
    assert len(list(due(ledger, seconds(61 + GRACE), since=0))) == 1


def test_after_an_absence_the_time_for_that_begins_anew() -> None:
    ledger, back = in_phase("Started"), seconds(3600)

    assert list(due(ledger, back + GRACE - 0.1, since=back)) == []
    assert next_due(ledger, back, since=back) == back + GRACE


@pytest.mark.parametrize("phase", ["Cancelling", "Abandoned"])
def test_what_is_being_stopped_has_no_deadline(phase: str) -> None:
    assert next_due(in_phase(phase), seconds(0), since=0) is None


def test_no_timeout_no_deadline() -> None:
    agent = program({"start": [{"task": "work"}]}, tasks={"work": job()})

    assert next_due(after(agent, received(1)), seconds(0), since=0) is None
