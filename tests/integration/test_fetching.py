"""Messages fetched by their places are what a reader would have brought, and are missing only where they are gone."""

import asyncio

import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.client.streams import ensure_streams
from heed.bus.codec.redrive_headers import write_redrive
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, Redrive
from heed.errors import BusUnavailable, StreamReplaced
from heed.settings import StreamSettings
from tests.integration.reading import BEGINNING, collect, data, send
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer

ATTRIBUTES = "ce-id: 1\r\nce-source: /test\r\nce-type: a.b\r\nce-specversion: 1.0\r\n"
RAW = {
    "plain": (ATTRIBUTES.encode(), b'{"n": 1}'),
    "a name that comes twice": (f"{ATTRIBUTES}ce-id: 2\r\n".encode(), b"1"),
    "names in capitals": (ATTRIBUTES.upper().replace("/TEST", "/test").replace("A.B", "a.b").encode(), b"1"),
    "blanks around": (ATTRIBUTES.replace(": ", ":  \t").encode(), b"1"),
    "a name with a blank": (f"{ATTRIBUTES}ce-x y: z\r\n".encode(), b"1"),
    "a name that is not ASCII": (f"{ATTRIBUTES}ce-né: z\r\n".encode(), b"1"),
    "a value that is not UTF-8": (ATTRIBUTES.encode() + b"ce-x: \xff\r\n", b"1"),
    "no colon": (f"{ATTRIBUTES}ce-x\r\n".encode(), b"1"),
    "no attributes": (b"x: y\r\n", b"nothing"),
    "structured": (
        b"Content-Type: application/cloudevents+json\r\n",
        b'{"specversion":"1.0","id":"1","source":"/test","type":"a.b","data":[1]}',
    ),
}


async def test_places_are_filled_in_order_and_what_was_dropped_is_missing(
    bus: JetStreamBus, connection: Connection, namespace: str
) -> None:
    sequences = await send(bus, namespace, *range(5))
    await connection.api("STREAM.MSG.DELETE.HEED", {"seq": sequences[2]})
    places = [sequences[4], sequences[2], sequences[0]]

    found = await bus.fetch(places)

    assert found[1] is None
    assert data([item for item in found if item]) == [4, 0]
    assert [item.sequence for item in found if item] == [sequences[4], sequences[0]]
    assert await bus.fetch([]) == []


@pytest.mark.parametrize("kind", RAW)
async def test_a_message_is_the_same_however_it_is_read(
    bus: JetStreamBus, connection: Connection, namespace: str, kind: str
) -> None:
    headers, payload = RAW[kind]
    subject = names.event_subject(namespace, "a.b")
    await _publish(connection, subject, headers, payload)

    reader = await bus.open([subject], 0, BEGINNING)
    [received] = await collect(reader, 1)
    await reader.close()

    assert await bus.fetch([received.sequence]) == [received]


async def test_a_redriven_letter_is_the_same_however_it_is_read(
    bus: JetStreamBus, connection: Connection, namespace: str
) -> None:
    subject = names.redrive_subject(namespace, "agent", "a.b")
    marks = write_redrive(Redrive("a" * 32, 2, subject=names.event_subject(namespace, "a.b")))
    lines = "".join(f"{name}: {value}\r\n" for name, value in marks.items())
    await _publish(connection, subject, (ATTRIBUTES + lines).encode(), b"1")

    reader = await bus.open([subject], 0, BEGINNING)
    [received] = await collect(reader, 1)
    await reader.close()

    assert received.redrive is not None
    assert await bus.fetch([received.sequence]) == [received]


async def _publish(connection: Connection, subject: str, headers: bytes, payload: bytes) -> None:
    """As no client library would: a block of headers, byte by byte."""
    client = connection.client
    block = b"NATS/1.0\r\n" + headers + b"\r\n"
    head = f"HPUB {subject} {len(block)} {len(block) + len(payload)}\r\n".encode()
    await client._send_command(head + block + payload + b"\r\n")
    await client.flush()

    async def stored() -> bool:
        info = await connection.api("STREAM.INFO.HEED", {"subjects_filter": subject})
        return bool(info["state"].get("subjects"))

    await until(stored)


async def test_many_places_are_fetched_together(bus: JetStreamBus, namespace: str) -> None:
    sequences = []
    for start in range(0, 600, 100):
        sequences += await asyncio.gather(*(_one(bus, namespace, n) for n in range(start, start + 100)))

    found = await asyncio.wait_for(bus.fetch(sequences), SOON)

    assert data([item for item in found if item]) == list(range(600))


async def _one(bus: JetStreamBus, namespace: str, number: int) -> int:
    subject = names.event_subject(namespace, "a.b")
    return await bus.publish(subject, Event(str(number), "/test", "a.b", number))


async def test_places_of_another_stream_are_not_mixed_up_with_those_of_this_one(
    own: Connection, namespace: str
) -> None:
    bus = JetStreamBus(own)
    sequences = await send(bus, namespace, *range(3))
    reader = await bus.open([names.event_subject(namespace, ">")], 0, BEGINNING)
    await reader.close()

    await own.api("STREAM.DELETE.HEED")
    await ensure_streams(own, StreamSettings())
    await send(bus, namespace, 7, 8)

    with pytest.raises(StreamReplaced, match="was created at"):
        await bus.fetch(sequences[:2], reader.created)
    with pytest.raises(StreamReplaced, match="ends at 2, and 3 was read from it"):
        await bus.fetch(sequences)


async def test_a_broker_that_is_away_is_no_reason_to_take_messages_for_dropped(
    own_server: NatsServer, own: Connection, namespace: str
) -> None:
    bus = JetStreamBus(own)
    sequences = await send(bus, namespace, *range(3))
    own_server.kill()
    await until(lambda: not own.is_connected)
    fetching = asyncio.create_task(bus.fetch(sequences))
    await asyncio.sleep(0)
    own_server.start()

    try:
        found = await fetching
    except BusUnavailable:
        await until(lambda: own.is_connected)
        found = await bus.fetch(sequences)

    assert data([item for item in found if item]) == [0, 1, 2]
