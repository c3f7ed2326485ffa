"""How far an Agent is behind, as its loop says without asking anybody."""

import asyncio
from datetime import datetime

from heed.engine.read_buffer import READ_BATCH
from tests.integration.engine.points import Doors
from tests.integration.engine.world import Life, World
from tests.integration.waiting import until
from tests.patience import PATIENCE


def behind(life: Life) -> int:
    """How many events its lag counts; -1 where it reads nothing."""
    return life.loop.lag.events if life.loop.lag else -1


async def since(world: World, life: Life, sequence: int) -> bool:
    """Whether it is behind since the message at a sequence was stored."""
    first = await world.connection.api("STREAM.MSG.GET.HEED", {"seq": sequence})
    assert life.loop.lag is not None and life.loop.lag.since is not None
    stored = datetime.fromisoformat(first["message"]["time"])
    return abs((datetime.fromisoformat(life.loop.lag.since) - stored).total_seconds()) < 0.001


class Gate:
    """A trap that holds commits up."""

    def __init__(self, doors: Doors) -> None:
        self.open = asyncio.Event()
        doors.traps.append(self.pass_on)

    async def pass_on(self, point: str) -> None:
        if point == "before commit":
            await self.open.wait()


async def test_an_agent_that_has_decided_all_is_not_behind(world: World) -> None:
    life = await world.live()
    await world.send("note")
    await world.quiet()

    await until(lambda: behind(life) == 0)

    assert life.loop.lag is not None
    assert life.loop.lag.since is None


async def test_what_is_decided_counts_until_it_is_durable(world: World) -> None:
    # Given commits that are held up
    doors = Doors()
    gate = Gate(doors)
    life = await world.live(doors)
    await until(lambda: behind(life) == 0)

    # When three events come
    sequence = await world.send("note")
    await world.send("note")
    await world.send("note")

    # Then the Agent is three behind, since the first of them
    await until(lambda: behind(life) == 3)
    assert await since(world, life, sequence)

    # And it is not any more when they are durable
    gate.open.set()
    await until(lambda: behind(life) == 0)


async def test_what_is_still_in_the_stream_counts_too(world: World) -> None:
    # Given more than a loop takes in at once, of which nothing can be committed
    many = 4 * READ_BATCH
    for _ in range(0, many, 100):
        await asyncio.gather(*(world.send("note") for _ in range(100)))
    doors = Doors()
    gate = Gate(doors)

    # When
    life = await world.live(doors)

    # Then
    await until(lambda: behind(life) == many, PATIENCE)
    gate.open.set()
    await until(lambda: behind(life) == 0, PATIENCE)


async def test_events_of_others_are_no_lag(world: World) -> None:
    doors = Doors()
    Gate(doors)
    life = await world.live(doors)
    await world.connection.request(f"heed.events.{world.namespace}-else.com.example.in.note", b"{}")
    sequence = await world.send("note")

    await until(lambda: behind(life) > 0)

    assert behind(life) == 1
    assert await since(world, life, sequence)


async def test_a_loop_that_reads_nothing_has_no_lag_to_tell(world: World) -> None:
    life = await world.live()
    await until(lambda: behind(life) == 0)

    await life.end()

    assert life.loop.lag is None
