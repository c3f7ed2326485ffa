"""A broker that is killed in the middle of it all: every event is accounted for, exactly once."""

import asyncio
import random

from heed import names
from heed.core.events import Event
from heed.core.ledger.ledger import count_decided
from heed.errors import BusUnavailable
from tests.integration.engine.world import IN, World, connected, world_on
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer

MANY = 3200


async def feed(world: World, seed: int) -> None:
    """Thousands of events of all kinds. What is not confirmed is sent again: the broker may hold it twice."""
    chance = random.Random(seed)
    kinds = chance.choices(
        ["note", "both", "ask", "break", "stop", "over", "none"], [6, 2, 2, 1, 1, 1, 3], k=MANY
    )

    async def one(number: int, kind: str) -> None:
        id = f"e{number if chance.random() > 0.05 else max(0, number - 3)}"
        data = {"finish": number} if number % 2 else {}
        event = Event(
            id, "/test", IN + kind, data, datacontenttype="application/json",
            extensions={"correlationid": f"s{number % 40}"},
        )  # fmt: skip
        while True:
            try:
                await world.bus.publish(
                    names.event_subject(world.namespace, event.type), event, deduplicate=False
                )
                return
            except BusUnavailable:
                await asyncio.sleep(0.05)

    for start in range(0, MANY, 100):
        await asyncio.gather(*(one(start + i, kind) for i, kind in enumerate(kinds[start : start + 100])))


async def test_a_broker_killed_again_and_again_under_load(own_server: NatsServer, namespace: str) -> None:
    async with connected(own_server.url) as connection, world_on(connection, namespace) as world:
        # Given a loop under load
        life = await world.live()
        feeding = asyncio.create_task(feed(world, seed=7))

        # When the broker is killed and comes back with its store, thrice
        for time in range(1, 4):
            await until(lambda: _decided(world) > time * MANY // 5)  # noqa: B023
            own_server.kill()
            await asyncio.to_thread(own_server.start)
        await asyncio.wait_for(feeding, SOON)

        # Then
        ledger = await world.check(60)
        totals = ledger.totals
        assert count_decided(totals) >= MANY
        assert min(totals.handled, totals.ignored, totals.duplicates, totals.dead_lettered) > 0
        assert ("start over", "ReaderLost") in life.watcher.troubles


def _decided(world: World) -> int:
    ledger = world.lives[0].loop.ledger
    return count_decided(ledger.totals) if ledger else 0


async def test_a_consumer_that_vanishes_is_replaced(world: World) -> None:
    life = await world.live()
    await world.send("note")
    await world.quiet()

    listing = await world.connection.api("CONSUMER.LIST.HEED")
    for item in listing["consumers"]:
        if any(world.namespace in subject for subject in item["config"].get("filter_subjects", [])):
            await world.connection.api(f"CONSUMER.DELETE.HEED.{item['name']}")
    await until(lambda: ("start over", "ReaderLost") in life.watcher.troubles)
    await world.send("both", "s", {"finish": 1})

    await world.check()
