"""Held events: their place is in the ledger, and whatever happens each acts once, when its session lets it."""

import asyncio
from dataclasses import replace

import pytest

from heed import names
from tests.integration.engine.points import POINTS, Doors
from tests.integration.engine.world import World
from tests.integration.waiting import until


async def early_and_late(world: World) -> None:
    """Three events in the wrong order, in four sessions; in one of them nothing ever comes that they wait for."""
    for session in ("a", "b", "c", "never"):
        await world.send("sealed", session)
        await world.send("early", session)
    for session in ("a", "b", "c"):
        await world.send("note", session)


async def has_held(world: World, count: int) -> None:
    """Wait until the stored ledger holds so many events."""

    async def is_there() -> bool:
        return len((await world.stored()).ledger.held) == count

    await until(is_there)


async def test_what_comes_early_waits_and_acts_in_its_order(world: World) -> None:
    life = await world.live()
    await early_and_late(world)
    await has_held(world, 2)

    ledger = await world.check()

    assert set(ledger.sessions) == set()
    assert {item.session for item in ledger.held.places.values()} == {"never"}
    assert ledger.totals.handled == 9
    assert life.watcher.troubles == []


@pytest.mark.parametrize("point", [*POINTS, "before fetch"])
async def test_killed_at_any_point_what_is_held_acts_once(world: World, point: str) -> None:
    # Given a life that ends there, while events come in; of every effect there is one
    doors = Doors()
    await world.send("both", "stopped")
    first = await world.live(doors)
    if "cancel" in point:
        await world.quiet()
    doors.die(point, 2 if "commit" in point else 1)
    await world.send("ask", "finished", {"finish": 1})
    await world.send("break", "broken")
    await world.send("stop", "stopped")
    await early_and_late(world)
    await until(doors.dead.is_set)
    await first.end()

    # When another one goes on
    await world.live()
    await has_held(world, 2)

    # Then
    ledger = await world.check()
    assert ledger.totals.emitted >= 9
    assert {item.session for item in ledger.held.places.values()} == {"never"}


async def test_killed_with_everything_ready_the_next_life_begins_with_that(world: World) -> None:
    # Given a ledger in which held events are ready, and none of them was looked at
    life = await world.live()
    for _ in range(3):
        await world.send("early", "s")
    await has_held(world, 3)
    await life.end()
    stored = await world.stored()
    ready = replace(stored.ledger, held=stored.ledger.held.recall(["s"]))
    await world.store().commit(stored, ready)

    # When
    life = await world.live()
    await world.send("note", "s")

    # Then
    ledger = await world.check()
    assert ledger.totals.handled == 4
    assert ledger.held.places == {}


async def test_what_waits_in_vain_is_handled_or_a_dead_letter_when_its_time_is_over(world: World) -> None:
    await world.live()
    await world.send("unsure", "s")
    await world.send("doomed", "s")

    async def is_over() -> bool:
        totals = (await world.stored()).ledger.totals
        return totals.handled + totals.dead_lettered == 2

    await until(is_over)

    ledger = await world.check()
    assert (ledger.totals.dead_lettered, ledger.totals.handled, ledger.totals.emitted) == (1, 1, 1)
    assert ledger.held.places == {}
    assert 1 <= ledger.totals.due <= 2


@pytest.mark.parametrize("point", ["before end", "after end", "before letter", "after letter"])
async def test_killed_around_the_end_of_its_time_it_ends_once(world: World, point: str) -> None:
    doors = Doors()
    life = await world.live(doors)
    doors.die(point)
    await world.send("doomed", "s")
    await until(doors.dead.is_set)
    await life.end()

    await world.live()
    await has_held(world, 0)

    ledger = await world.check()
    assert ledger.totals.dead_lettered == 1


async def test_what_came_before_the_end_of_its_time_counts_though_nobody_was_there(world: World) -> None:
    life = await world.live()
    await world.send("doomed", "s")
    await has_held(world, 1)
    await life.end()
    await world.send("note", "s")
    await asyncio.sleep(1.1)  # its time, which passes for the broker

    await world.live()

    ledger = await world.check()
    assert (ledger.totals.handled, ledger.totals.dead_lettered) == (2, 0)


async def test_what_the_stream_dropped_meanwhile_is_counted(world: World) -> None:
    await world.live()
    gone = await world.send("early", "s")
    await world.send("early", "s")
    await has_held(world, 2)
    await world.connection.api(f"STREAM.MSG.DELETE.{names.STREAM}", {"seq": gone})

    await world.send("note", "s")
    await has_held(world, 0)

    ledger = await world.quiet()
    assert (ledger.totals.handled, ledger.totals.expired) == (2, 1)


async def test_another_generation_looks_at_them_again(world: World) -> None:
    life = await world.live()
    await world.send("doomed", "s")
    await has_held(world, 1)
    await life.end()
    reactions = tuple(replace(item, hold=None) for item in world.program.reactions)
    world.program = replace(world.program, generation=2, reactions=reactions)

    await world.live()
    await has_held(world, 0)

    assert (await world.quiet()).totals.handled == 1
