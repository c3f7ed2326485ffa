"""A durable consumer on a real broker: made once, changed where it should, shared, and removed when it is an orphan."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.consumer.durable import (
    ConsumerLag,
    DurableConsumer,
    DurableSpec,
    LeasedMessage,
    delete_consumer,
    ensure_consumer,
    find_consumers,
)
from heed.bus.jetstream import JetStreamBus
from heed.errors import ReaderLost
from heed.gateway.subscriptions.part import delete_orphans
from heed.kube.client.client import KubeApi
from tests.integration.reading import BEGINNING, collect, send
from tests.integration.waiting import until


def spec_of(namespace: str, name: str = "", **members: Any) -> DurableSpec:
    found = DurableSpec(
        name=name or f"heed-sub-{namespace}",
        subjects=[f"heed.events.{namespace}.>"],
        since=None,
        ack_wait_s=60.0,
        max_ack_pending=10,
        metadata={"heed.dev/namespace": namespace, "heed.dev/uid": "u"},
    )
    return replace(found, **members)


async def config(connection: Connection, name: str) -> dict[str, Any]:
    return dict((await connection.api(f"CONSUMER.INFO.HEED.{name}"))["config"])


async def test_it_begins_at_its_time_also_where_one_of_its_subjects_is_new(
    connection: Connection, namespace: str
) -> None:
    bus = JetStreamBus(connection)
    (before,) = await send(bus, namespace, 0, type_="a.old")
    reader = await bus.open([names.event_subject(namespace, ">")], before, BEGINNING)
    await send(bus, namespace, 1, 2, type_="a.old")
    await send(bus, namespace, 3, type_="a.new")
    await send(bus, namespace, 4, type_="a.old")
    (first, *_) = await collect(reader, 3)
    await reader.close()

    subjects = [names.event_subject(namespace, type_) for type_ in ("a.old", "a.new")]
    spec = spec_of(namespace, since=first.at, subjects=subjects)
    await ensure_consumer(connection, names.STREAM, spec)

    info = await connection.api(f"CONSUMER.INFO.HEED.{spec.name}")
    assert info["num_pending"] == 4


async def test_it_is_changed_where_it_should_be_and_begins_where_it_began(
    connection: Connection, namespace: str
) -> None:
    spec = spec_of(namespace, since="2026-01-01T00:00:00Z")
    await ensure_consumer(connection, names.STREAM, spec)
    before = await config(connection, spec.name)

    await ensure_consumer(
        connection, names.STREAM, replace(spec, since="2026-02-01T00:00:00Z", max_ack_pending=20)
    )

    after = await config(connection, spec.name)
    assert (before["max_ack_pending"], after["max_ack_pending"]) == (10, 20)
    assert after["opt_start_time"] == before["opt_start_time"]
    assert after["metadata"]["heed.dev/uid"] == "u"


async def test_what_is_acknowledged_is_done_and_what_is_released_comes_again(
    connection: Connection, bus: Any, namespace: str
) -> None:
    consumer = await DurableConsumer.open(connection, names.STREAM, spec_of(namespace))
    await send(bus, namespace, 1, 2)
    taken: list[LeasedMessage] = []
    while len(taken) < 2:
        taken += await consumer.take(5)
    first, second = sorted(taken, key=lambda leased: leased.sequence)
    assert (first.attempt, second.attempt) == (1, 1)
    assert await consumer.lag() == ConsumerLag(0, 2)

    await consumer.acknowledge(first)
    await consumer.release(second, 0.0)
    (again,) = await consumer.take(5)

    assert (again.sequence, again.attempt, again.at) == (second.sequence, 2, second.at)
    assert (await consumer.lag()).total == 1
    await consumer.close()


async def test_what_is_extended_is_under_way_when_another_comes_again(
    connection: Connection, bus: Any, namespace: str
) -> None:
    consumer = await DurableConsumer.open(connection, names.STREAM, spec_of(namespace, ack_wait_s=2.0))
    await send(bus, namespace, 1, 2)
    taken: list[LeasedMessage] = []
    while len(taken) < 2:
        taken += await consumer.take(5)
    first, second = sorted(taken, key=lambda leased: leased.sequence)

    waiting = asyncio.create_task(consumer.take(5))
    while not waiting.done():
        await consumer.extend(first)
        await asyncio.wait({waiting}, timeout=0.1)

    assert [(item.sequence, item.attempt) for item in await waiting] == [(second.sequence, 2)]
    await consumer.close()


async def test_what_one_has_not_taken_goes_to_another_when_it_is_closed(
    connection: Connection, bus: Any, namespace: str
) -> None:
    spec = spec_of(namespace)
    one = await DurableConsumer.open(connection, names.STREAM, spec)
    await send(bus, namespace, 1, 2)
    first = await one.take(2)
    await until(lambda: len(first) + len(one._arrivals) == 2)
    await one.close()
    for leased in first:
        await one.release(leased, 0.0)

    other = await DurableConsumer.open(connection, names.STREAM, spec)
    found: set[int] = set()
    while len(found) < 2:
        found |= {leased.sequence for leased in await other.take(2)}
    await other.close()


async def test_one_that_was_deleted_is_lost(connection: Connection, namespace: str) -> None:
    spec = spec_of(namespace)
    consumer = await DurableConsumer.open(connection, names.STREAM, spec)
    await delete_consumer(connection, names.STREAM, spec.name)
    await delete_consumer(connection, names.STREAM, spec.name)  # which is no error

    with pytest.raises(ReaderLost):
        await consumer.take(1)
    await consumer.close()


class Listed:
    """An API server with some Subscriptions."""

    def __init__(self, *uids: str) -> None:
        self._uids = uids

    async def list(self, path: str) -> Sequence[dict[str, Any]]:
        return [{"metadata": {"uid": uid}} for uid in self._uids]


async def test_orphans_are_deleted_and_nothing_else(connection: Connection, namespace: str) -> None:
    kept, orphan = (names.subscription_consumer(f"{namespace}-{what}") for what in ("kept", "orphan"))
    others = names.subscription_consumer(f"{namespace}-other")
    for name, place in ((kept, namespace), (orphan, namespace), (others, "another")):
        metadata = {"heed.dev/namespace": place}
        await ensure_consumer(connection, names.STREAM, spec_of(namespace, name, metadata=metadata))

    await delete_orphans(cast(KubeApi, Listed(f"{namespace}-kept")), connection, namespace)

    found = await find_consumers(connection, names.STREAM, "heed-sub-")
    assert kept in found and others in found
    assert orphan not in found
