"""A failed attempt is followed by exactly one other, whoever runs the Agent by then, and only one end is heard."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.retry import RetryPolicy
from heed.engine import due_publisher
from tests.integration.engine.points import POINTS, Doors
from tests.integration.engine.world import World
from tests.integration.waiting import until

QUICKLY = RetryPolicy(attempts=3, initial=0, factor=1.0, longest=0, jitter=0.0, reasons=frozenset())


@pytest.fixture
def dogged(world: World) -> World:
    """An Agent whose tasks are attempted three times, at once."""
    return patient(world, QUICKLY)


def patient(world: World, retry: RetryPolicy, **more: Any) -> World:
    work = replace(world.program.tasks["work"], retry=retry, **more)
    world.program = replace(world.program, tasks={"work": work})
    return world


def attempts(world: World) -> list[int]:
    """Which attempts were made, of all tasks."""
    return sorted(names.split_attempt(made)[1] for made in world.jobs.made.elements())


async def has_ended(world: World, count: int = 1) -> Ledger:
    """The ledger once so many tasks have ended."""

    def over() -> bool:
        ledger = world.lives[-1].loop.ledger
        return ledger is not None and ledger.totals.tasks_failed + ledger.totals.tasks_completed == count

    await until(over)
    return await world.check()


async def test_an_attempt_that_completes_ends_the_task(dogged: World) -> None:
    await dogged.live()
    await dogged.send("ask", "s", {"fail": 2, "finish": 7})

    ledger = await has_ended(dogged)

    assert attempts(dogged) == [1, 2, 3]
    assert (ledger.totals.retried, ledger.totals.tasks_completed, ledger.totals.tasks_failed) == (2, 1, 0)
    assert set(ledger.sessions["s"].state) == {"asked", "done"}


async def test_the_last_failure_is_heard(dogged: World) -> None:
    await dogged.live()
    await dogged.send("ask", "s", {"fail": 9})

    ledger = await has_ended(dogged)

    assert attempts(dogged) == [1, 2, 3]
    assert ledger.sessions["s"].state["failed"] == "JobFailed"
    assert (ledger.totals.retried, ledger.totals.tasks_failed) == (2, 1)


@pytest.mark.parametrize("time", [1, 2, 3])
@pytest.mark.parametrize(
    "point", [point for point in POINTS if "cancel" not in point and "letter" not in point]
)
async def test_killed_at_any_point_every_attempt_is_made_once(dogged: World, point: str, time: int) -> None:
    doors = Doors()
    doors.die(point, time)
    first = await dogged.live(doors)
    await dogged.send("ask", "s", {"fail": 2, "finish": 7})
    await until(lambda: doors.dead.is_set() or _is_over(dogged))
    await first.end()

    await dogged.live()

    ledger = await has_ended(dogged)
    assert dogged.jobs.made == dict.fromkeys(dogged.jobs.made, 1)
    assert attempts(dogged) == [1, 2, 3]
    assert ledger.totals.tasks_completed == 1


async def test_an_operator_that_was_away_goes_on_with_the_attempt_that_came_due(world: World) -> None:
    dogged = patient(world, replace(QUICKLY, initial=1, longest=1))
    life = await dogged.live()
    await dogged.send("ask", "s", {"fail": 1, "finish": 7})
    await until(lambda: any("Retrying" in _phases(ledger) for ledger in life.doors.ledgers))
    await life.end()

    await dogged.live()

    await has_ended(dogged)
    assert attempts(dogged) == [1, 2]


async def test_a_late_copy_of_the_first_end_does_not_end_the_second_attempt(dogged: World) -> None:
    life = await dogged.live()
    await dogged.send("ask", "s", {"fail": 1})
    await until(lambda: len(dogged.jobs.made) == 2)
    await dogged.quiet()
    (first, second) = sorted(dogged.jobs.made)

    life.loop.report(dogged.jobs.ended[first])
    await life.look_again()
    await dogged.quiet()
    assert set(dogged.jobs.running) == {second}
    dogged.jobs.finish(second, 8)

    ledger = await has_ended(dogged)
    assert ledger.totals.stale == 0


async def test_a_job_that_somebody_deleted_is_followed_by_another(dogged: World) -> None:
    life = await dogged.live()
    await dogged.send("ask", "s", {})
    await until(lambda: len(dogged.jobs.running) == 1)
    await dogged.quiet()
    (task,) = dogged.jobs.running
    dogged.jobs.running.clear()

    await life.look_again()

    await until(lambda: set(dogged.jobs.running) == {f"{task}-2"})
    dogged.jobs.finish(f"{task}-2", 1)
    assert (await has_ended(dogged)).totals.tasks_completed == 1


async def test_a_task_that_waits_for_its_next_attempt_is_cancelled(world: World) -> None:
    dogged = patient(world, replace(QUICKLY, initial=1000, longest=1000))
    life = await dogged.live()
    await dogged.send("ask", "s", {"fail": 1})
    await until(lambda: any("Retrying" in _phases(ledger) for ledger in life.doors.ledgers))

    await dogged.send("stop", "s")

    ledger = await has_ended(dogged)
    assert ledger.sessions["s"].state["failed"] == "Cancelled"
    assert attempts(dogged) == [1]


async def test_an_attempt_past_its_own_timeout_is_removed_and_the_next_one_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 0.0)
    dogged = patient(world, QUICKLY, attempt_timeout=1)
    await dogged.live()
    await dogged.send("ask", "s", {})

    ledger = await has_ended(dogged)

    assert attempts(dogged) == [1, 2, 3]
    assert dogged.jobs.there == set()
    assert ledger.sessions["s"].state["failed"] == "DeadlineExceeded"


async def test_the_timeout_of_the_task_ends_it_between_attempts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 0.0)
    dogged = patient(world, replace(QUICKLY, initial=1, longest=1), timeout=2)
    life = await dogged.live()
    await dogged.send("ask", "s", {"fail": 1})
    await until(lambda: any("Retrying" in _phases(ledger) for ledger in life.doors.ledgers))
    await life.end()

    doors = Doors()
    doors.die("before start")
    second = await dogged.live(doors)
    await until(lambda: doors.dead.is_set() or _is_over(dogged))
    await second.end()
    await dogged.live()

    ledger = await has_ended(dogged)
    assert ledger.sessions["s"].state["failed"] == "DeadlineExceeded"


def _phases(ledger: Ledger) -> set[str]:
    return {task.phase for task in ledger.pending_tasks.values()}


def _is_over(world: World) -> bool:
    ledger = world.lives[-1].loop.ledger
    return ledger is not None and ledger.totals.tasks_completed + ledger.totals.tasks_failed > 0
