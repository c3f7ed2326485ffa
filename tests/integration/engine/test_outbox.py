"""What the ledger owes the broker: struck off soon, not written without a cause, and published once in any case."""

import asyncio

import pytest

from heed.errors import BusUnavailable
from tests.integration.engine.points import Doors
from tests.integration.engine.world import World, connected, world_on
from tests.integration.waiting import until
from tests.nats_server import NatsServer


async def revision(world: World) -> str:
    return (await world.stored()).version


async def test_the_next_commit_settles_what_was_made(world: World) -> None:
    life = await world.live()
    await world.send("note", "one")
    await until(lambda: life.doors.count("after emit") == 1)

    await world.send("note", "two")
    await world.check()

    second = next(ledger for ledger in life.doors.ledgers if ledger.totals.handled == 2)
    assert [owed.sequence for owed in second.outbox.values()] == [second.cursor.sequence]


async def test_without_a_next_event_it_is_settled_all_the_same_and_then_nothing_is_written(
    world: World,
) -> None:
    life = await world.live()
    await world.send("both", "s", {"finish": 1})
    await world.send("both", "t")
    await world.check()
    before, commits = await revision(world), life.doors.count("before commit")

    # When the Agent is woken by what leaves no trace: a task that goes on, a read that ends empty
    life.loop._executor.settled.set()  # type: ignore[union-attr]
    await until(lambda: not life.loop._executor.settled.is_set())  # type: ignore[union-attr]

    assert (await revision(world), life.doors.count("before commit")) == (before, commits)


async def test_an_event_that_asks_for_nothing_is_one_write(world: World) -> None:
    life = await world.live()
    await world.send("ask", "s", id="once")
    await world.check()
    commits = life.doors.count("after commit")

    await world.send("ask", "s", id="once")
    await world.check()

    assert life.doors.count("after commit") == commits + 1


@pytest.mark.parametrize("point", ["after emit", "after letter", "after end"])
async def test_a_message_whose_confirmation_is_lost_is_there_once(world: World, point: str) -> None:
    doors = Doors()
    doors.fail(point, BusUnavailable("no answer"), times=3)
    await world.live(doors)

    await world.send("note")
    await world.send("break")
    await world.send("ask", "s", {"finish": 1})

    ledger = await world.check()
    assert ledger.totals.duplicates == ledger.totals.stale == 0


async def test_also_when_the_brokers_window_for_duplicates_is_long_over(
    own_server: NatsServer, namespace: str
) -> None:
    # Given a window of no use, and confirmations that are lost until it is over
    async with connected(own_server.url, window=1) as connection, world_on(connection, namespace) as world:
        config = (await connection.api("STREAM.INFO.HEED"))["config"]
        assert config["duplicate_window"] == 10**9
        await connection.api("STREAM.UPDATE.HEED", {**config, "duplicate_window": 100_000_000})
        dead = (await connection.api("STREAM.INFO.HEED_DEAD"))["config"]
        await connection.api("STREAM.UPDATE.HEED_DEAD", {**dead, "duplicate_window": 100_000_000})
        doors = Doors()
        for point in ("after emit", "after letter"):
            doors.fail(point, BusUnavailable("no answer"), times=2)
        first = await world.live(doors)

        # When in this life, and again in the next one
        await world.send("note")
        await world.send("break")
        await world.check()
        await first.end()
        dying = Doors()
        dying.die("after emit")
        second = await world.live(dying)
        await world.send("note")
        await until(dying.dead.is_set)
        await second.end()
        await _forgotten(world)
        await world.live()

        # Then
        await world.check()


async def _forgotten(world: World) -> None:
    """The broker takes an id again that it had taken before."""

    async def again() -> bool:
        headers = {"Nats-Msg-Id": "probe"}
        reply = await world.connection.request(f"heed.events.{world.namespace}.probe", b"", headers)
        return b'"duplicate":true' not in reply.data.replace(b" ", b"")

    await again()
    await asyncio.sleep(0)
    await until(again)
