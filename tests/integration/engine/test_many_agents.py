"""Many Agents with a backlog on one connection: all of it is decided once, side by side, also when the broker dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.core.ledger.ledger import count_decided
from heed.settings import Settings
from tests.integration.engine.points import Doors
from tests.integration.engine.world import World, world_on
from tests.integration.waiting import until
from tests.nats_server import NatsServer
from tests.patience import PATIENCE

READ_AHEAD = 2 * 1024**2  # bytes
AGENTS, EVENTS, LARGE = 20, 12, 100_000


@pytest.fixture
async def connection(own_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection over which little may be read ahead."""
    settings = Settings(nats_url=own_server.url, read_ahead=READ_AHEAD)
    connection = await connect(settings, "test", attempts=3)
    await ensure_streams(connection, settings.stream)
    yield connection
    await connection.close()


@pytest.fixture
async def worlds(connection: Connection, namespace: str) -> AsyncIterator[list[World]]:
    """As many Agents, each with a backlog of events: twelve times of what may be read ahead."""
    async with AsyncExitStack() as closing:
        worlds = [
            await closing.enter_async_context(world_on(connection, f"{namespace}-{number}"))
            for number in range(AGENTS)
        ]
        for number in range(EVENTS):
            kind = "break" if number == 5 else "note"
            await asyncio.gather(*(world.send(kind, data={"pad": "x" * LARGE}) for world in worlds))
        yield worlds


def decided(world: World) -> int:
    ledger = world.lives[0].loop.ledger if world.lives else None
    return count_decided(ledger.totals) if ledger else 0


async def test_all_go_on_side_by_side_within_what_may_be_read_ahead(
    connection: Connection, worlds: list[World]
) -> None:
    # Given Agents that begin at the same time
    begin = asyncio.Event()

    async def gate(point: str) -> None:
        if point == "before open":
            await begin.wait()

    lives = []
    for world in worlds:
        doors = Doors()
        doors.traps.append(gate)
        lives.append(await world.live(doors))
    await until(lambda: all(life.doors.count("before open") for life in lives), PATIENCE)
    begin.set()

    # When the first one is through
    most = 0

    def one_is_through() -> bool:
        nonlocal most
        most = max(most, connection.credits.held)
        return any(decided(world) == EVENTS for world in worlds)

    await until(one_is_through, PATIENCE)

    # Then no other is left behind, and none has had any trouble
    assert min(map(decided, worlds)) > 0
    for world in worlds:
        assert (await world.check(PATIENCE)).totals.handled == EVENTS - 1
    assert not [trouble for life in lives for trouble in life.watcher.troubles]
    assert most < 2 * READ_AHEAD + AGENTS * LARGE
    assert (connection.credits.in_flight, connection.credits.held) == (0, 0)


async def test_a_broker_that_dies_costs_each_of_them_one_start_and_no_event(
    own_server: NatsServer, connection: Connection, worlds: list[World]
) -> None:
    # Given Agents in the middle of their backlogs
    lives = [await world.live() for world in worlds]
    await until(lambda: sum(map(decided, worlds)) > AGENTS * EVENTS // 4, PATIENCE)

    # When the broker is killed and comes back
    own_server.kill()
    await asyncio.to_thread(own_server.start)

    # Then everything is decided once, and the connection was lost that once
    for world in worlds:
        await world.check(PATIENCE)
    assert connection.errors["disconnected"] == 1
    assert all(life.watcher.troubles for life in lives)
