"""A stream that somebody edits so that it drops events: what an Agent could not read is counted in its ledger."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, count_decided
from heed.settings import Settings
from tests.integration.engine.points import Doors
from tests.integration.engine.world import World, world_on
from tests.integration.waiting import until
from tests.nats_server import NatsServer
from tests.patience import PATIENCE

READ_AHEAD = 1024**2  # bytes
EVENTS, LARGE = 40, 100_000


@pytest.fixture
async def world(own_server: NatsServer, namespace: str) -> AsyncIterator[World]:
    """An Agent that reads little ahead."""
    settings = Settings(nats_url=own_server.url, read_ahead=READ_AHEAD)
    connection = await connect(settings, "test", attempts=3)
    await ensure_streams(connection, settings.stream)
    async with world_on(connection, namespace) as world:
        yield world
    await connection.close()


async def drop_all_but_the_latest(connection: Connection) -> None:
    config = (await connection.api("STREAM.INFO.HEED"))["config"]
    await connection.api("STREAM.UPDATE.HEED", {**config, "max_msgs_per_subject": 1})


def accounted(ledger: Ledger | None) -> int:
    return count_decided(ledger.totals) + ledger.totals.expired if ledger else 0


@pytest.mark.parametrize("others", [False, True], ids=["at its beginning", "from its middle"])
async def test_what_is_dropped_before_it_was_read_is_counted(world: World, others: bool) -> None:
    # Given an Agent in the middle of its backlog, whose commits are held up
    doors, gate = Doors(), asyncio.Event()

    async def hold(point: str) -> None:
        if point == "before commit":
            await gate.wait()

    doors.traps.append(hold)
    if others:
        await world.bus.publish("heed.events.else.where", Event("e", "/test", "where"))
    for _ in range(EVENTS):
        await world.send("none", data={"pad": "x" * LARGE})
    life = await world.live(doors)
    await until(lambda: life.doors.count("before commit") > 0, PATIENCE)
    credits = world.connection.credits
    await until(lambda: credits.held > READ_AHEAD // 2 and not credits.in_flight, PATIENCE)

    # When the stream keeps only the latest event of each subject
    await drop_all_but_the_latest(world.connection)
    gate.set()

    # Then each event was decided, or is counted as expired
    await until(lambda: accounted(life.loop.ledger) >= EVENTS, PATIENCE)
    ledger = await world.quiet(PATIENCE)
    totals = ledger.totals
    assert 0 < totals.expired < EVENTS
    assert count_decided(totals) + totals.expired == EVENTS
    assert ("start over", "ReaderLost") in life.watcher.troubles
