"""Events that a stream drops before they were read: always noticed, never where they were somebody else's."""

import asyncio
import itertools
from contextlib import suppress
from typing import Any

import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.consumer import loss_detector, pull
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, Received
from heed.errors import ReaderLost
from tests.integration.conftest import connected
from tests.integration.reading import (
    BEGINNING,
    after_the_consumer,
    collect,
    data,
    encoded,
    read_until_lost,
    send,
)
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer

FOREIGN = "someone-else"


@pytest.fixture
def bus(own: Connection) -> JetStreamBus:
    return JetStreamBus(own)


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has no more than ten messages in hand."""
    monkeypatch.setattr(pull, "PULL_BATCH", 5)


async def flood(connection: Connection, namespace: str, numbers: range) -> None:
    """Publish as fast as the broker takes it, without waiting for it to say so."""
    subject = names.event_subject(namespace, "a.b")
    for number in numbers:
        await connection.client.publish(subject, *encoded(number))
    await connection.client.flush()


async def flood_beside_others(server: NatsServer, namespace: str, total: int, others: int) -> None:
    """Flood a namespace with `total` events, and with each hundred of them publish `others` hundreds in another one."""
    async with connected(server) as publisher:
        for start in range(0, total, 100):
            await flood(publisher, namespace, range(start, start + 100))
            for _ in range(others):
                await flood(publisher, FOREIGN, range(100))


async def purge(connection: Connection, before: int) -> None:
    """Drop everything before a sequence, as limits would."""
    await connection.api("STREAM.PURGE.HEED", {"seq": before})


async def limit(connection: Connection, messages: int) -> None:
    """Let the stream hold no more than so many messages."""
    config = (await connection.api("STREAM.INFO.HEED"))["config"]
    await connection.api("STREAM.UPDATE.HEED", {**config, "max_msgs": messages})


# ── before a reader is opened ───────────────────────────────────────────────────────────────────────────────────────


async def test_what_expired_before_it_was_opened_is_shown_by_the_readers_floor(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, 0, 1, 2, 3)
    await purge(own, sequences[2])

    reader = await bus.open(subjects, sequences[0], BEGINNING)

    assert reader.floor == sequences[1], "one event lies between the cursor and what can be read"
    assert data(await collect(reader, 2)) == [2, 3]
    await reader.close()


async def test_limits_of_the_stream_move_the_floor_too(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, *range(10))
    await limit(own, 4)

    reader = await bus.open(subjects, sequences[0], BEGINNING)

    assert reader.floor == sequences[5]
    assert await bus.bounds() == (sequences[6], sequences[9])
    await reader.close()


async def test_a_stream_in_which_nothing_expired_has_its_floor_at_the_cursor(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, 0, 1)
    await send(bus, FOREIGN, *range(20))

    for cursor in sequences:
        reader = await bus.open(subjects, cursor, BEGINNING)
        assert reader.floor == cursor
        await reader.close()


async def test_an_emptied_stream_still_tells_where_it_was(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, 0, 1, 2)
    await own.api("STREAM.PURGE.HEED")

    reader = await bus.open(subjects, sequences[0], BEGINNING)

    assert reader.floor == sequences[2]
    assert await bus.bounds() == (sequences[2] + 1, sequences[2])
    assert await reader.reached() == sequences[2]
    await reader.close()


async def test_what_is_dropped_while_a_reader_is_being_opened_lies_before_its_floor(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = await send(bus, namespace, *range(10))
    after_the_consumer(own, monkeypatch, lambda connection: purge(connection, sequences[6]))

    reader = await bus.open(subjects, sequences[1], BEGINNING)

    assert reader.floor == sequences[5]
    assert data(await collect(reader, 4)) == [6, 7, 8, 9]
    await reader.close()


async def test_others_events_that_are_dropped_while_a_reader_is_being_opened_are_no_loss(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [cursor] = await send(bus, namespace, 0)
    others = await send(bus, FOREIGN, *range(10))
    after_the_consumer(own, monkeypatch, lambda connection: purge(connection, others[8]))

    reader = await bus.open(subjects, cursor, BEGINNING)
    await purge(own, others[9])
    await send(bus, namespace, 1)

    assert reader.floor == cursor
    assert data(await collect(reader, 1)) == [1]
    await reader.close()


# ── while a reader lags behind ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("others", [0, 3], ids=["alone", "on a shared stream"])
async def test_what_is_dropped_before_a_lagging_reader_gets_it_loses_the_reader_at_that_place(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], others: int
) -> None:
    # Given a reader in the middle of a backlog
    sequences = []
    for number in range(40):
        sequences += await send(bus, namespace, number)
        await flood(own, FOREIGN, range(others))
    reader = await bus.open(subjects, 0, BEGINNING)
    read = await collect(reader, 3)

    # When the stream drops what it has not come to yet
    await purge(own, sequences[30])

    # Then it hands out what came before the hole, and nothing from behind it
    more, why = await read_until_lost(reader)
    read += more
    assert "dropped" in why
    assert data(read) == list(range(len(read)))
    assert 3 <= len(read) <= 13
    await reader.close()

    # And the next one shows where the hole ends
    reader = await bus.open(subjects, read[-1].sequence, BEGINNING)
    assert reader.floor == sequences[30] - 1 > read[-1].sequence
    assert data(await collect(reader, 10)) == list(range(30, 40))
    await reader.close()


@pytest.mark.usefixtures("small_requests")
async def test_new_events_do_not_hide_that_old_ones_were_dropped(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, *range(40))
    reader = await bus.open(subjects, 0, BEGINNING)
    read = await collect(reader, 3)

    # The consumer has as many to deliver as before, and more.
    await send(bus, namespace, *range(40, 90))
    await purge(own, sequences[30])

    more, why = await read_until_lost(reader)
    assert "dropped" in why
    assert data(read + more) == list(range(len(read) + len(more)))
    await reader.close()


@pytest.mark.usefixtures("small_requests")
async def test_a_hole_is_noticed_although_nothing_comes_after_it(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    await send(bus, namespace, *range(40))
    reader = await bus.open(subjects, 0, BEGINNING)
    read = await collect(reader, 3)

    await own.api("STREAM.PURGE.HEED")

    more, why = await read_until_lost(reader, patience=0.2)
    assert "dropped" in why
    assert data(read + more) == list(range(len(read) + len(more)))
    await reader.close()


@pytest.mark.usefixtures("small_requests")
async def test_a_single_event_deleted_by_hand_loses_the_reader_and_is_no_expiry(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, *range(40))
    reader = await bus.open(subjects, 0, BEGINNING)
    read = await collect(reader, 3)

    await own.api("STREAM.MSG.DELETE.HEED", {"seq": sequences[25]})
    await own.api("STREAM.MSG.DELETE.HEED", {"seq": sequences[26]})

    more, why = await read_until_lost(reader)
    assert "dropped 2 messages" in why
    read += more
    reader = await bus.open(subjects, read[-1].sequence, BEGINNING)
    assert reader.floor == read[-1].sequence
    assert data(await collect(reader, 38 - len(read))) == [*range(len(read), 25), *range(27, 40)]
    await reader.close()


async def test_a_reader_that_did_not_ask_for_a_while_does_not_trust_a_jump(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that is up to date, and whose request runs out while nobody reads
    monkeypatch.setattr(pull, "NEWS_EXPIRY_S", 0.05)
    monkeypatch.setattr(loss_detector, "MAX_UNATTENDED_S", 0.05)
    await send(bus, namespace, 0)
    reader = await bus.open(subjects, 0, BEGINNING)
    assert data(await reader.read(10, SOON)) == [0]
    await asyncio.sleep(0.3)

    # When events come and go meanwhile
    sequences = await send(bus, namespace, 1, 2, 3)
    await purge(own, sequences[2])

    # Then the next one is not taken for the next one
    _, why = await read_until_lost(reader)
    assert "dropped" in why
    await reader.close()


@pytest.mark.parametrize("others", [0, 2], ids=["alone", "on a shared stream"])
async def test_in_a_full_stream_under_a_flood_every_event_is_read_once_or_counted(
    own_server: NatsServer,
    own: Connection,
    bus: JetStreamBus,
    namespace: str,
    subjects: list[str],
    others: int,
) -> None:
    # Given a stream that is too small for what comes
    await limit(own, 3000)
    total = 40_000

    # When a reader that now and then is left behind reads on from its cursor whenever it is lost
    publishing = asyncio.create_task(flood_beside_others(own_server, namespace, total, others))
    read: list[Received] = []
    expired: list[range] = []
    cursor = pauses = 0

    async def is_left_behind() -> bool:
        return publishing.done() or (await bus.bounds())[0] > cursor + 2000

    async with asyncio.timeout(SOON):
        while not (read and data(read[-1:]) == [total - 1]):
            reader = await bus.open(subjects, cursor, BEGINNING)
            if cursor:
                expired.append(range(cursor + 1, reader.floor + 1))
            cursor = max(cursor, reader.floor)
            with suppress(ReaderLost):
                while not (read and data(read[-1:]) == [total - 1]):
                    read += await reader.read(100, SOON)
                    cursor = max(cursor, read[-1].sequence if read else 0)
                    if len(read) // 5000 > pauses:
                        pauses += 1
                        await until(is_left_behind)
            await reader.close()
    await publishing

    # Then nothing came twice or out of order, and whatever is missing lies where something is said to have expired
    sequences = [item.sequence for item in read]
    assert sequences == sorted(set(sequences))
    numbers = dict(zip(sequences, [int(str(number)) for number in data(read)], strict=True))
    assert len(read) < total, "the reader was not slow enough for this test"
    holes = [
        (one, other) for one, other in itertools.pairwise(sequences) if numbers[other] != numbers[one] + 1
    ]
    assert holes
    for one, other in holes:
        lost = sum(len(range(max(one + 1, gone.start), min(other, gone.stop))) for gone in expired)
        assert lost >= numbers[other] - numbers[one] - 1, f"events are missing between {one} and {other}"
    first = numbers[sequences[0]]
    if not others:
        assert first + len(read) + sum(map(len, expired)) == total, (
            "on a stream of its own the count is exact"
        )


# ── no false alarm ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_that_is_up_to_date_is_not_disturbed_by_a_stream_that_turns_over_with_others_events(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that is waiting for its events
    await limit(own, 50)
    reader = await bus.open(subjects, 0, BEGINNING)
    asked = _count(monkeypatch, "STREAM.INFO")
    reading = asyncio.create_task(reader.read(10, 60))

    # When the stream drops everything again and again, but never one of its own before it is read
    for number in range(20):
        await flood(own, FOREIGN, range(200))
        await send(bus, namespace, number)
        assert data(await asyncio.wait_for(reading, SOON)) == [number]
        reading = asyncio.create_task(reader.read(10, 60))
        await flood(own, FOREIGN, range(200))

    # Then there is no alarm, and not even a question
    assert asked == []
    reading.cancel()
    await reader.close()


async def test_a_lagging_reader_on_a_busy_stream_reads_all_and_asks_little(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(0, 3000, 2):
        await flood(own, namespace, range(start, start + 2))
        await flood(own, FOREIGN, range(3))
    reader = await bus.open(subjects, 0, BEGINNING)
    asked = _count(monkeypatch, "STREAM.INFO")

    assert data(await collect(reader, 3000)) == list(range(3000))

    assert 0 < len(asked) <= 3000 / 50
    await reader.close()


def _count(monkeypatch: pytest.MonkeyPatch, prefix: str) -> list[str]:
    api, asked = Connection.api, []

    async def counting(self: Connection, subject: str, request: Any = None) -> dict[str, Any]:
        answer = await api(self, subject, request)
        if subject.startswith(prefix):
            asked.append(subject)
        return answer

    monkeypatch.setattr(Connection, "api", counting)
    return asked


async def test_a_reader_at_the_moving_end_of_a_full_stream_gets_its_events_and_raises_one_alarm(
    own_server: NatsServer, own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    # Given a full stream that others turn over without end, and a cursor that has fallen off it
    await limit(own, 2000)
    [cursor] = await send(bus, namespace, 0)
    turning = asyncio.Event()

    async def turn_over() -> None:
        async with connected(own_server) as publisher:
            while not turning.is_set():
                await flood(publisher, FOREIGN, range(20))

    async with asyncio.timeout(SOON):
        flooding = asyncio.create_task(turn_over())
        await until(lambda: _begins_after(bus, cursor))

        # When it reads on, and events come for it now and then
        floors, read = list[int](), list[Received]()
        while len(read) < 20:
            reader = await bus.open(subjects, cursor, BEGINNING)
            cursor = max(cursor, reader.floor)
            floors.append(reader.floor)
            with suppress(ReaderLost):
                while len(read) < 20:
                    sending = asyncio.create_task(send(bus, namespace, len(read) + 1))
                    read += await reader.read(10, SOON)
                    cursor = read[-1].sequence
                    await sending
            await reader.close()
        turning.set()
        await flooding

    # Then it gets them all, and was lost because of others' events at no time
    assert data(read) == list(range(1, 21))
    assert len(floors) == 1


async def _begins_after(bus: JetStreamBus, sequence: int) -> bool:
    return (await bus.bounds())[0] > sequence + 1


async def test_a_backlog_in_the_middle_of_a_turning_stream_is_read(
    own_server: NatsServer, own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    # Given a cursor far behind a full stream that turns over, with a backlog that is far from its old end
    await limit(own, 20_000)
    [cursor] = await send(bus, namespace, 0)
    await flood(own, FOREIGN, range(19_000))
    for number in range(1, 101):
        await flood(own, FOREIGN, range(5))
        await flood(own, namespace, range(number, number + 1))
    turning = asyncio.Event()

    async def turn_over() -> None:
        async with connected(own_server) as publisher:
            while not turning.is_set():
                await flood(publisher, FOREIGN, range(5))
                await asyncio.sleep(0.001)

    # When it is read, then it comes, although the stream drops something every moment
    async with asyncio.timeout(SOON):
        flooding = asyncio.create_task(turn_over())
        await until(lambda: _begins_after(bus, cursor))
        read: list[Received] = []
        opened = 0
        while len(read) < 100:
            reader = await bus.open(subjects, cursor, BEGINNING)
            opened += 1
            with suppress(ReaderLost):
                while len(read) < 100:
                    read += await reader.read(10, SOON)
                    cursor = read[-1].sequence
            await reader.close()
        turning.set()
        await flooding
    assert data(read) == list(range(1, 101))
    assert opened <= 3


# ── how far a reader has come ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_idle_reader_has_reached_the_end_of_the_stream_whoever_else_filled_it(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, 0, 1)
    reader = await bus.open(subjects, 0, BEGINNING)
    await collect(reader, 2)
    assert await reader.reached() == sequences[1]

    last = (await send(bus, FOREIGN, *range(7)))[-1]

    assert await reader.reached() == last
    await reader.close()


async def test_a_reader_that_never_got_anything_has_reached_the_end_too(
    own: Connection, bus: JetStreamBus, subjects: list[str]
) -> None:
    last = (await send(bus, FOREIGN, *range(7)))[-1]
    reader = await bus.open(subjects, 0, BEGINNING)

    assert await reader.reached() == last
    await reader.close()


async def test_what_was_not_handed_out_was_not_reached(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    sequences = await send(bus, namespace, *range(6))
    reader = await bus.open(subjects, sequences[0], BEGINNING)
    assert await reader.reached() == sequences[0]

    await reader.read(2, SOON)
    await send(bus, FOREIGN, *range(7))

    assert await reader.reached() == sequences[2]
    await collect(reader, 3)
    assert await reader.reached() > sequences[5]
    await reader.close()


async def test_what_is_in_the_stream_and_not_yet_with_the_reader_was_not_reached(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    [sequence] = await send(bus, namespace, 0)
    reader = await bus.open([*subjects, names.inbox_subject(namespace, "a", ">")], sequence, BEGINNING)

    await bus.publish(names.inbox_subject(namespace, "a", "x"), Event("1", "/test", "x"))
    await send(bus, FOREIGN, 1)

    assert await reader.reached() == sequence, "the reader was never asked to read"
    await reader.close()


async def test_an_idle_reader_on_a_stream_that_turned_over_has_reached_its_end(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    await limit(own, 50)
    await send(bus, namespace, 0)
    reader = await bus.open(subjects, 0, BEGINNING)
    await collect(reader, 1)
    reading = asyncio.create_task(reader.read(10, 60))
    await asyncio.sleep(0)

    last = (await send(bus, FOREIGN, *range(200)))[-1]

    assert await reader.reached() == last
    await send(bus, namespace, 1)
    assert data(await asyncio.wait_for(reading, SOON)) == [1]
    await reader.close()


@pytest.mark.usefixtures("small_requests")
async def test_a_reader_whose_events_were_dropped_has_reached_nothing(
    own: Connection, bus: JetStreamBus, namespace: str, subjects: list[str]
) -> None:
    await send(bus, namespace, *range(40))
    reader = await bus.open(subjects, 0, BEGINNING)
    assert len(await reader.read(2, SOON)) == 2
    await until(lambda: _has_delivered(own, 10))

    await own.api("STREAM.PURGE.HEED")

    assert await reader.reached() == 2
    await collect(reader, 8)
    with pytest.raises(ReaderLost, match="dropped"):
        await reader.reached()
    await reader.close()


async def _has_delivered(connection: Connection, count: int) -> bool:
    [consumer] = (await connection.api("CONSUMER.NAMES.HEED"))["consumers"]
    info = await connection.api(f"CONSUMER.INFO.HEED.{consumer}")
    return int(info["delivered"]["consumer_seq"]) == count


async def test_a_lost_reader_says_so(own: Connection, bus: JetStreamBus, subjects: list[str]) -> None:
    reader = await bus.open(subjects, 0, BEGINNING)
    await own.api("STREAM.DELETE.HEED")

    with pytest.raises(ReaderLost):
        await reader.reached()
    await reader.close()
