"""A reader is lost rather than wrong, and the next one goes on from the cursor."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from heed import names
from heed.bus.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.errors import BusUnavailable, ReaderLost, StreamConflict
from tests.integration.conftest import connected
from tests.integration.reading import BEGINNING, collect, data, send
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer


@pytest.fixture
async def own(own_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server of the test's own."""
    async with connected(own_server) as connection:
        yield connection


async def test_a_missing_message_loses_the_reader(own: Connection, namespace: str) -> None:
    bus = JetStreamBus(own)
    reader = await bus.open([names.event_subject(namespace, ">")], 0, BEGINNING)
    # Someone else takes the first message of the reader's consumer: for the reader, it went missing on the way.
    [consumer] = (await own.api("CONSUMER.NAMES.HEED"))["consumers"]
    thief = await own.client.subscribe(own.client.new_inbox())
    await own.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.HEED.{consumer}", reply=thief.subject)
    sequences = await send(bus, namespace, 0)
    await thief.next_msg(timeout=SOON)
    await thief.unsubscribe()

    await send(bus, namespace, 1, 2)
    with pytest.raises(ReaderLost, match="message 1 of its consumer is missing, 2 came"):
        await reader.read(10, SOON)
    await reader.close()

    reader = await bus.open([names.event_subject(namespace, ">")], sequences[0] - 1, BEGINNING)
    assert data(await collect(reader, 3)) == [0, 1, 2]
    await reader.close()


async def test_a_deleted_consumer_loses_the_reader_at_once(own: Connection, namespace: str) -> None:
    reader = await JetStreamBus(own).open([names.event_subject(namespace, ">")], 0, BEGINNING)
    waiting = asyncio.create_task(reader.read(10, 60))
    await asyncio.sleep(0)
    [consumer] = (await own.api("CONSUMER.NAMES.HEED"))["consumers"]

    await own.api(f"CONSUMER.DELETE.HEED.{consumer}")

    with pytest.raises(ReaderLost):
        await asyncio.wait_for(waiting, SOON)
    await reader.close()


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
    async with asyncio.timeout(60):
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


def encoded(number: int) -> tuple[bytes, str, dict[str, str]]:
    """Payload, reply and headers of an event."""
    headers = {"ce-id": str(number), "ce-source": "/test", "ce-type": "a.b", "ce-specversion": "1.0"}
    return str(number).encode(), "", headers


async def test_expired_events_are_skipped_and_logged(
    own: Connection, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = JetStreamBus(own)
    sequences = await send(bus, namespace, 0, 1, 2, 3)
    await own.api("STREAM.PURGE.HEED", {"seq": sequences[2]})

    with caplog.at_level(logging.INFO):
        reader = await bus.open([names.event_subject(namespace, ">")], sequences[0], BEGINNING)
    received = await collect(reader, 2)
    await reader.close()

    assert data(received) == [2, 3]
    [record] = [item for item in caplog.records if item.name == "heed.bus.jetstream"]
    assert vars(record)["expired"] == 1


async def test_a_cursor_beyond_the_end_says_that_the_stream_was_made_anew(
    own: Connection, namespace: str
) -> None:
    bus = JetStreamBus(own)
    [sequence] = await send(bus, namespace, 0)

    with pytest.raises(StreamConflict, match=rf"stream HEED ends at {sequence}, but {sequence + 5} was read"):
        await bus.open([names.event_subject(namespace, ">")], sequence + 5, BEGINNING)

    reader = await bus.open([names.event_subject(namespace, ">")], sequence, BEGINNING)
    await reader.close()


async def test_waiting_for_a_broker_that_is_away_ends_with_a_remedy(
    own_server: NatsServer, own: Connection
) -> None:
    own_server.kill()
    await until(lambda: not own.is_connected)

    with pytest.raises(BusUnavailable, match="is the broker running"):
        await own.ready(0.1)
