"""Tasks end at their deadlines whatever their Jobs do, and whoever runs the Agent by then."""

import asyncio
from dataclasses import replace

import pytest

from heed import names
from heed.core.effects import TaskEnd
from heed.core.tasks.losses import LOSSES
from heed.engine import due_publisher
from heed.engine.effect_executor import is_over
from heed.errors import TaskUnavailable
from heed.util.clock import timestamp
from tests.integration.engine.points import Doors
from tests.integration.engine.world import World
from tests.integration.waiting import until


@pytest.fixture
def hasty(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """An Agent whose tasks have one second, and no grace."""
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 0.0)
    work = replace(world.program.tasks["work"], timeout=1)
    world.program = replace(world.program, tasks={"work": work})
    return world


async def test_a_job_that_never_ends_is_removed_and_its_task_fails(hasty: World) -> None:
    await hasty.live()
    await hasty.send("ask", "s", {})

    await until(lambda: any(life.doors.count("after end") for life in hasty.lives))

    ledger = await hasty.check()
    assert [(task.outcome, task.reason) for task in ledger.recent_tasks] == [("Failed", "DeadlineExceeded")]
    assert ledger.sessions["s"].state["failed"] == "DeadlineExceeded"
    assert not hasty.jobs.there


async def test_a_task_that_could_not_be_started_in_time_is_not_started_later(hasty: World) -> None:
    # Given a cluster that takes no Jobs
    doors, back = Doors(), asyncio.Event()

    async def away(point: str) -> None:
        if point == "before start" and not back.is_set():
            raise TaskUnavailable("exceeded quota")

    doors.traps.append(away)
    await hasty.live(doors)
    await hasty.send("ask", "s", {})

    # When
    await until(lambda: doors.count("after end") > 0)
    back.set()

    # Then
    ledger = await hasty.check()
    assert [task.reason for task in ledger.recent_tasks] == ["DeadlineExceeded"]
    assert hasty.jobs.made == {}


@pytest.mark.parametrize("point", ["after commit", "after start", "before end", "after end"])
async def test_a_deadline_survives_the_operator(hasty: World, point: str) -> None:
    doors = Doors()
    doors.die(point)
    life = await hasty.live(doors)
    await hasty.send("ask", "s", {})
    await until(doors.dead.is_set)
    await life.end()

    await hasty.live()

    await until(lambda: hasty.lives[-1].loop.ledger is not None)
    await until(lambda: _failed(hasty))
    ledger = await hasty.check()
    assert [task.reason for task in ledger.recent_tasks] == ["DeadlineExceeded"]


async def test_a_start_that_came_too_late_stays_owed(hasty: World) -> None:
    # Given a task whose start was still owed when its operator died, and whose deadline then passed
    doors = Doors()
    doors.die("after commit")
    life = await hasty.live(doors)
    await hasty.send("ask", "s", {})
    await until(doors.dead.is_set)
    (record,) = doors.ledgers[-1].pending_tasks.values()
    await life.end()
    await until(lambda: is_over(record.deadline or ""))

    # When the next operator cannot say so yet, but commits
    doors, told = Doors(), asyncio.Event()

    async def silent(point: str) -> None:
        if point == "before end":
            await told.wait()

    doors.traps.append(silent)
    life = await hasty.live(doors)
    await hasty.send("note", "s", {})
    await until(lambda: any("noted" in ledger.sessions["s"].state for ledger in doors.ledgers))

    # Then
    assert [task.phase for task in doors.ledgers[-1].pending_tasks.values()] == ["Owed"]
    told.set()
    await until(lambda: _failed(hasty))
    ledger = await hasty.check()
    assert [task.reason for task in ledger.recent_tasks] == ["DeadlineExceeded"]
    assert hasty.jobs.made == {}


async def test_a_job_removed_at_its_deadline_is_not_lost(
    hasty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an operator that died once the Job was removed, and before it said why
    doors = Doors()
    doors.die("after cancel")
    life = await hasty.live(doors)
    await hasty.send("ask", "s", {})
    await until(doors.dead.is_set)
    await life.end()

    # When the next one looks for the Job long before the time it would give its deadline
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 1000.0)
    await hasty.live()

    # Then
    await until(lambda: _failed(hasty))
    ledger = await hasty.check()
    assert [task.reason for task in ledger.recent_tasks] == ["DeadlineExceeded"]


@pytest.mark.parametrize("reason", sorted(LOSSES))
async def test_what_is_lost_after_its_deadline_has_exceeded_it(
    hasty: World, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    # Given a task that was started, over its time, and whose own end is still waited for
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 1000.0)
    life = await hasty.live()
    await hasty.send("ask", "s", {})
    await until(lambda: _phases(hasty) == ["Started"])
    [(task_id, record)] = (life.loop.pending_tasks or {}).items()
    await until(lambda: is_over(record.deadline or ""))

    # When what ran it is found no more
    life.loop.report(TaskEnd(task_id, names.digest("lost", task_id), timestamp(), False, reason=reason))

    # Then
    await until(lambda: _failed(hasty))
    ledger = await hasty.check()
    assert [task.reason for task in ledger.recent_tasks] == ["DeadlineExceeded"]


def _phases(world: World) -> list[str]:
    return [record.phase for record in (world.lives[-1].loop.pending_tasks or {}).values()]


def _failed(world: World) -> bool:
    ledger = world.lives[-1].loop.ledger
    return ledger is not None and ledger.totals.tasks_failed == 1
