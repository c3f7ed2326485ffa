"""Ends of tasks that another than Heed tells: the Job that may still run is removed, whatever dies in between."""

import asyncio

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.errors import TaskUnavailable
from tests.integration.engine.points import Doors
from tests.integration.engine.world import HANDLERS, World, handler, worker_manifest
from tests.integration.waiting import until

BROKEN = handler(names.TASK_COMPLETED, state={"done": "${event.data.missing}"})


async def running(world: World) -> str:
    """The one task that runs, and is known to."""
    await world.send("ask")
    await until(lambda: len(world.jobs.running) == 1)
    await world.quiet()
    return next(iter(world.jobs.running))


def break_on_ends(world: World) -> None:
    """Have the handler of a task's result break."""
    document = worker_manifest(world.namespace, world.program.agent.uid)
    document["spec"]["handlers"] = [BROKEN if item["name"] == BROKEN["name"] else item for item in HANDLERS]
    world.program = compile_agent(parse_agent(document))


async def test_its_job_is_removed_after_the_commit_that_owes_it(world: World) -> None:
    life = await world.live()
    task = await running(world)
    commits = life.doors.count("after commit")

    await world.end_of(task)
    ledger = await world.check()

    assert ledger.totals.tasks_completed == 1
    assert ledger.sessions["s"].state["done"] == task
    assert not ledger.pending_tasks
    assert not world.jobs.there
    passed = life.doors.passed
    committed = [index for index, point in enumerate(passed) if point == "after commit"][commits]
    assert committed < passed.index("before cancel")


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(
    "point",
    ["before commit", "after commit", "before message", "after message", "before cancel", "after cancel"],
)
async def test_killed_at_any_point_its_job_is_removed(world: World, point: str, broken: bool) -> None:
    # Given a life that ends there, upon the end that another tells
    if broken:
        break_on_ends(world)
    doors = Doors()
    first = await world.live(doors)
    task = await running(world)
    point = point.replace("message", "letter" if broken else "emit")
    doors.die(point, doors.count(point) + 1)
    await world.end_of(task)
    await until(doors.dead.is_set)
    await first.end()

    # When another one goes on
    await world.live()

    # Then
    ledger = await world.check()
    assert not ledger.pending_tasks
    assert not world.jobs.there
    assert (ledger.totals.tasks_completed, ledger.totals.dead_lettered) == (1, int(broken))


async def test_a_cluster_that_is_away_is_asked_until_it_is_removed(world: World) -> None:
    doors = Doors()
    await world.live(doors)
    task = await running(world)
    doors.fail("before cancel", TaskUnavailable("away"), times=3)

    await world.end_of(task)
    await until(lambda: doors.count("before cancel") >= 2)
    owed = (await world.stored()).ledger.pending_tasks[task]
    await world.check()

    assert owed.phase == "Abandoned"
    assert not world.jobs.there


@pytest.mark.parametrize("dies", [False, True])
async def test_what_a_start_under_way_still_makes_is_removed(world: World, dies: bool) -> None:
    # Given a start that is under way
    doors, under_way, go_on = Doors(), asyncio.Event(), asyncio.Event()

    async def slow(point: str) -> None:
        if point == "before start":
            under_way.set()
            await go_on.wait()

    doors.traps.append(slow)
    if dies:
        doors.die("after start")
    life = await world.live(doors)
    await world.send("ask")
    await asyncio.wait_for(under_way.wait(), 10)
    assert life.loop.ledger is not None
    (task,) = life.loop.ledger.pending_tasks

    # When another tells the end of its task before it is made
    await world.end_of(task)
    await until(lambda: life.loop.ledger.pending_tasks[task].phase == "Abandoned")
    assert not world.jobs.made
    go_on.set()
    if dies:
        await until(doors.dead.is_set)
        assert world.jobs.running
        await life.end()
        await world.live()

    # Then
    await world.check()
    assert not world.jobs.there


async def test_one_that_is_being_cancelled_is_removed_and_its_failure_not_heard_of(world: World) -> None:
    # Given a cancellation that cannot be made yet
    doors, back = Doors(), asyncio.Event()

    async def away(point: str) -> None:
        if point == "before cancel" and not back.is_set():
            raise TaskUnavailable("away")

    doors.traps.append(away)
    await world.live(doors)
    task = await running(world)
    await world.send("stop")
    await until(lambda: doors.count("before cancel") >= 1)

    # When another tells that the task is done
    await world.end_of(task)
    await until(lambda: doors.count("after emit") == 1)
    back.set()

    # Then that is what counts
    await until(lambda: doors.count("after end") == 1)
    ledger = await world.check()
    assert (ledger.totals.tasks_completed, ledger.totals.tasks_failed, ledger.totals.stale) == (1, 0, 1)
    assert not world.jobs.there
