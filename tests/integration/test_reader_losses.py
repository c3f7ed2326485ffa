"""A reader is lost rather than wrong, and the next one goes on from the cursor."""

import asyncio

import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.consumer.pull import PullConsumer
from heed.bus.jetstream import JetStreamBus
from heed.errors import BusUnavailable, ReaderLost
from tests.integration.reading import BEGINNING, collect, data, encoded, read_until_lost, send
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer


async def test_a_missing_message_loses_the_reader(own: Connection, namespace: str) -> None:
    bus = JetStreamBus(own)
    reader = await bus.open([names.event_subject(namespace, ">")], 0, BEGINNING)
    # Someone else takes a message of the reader's consumer: for the reader, it went missing on the way.
    [consumer] = (await own.api("CONSUMER.NAMES.HEED"))["consumers"]
    thief = await own.client.subscribe(own.client.new_inbox())
    await own.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.HEED.{consumer}", reply=thief.subject)
    sequences = await send(bus, namespace, *range(5))
    stolen = int((await thief.next_msg(timeout=SOON)).data)
    await thief.unsubscribe()

    read, why = await read_until_lost(reader)
    assert f"message {stolen + 1} of its consumer is missing, {stolen + 2} came" in why
    assert data(read) == list(range(stolen))
    await reader.close()

    cursor = read[-1].sequence if read else sequences[0] - 1
    reader = await bus.open([names.event_subject(namespace, ">")], cursor, BEGINNING)
    assert data(await collect(reader, 5 - stolen)) == list(range(stolen, 5))
    await reader.close()


async def test_a_deleted_consumer_loses_the_reader_at_once(own: Connection, namespace: str) -> None:
    reader = await JetStreamBus(own).open([names.event_subject(namespace, ">")], 0, BEGINNING)
    waiting = asyncio.create_task(reader.read(10, 60))
    await asyncio.sleep(0)
    [consumer] = (await own.api("CONSUMER.NAMES.HEED"))["consumers"]

    await own.api(f"CONSUMER.DELETE.HEED.{consumer}")

    with pytest.raises(ReaderLost, match="409 Consumer Deleted"):
        await asyncio.wait_for(waiting, SOON)
    await reader.close()


async def test_a_consumer_that_is_gone_before_it_is_asked_loses_the_reader(
    own: Connection, namespace: str
) -> None:
    # Given a consumer that goes while the server has no request for it, so that it can tell nobody
    wanted = {"deliver_policy": "all", "filter_subjects": [names.event_subject(namespace, ">")]}
    pull = await PullConsumer.open(own, names.STREAM, wanted)
    [consumer] = (await own.api("CONSUMER.NAMES.HEED"))["consumers"]
    await own.api(f"CONSUMER.DELETE.HEED.{consumer}")

    # When it is asked, then it is known at once
    with pytest.raises(ReaderLost, match="its consumer is gone"):
        await asyncio.wait_for(pull.take(10, 60), SOON)
    await pull.close()


async def test_a_closed_reader_leaves_no_consumer_behind(own: Connection, namespace: str) -> None:
    reader = await JetStreamBus(own).open([names.event_subject(namespace, ">")], 0, BEGINNING)
    await reader.close()
    await reader.close()

    async def is_gone() -> bool:
        return not (await own.api("CONSUMER.NAMES.HEED"))["consumers"]

    await until(is_gone)


async def test_a_killed_server_loses_the_reader_at_once_and_reading_goes_on_from_the_cursor(
    own_server: NatsServer, own: Connection, namespace: str
) -> None:
    bus, subjects = JetStreamBus(own), [names.event_subject(namespace, ">")]
    sequences = await send(bus, namespace, 0, 1)
    reader = await bus.open(subjects, 0, BEGINNING)
    assert data(await collect(reader, 2)) == [0, 1]

    idle = asyncio.create_task(reader.read(10, 60))
    await asyncio.sleep(0)
    own_server.kill()
    with pytest.raises(ReaderLost, match="connection was lost"):
        await asyncio.wait_for(idle, SOON)
    await reader.close()

    # `open` waits for the connection, so there is nothing to poll for.
    opening = asyncio.create_task(bus.open(subjects, sequences[0], BEGINNING))
    own_server.start()
    reader = await asyncio.wait_for(opening, SOON)
    await send(bus, namespace, 2)
    assert data(await collect(reader, 2)) == [1, 2]
    await reader.close()


async def test_many_restarts_in_the_middle_of_reading_lose_and_repeat_nothing(
    own_server: NatsServer, own: Connection, namespace: str
) -> None:
    bus, subject = JetStreamBus(own), names.event_subject(namespace, "a.b")
    for number in range(600):
        await own.client.publish(subject, *encoded(number))
    await own.client.flush()

    numbers: list[object] = []
    cursor = 0
    restarts = 0
    async with asyncio.timeout(SOON):
        while len(numbers) < 600:
            try:
                reader = await bus.open([subject], cursor, BEGINNING)
            except BusUnavailable:
                continue
            try:
                while len(numbers) < 600:
                    received = await reader.read(50, SOON)
                    numbers += data(received)
                    cursor = received[-1].sequence if received else cursor
                    if len(numbers) > 150 * (restarts + 1):
                        restarts += 1
                        own_server.kill()
                        own_server.start()
            except ReaderLost:
                pass
            await reader.close()

    assert restarts == 3
    assert numbers == list(range(600))


async def test_waiting_for_a_broker_that_is_away_ends_with_a_remedy(
    own_server: NatsServer, own: Connection
) -> None:
    own_server.kill()
    await until(lambda: not own.is_connected)

    with pytest.raises(BusUnavailable, match="is the broker running"):
        await own.ready(0.1)
