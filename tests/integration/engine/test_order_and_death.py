"""Commit, then act: the order of things, and what a death at any point of it changes. Nothing."""

import pytest

from heed.core.effects import StartTask
from tests.integration.engine.points import EFFECTS, POINTS, Doors
from tests.integration.engine.world import World
from tests.integration.waiting import until


async def everything(world: World) -> None:
    """Events whose decisions ask for every kind of effect."""
    await world.send("ask", "running")
    await world.send("ask", "finished", {"finish": {"answer": 42}})
    await world.send("note", "noted")
    await world.send("break", "broken")
    await world.send("ask", "refused", {"refuse": True})
    await world.send("both", "late")
    await world.send("stop", "stopped")
    await world.send("over", "over")


async def test_effects_are_made_only_after_the_commit_that_owes_them(world: World) -> None:
    life = await world.live()

    await world.send("both", "s", {"finish": 1})
    await world.send("break", "s")
    await world.check()

    passed = life.doors.passed
    first = min(passed.index(f"before {effect}") for effect in ("start", "emit", "letter"))
    assert passed.index("after commit") < first
    assert passed.index("after start") < passed.index("before end")


async def test_one_batch_is_one_commit_and_what_was_made_is_settled_by_the_next(world: World) -> None:
    for number in range(50):
        await world.send("note", f"s{number}")
    life = await world.live()

    await world.check()

    assert sum(life.watcher.commits) == 50
    assert len(life.watcher.commits) < 10


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_any_point_the_outcome_is_the_same(world: World, point: str) -> None:
    # Given a life that ends there, while events come in
    doors = Doors()
    await world.send("both", "stopped")
    await world.send("both", "over")
    first = await world.live(doors)
    if "cancel" in point:
        await world.quiet()
    doors.die(point)
    await everything(world)
    await until(doors.dead.is_set)
    await first.end()

    # When another one goes on
    await world.live()

    # Then
    ledger = await world.check()
    assert ledger.totals.dead_lettered == 1
    assert {"running", "finished", "noted", "refused", "late"} <= set(ledger.sessions)


@pytest.mark.parametrize(
    "point", [point for point in POINTS if "commit" not in point] + ["before open", "before resume"]
)
async def test_killed_again_while_recovering_the_outcome_is_the_same(world: World, point: str) -> None:
    # Given a ledger that owes everything: a life ended with its decisions durable and no effect made
    await world.send("both", "stopped")
    await world.send("both", "over")
    life = await world.live()
    await world.quiet()
    await life.end()
    await everything(world)
    doors = Doors()
    doors.hold(EFFECTS)
    life = await world.live(doors)
    await until(lambda: world.has_committed_all(life))
    await life.end()
    assert {task.phase for task in (await world.stored()).ledger.pending_tasks.values()} == {
        "Owed",
        "Cancelling",
        "Abandoned",
    }

    # When two more lives end while they make up for it
    for _ in range(2):
        doors = Doors()
        doors.die(point)
        life = await world.live(doors)
        await until(doors.dead.is_set)
        await life.end()

    # Then
    await world.live()
    await world.check()


async def test_stopped_in_good_order_at_any_moment_nothing_is_lost(world: World) -> None:
    for number in range(20):
        life = await world.live()
        await world.send("both", f"s{number}", {"finish": number})
        if number % 2:
            await until(lambda: bool(life.watcher.commits))  # noqa: B023
        await life.end()

    await world.live()
    ledger = await world.check()

    assert ledger.totals.tasks_started == ledger.totals.tasks_completed == 20


async def test_what_is_owed_is_told_in_the_order_of_its_decisions(world: World) -> None:
    doors = Doors()
    doors.die("after commit")
    for number in range(5):
        await world.send("ask", f"s{number}")
    life = await world.live(doors)
    await until(doors.dead.is_set)
    await life.end()

    fold = await world.fold()
    second = await world.live()
    await world.check()

    assert list(world.jobs.made) == [item.id for item in fold.effects if isinstance(item, StartTask)]
    assert second.doors.count("after start") == 5
