"""Reading from a cursor: in order, each event once, woken at once."""

import asyncio
from datetime import datetime

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, MalformedMessage
from tests.integration.reading import BEGINNING, collect, data, send
from tests.integration.waiting import SOON


async def test_reading_begins_right_after_the_cursor(bus: JetStreamBus, namespace: str) -> None:
    sequences = await send(bus, namespace, 0, 1, 2, 3)

    reader = await bus.open([names.event_subject(namespace, ">")], sequences[1], BEGINNING)
    received = await collect(reader, 2)
    await reader.close()

    assert [item.sequence for item in received] == sequences[2:]
    assert data(received) == [2, 3]


async def test_without_a_cursor_reading_begins_at_a_time(bus: JetStreamBus, namespace: str) -> None:
    subjects = [names.event_subject(namespace, ">")]
    await send(bus, namespace, 0, 1, 2)
    reader = await bus.open(subjects, 0, BEGINNING)
    times = [item.at for item in await collect(reader, 3)]
    await reader.close()

    reader = await bus.open(subjects, 0, times[1])
    received = await collect(reader, 2)
    await reader.close()

    assert data(received) == [1, 2]
    assert times == sorted(times)
    for time in times:
        assert time.endswith("Z")
        assert len(time) == len("2026-01-31T12:00:00.000000Z")
        assert datetime.fromisoformat(time).tzinfo is not None


async def test_a_time_is_where_it_is_also_where_one_of_the_subjects_is_new(
    bus: JetStreamBus, namespace: str
) -> None:
    (before,) = await send(bus, namespace, 0, type_="a.old")
    sequences = await send(bus, namespace, 1, 2, 3, type_="a.old")
    sequences += await send(bus, namespace, 4, type_="a.new")
    sequences += await send(bus, namespace, 5, type_="a.old")
    reader = await bus.open([names.event_subject(namespace, ">")], before, BEGINNING)
    (first, *_) = await collect(reader, 4)
    await reader.close()

    subjects = [names.event_subject(namespace, type_) for type_ in ("a.old", "a.new")]
    reader = await bus.open(subjects, 0, first.at)
    received = await collect(reader, reader.pending)
    await reader.close()

    assert [item.sequence for item in received] == sequences


async def test_an_idle_reader_gets_a_new_event_at_once(bus: JetStreamBus, namespace: str) -> None:
    reader = await bus.open([names.event_subject(namespace, ">")], 0, BEGINNING)
    assert await reader.read(10, 0.05) == ()

    waiting = asyncio.create_task(reader.read(10, 60))
    await asyncio.sleep(0)
    await send(bus, namespace, 7)
    received = await asyncio.wait_for(waiting, SOON)
    await reader.close()

    assert data(received) == [7]


async def test_a_limit_holds_back_the_rest_for_the_next_read(bus: JetStreamBus, namespace: str) -> None:
    await send(bus, namespace, *range(5))
    reader = await bus.open([names.event_subject(namespace, ">")], 0, BEGINNING)

    sizes, numbers = list[int](), list[object]()
    while len(numbers) < 5:
        received = await reader.read(2, SOON)
        sizes.append(len(received))
        numbers += data(received)
    await reader.close()

    assert max(sizes) <= 2
    assert numbers == [0, 1, 2, 3, 4]


async def test_overlapping_patterns_deliver_each_event_once_and_none_that_was_not_asked_for(
    bus: JetStreamBus, namespace: str
) -> None:
    for number, type_ in enumerate(["a.b", "a.c", "x.b", "x.y", "a.b"]):
        await send(bus, namespace, number, type_=type_)

    patterns = [names.event_subject(namespace, pattern) for pattern in ("a.*", "*.b", "a.b")]
    reader = await bus.open(patterns, 0, BEGINNING)
    received = await collect(reader, 4)
    assert await reader.read(10, 0.05) == ()
    await reader.close()

    assert data(received) == [0, 1, 2, 4]


async def test_a_malformed_message_is_handed_over_as_such(
    bus: JetStreamBus, connection: Connection, namespace: str
) -> None:
    await connection.request(names.event_subject(namespace, "a.b"), b"no event", {"Status": "503"})
    await send(bus, namespace, 1)

    reader = await bus.open([names.event_subject(namespace, "a.b")], 0, BEGINNING)
    bad, good = await collect(reader, 2)
    await reader.close()

    assert isinstance(bad.event, MalformedMessage)
    assert bad.event.code == "NotAnEvent"
    assert data([good]) == [1]


async def test_large_messages_come_through_although_requests_are_limited_in_bytes(
    bus: JetStreamBus, namespace: str
) -> None:
    subject = names.event_subject(namespace, "a.b")
    for number in range(20):
        await bus.publish(subject, Event(str(number), "/test", "a.b", "x" * 900_000))

    reader = await bus.open([subject], 0, BEGINNING)
    received = await collect(reader, 20)
    await reader.close()

    assert [item.event.id for item in received if isinstance(item.event, Event)] == [
        str(n) for n in range(20)
    ]
