"""The queue that fills itself from a reader: when it reads on, what it hands on, how it waits."""

import asyncio

import pytest

from heed.api.status import Cursor
from heed.core.ledger.ledger import Ledger
from heed.engine.read_buffer import READ_BATCH, ReadBuffer
from heed.errors import ReaderLost
from tests.builders.events import received
from tests.patience import PATIENCE
from tests.unit.inmemory import CREATED, Reader, sequences, turns


async def test_it_reads_at_once_and_what_came_is_there() -> None:
    reader = Reader([received(1), received(2)])
    buffer = ReadBuffer(reader)
    assert not buffer.take_arrived()

    await turns()

    assert buffer.take_arrived()
    assert sequences(buffer.unread) == [1, 2]
    await buffer.close()


async def test_each_read_asks_for_so_many_and_waits_so_long() -> None:
    reader = Reader([received(1)])
    buffer = ReadBuffer(reader)
    await turns()
    buffer.take_arrived()
    await turns()

    assert reader.asked == [(500, 60.0)] * 2
    await buffer.close()


@pytest.mark.parametrize(("unread", "reads"), [(READ_BATCH - 1, 2), (READ_BATCH, 1), (READ_BATCH + 1, 1)])
async def test_a_whole_read_is_decided_before_the_next_begins(unread: int, reads: int) -> None:
    reader = Reader([received(number) for number in range(1, unread + 1)])
    buffer = ReadBuffer(reader)
    await turns()

    assert buffer.take_arrived()
    await turns()

    assert len(reader.asked) == reads
    await buffer.close()


async def test_what_came_before_the_reader_was_lost_is_handed_on_first() -> None:
    reader = Reader([received(1)], ReaderLost("a gap"))
    buffer = ReadBuffer(reader)
    await turns()
    assert buffer.take_arrived()
    await turns()

    assert buffer.take_arrived()
    assert sequences(buffer.unread) == [1]

    buffer.unread.clear()
    with pytest.raises(ReaderLost, match="a gap"):
        buffer.take_arrived()
    assert len(reader.asked) == 2
    await buffer.close()


async def test_a_read_that_found_nothing_is_followed_by_another() -> None:
    reader = Reader([], [received(3)])
    buffer = ReadBuffer(reader)
    await turns()

    assert not buffer.take_arrived()
    await turns()
    assert buffer.take_arrived()
    await buffer.close()


@pytest.mark.parametrize(
    ("cursor", "ahead", "released"),
    [
        (Cursor("HEED", 7), False, 7),
        (Cursor("HEED", 7, inbox=9), False, 7),
        (Cursor("HEED", 7, inbox=9), True, 9),
        (Cursor("HEED", 7), True, 0),
    ],
)
async def test_what_is_durable_is_released(cursor: Cursor, ahead: bool, released: int) -> None:
    reader = Reader()
    buffer = ReadBuffer(reader)

    buffer.release(Ledger(cursor=cursor), ahead=ahead)

    assert reader.released == [released]
    await buffer.close()


async def test_it_says_what_its_reader_says() -> None:
    reader = Reader()
    reader.floor, reader.pending, reader.far = 3, 4, 5
    buffer = ReadBuffer(reader)

    assert (buffer.created, buffer.floor, buffer.pending, await buffer.reached()) == (CREATED, 3, 4, 5)
    await buffer.close()


async def test_closed_it_reads_no_more() -> None:
    reader = Reader()
    buffer = ReadBuffer(reader)
    await turns()

    await buffer.close()

    assert reader.closed
    reader.reads.put_nowait([received(1)])
    await turns()
    assert not buffer.unread


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_waits_for_a_read() -> None:
    reader = Reader()
    buffer = ReadBuffer(reader)
    waiting = asyncio.create_task(buffer.wait())
    await turns()
    assert not waiting.done()

    reader.reads.put_nowait([received(1)])

    await asyncio.wait_for(waiting, PATIENCE)
    assert buffer.take_arrived()
    await buffer.close()


async def test_it_waits_no_longer_than_it_is_told() -> None:
    buffer = ReadBuffer(Reader())

    await asyncio.wait_for(buffer.wait(timeout=0.001), PATIENCE)

    await buffer.close()


async def test_an_event_that_is_set_wakes_it_and_leaves_nothing_behind() -> None:
    buffer, wake = ReadBuffer(Reader()), asyncio.Event()
    before = len(asyncio.all_tasks())
    waiting = asyncio.create_task(buffer.wait(wake=wake))
    await turns()
    assert not waiting.done()

    wake.set()

    await asyncio.wait_for(waiting, PATIENCE)
    await turns()
    assert len(asyncio.all_tasks()) == before
    await buffer.close()


async def test_one_that_gives_up_waiting_leaves_nothing_behind() -> None:
    buffer = ReadBuffer(Reader())
    await turns()
    before = len(asyncio.all_tasks())

    await buffer.wait(timeout=0.001, wake=asyncio.Event())
    await turns()

    assert len(asyncio.all_tasks()) == before
    await buffer.close()


async def test_a_task_that_is_done_ends_the_wait() -> None:
    buffer, over = ReadBuffer(Reader()), asyncio.Event()

    async def until_over() -> None:
        await over.wait()

    other = asyncio.create_task(until_over())
    waiting = asyncio.create_task(buffer.wait(until=other))
    await turns()
    assert not waiting.done()

    over.set()

    await asyncio.wait_for(waiting, PATIENCE)
    await buffer.close()


# ── where something is held back ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lost", [True, False])
async def test_a_read_that_waits_for_decisions_wakes_nobody(lost: bool) -> None:
    # Given a read that is over, after which none begins before something is decided
    many = [received(number) for number in range(1, READ_BATCH + 1)]
    buffer = ReadBuffer(Reader(many[:1], ReaderLost("a gap")) if lost else Reader(many))
    await turns()
    buffer.take_arrived()
    await turns()
    buffer.take_arrived()

    # When
    waiting = asyncio.create_task(buffer.wait(wake=(wake := asyncio.Event())))
    await turns()

    # Then
    assert not waiting.done()
    wake.set()
    await asyncio.wait_for(waiting, PATIENCE)
    await asyncio.wait_for(buffer.wait(timeout=0.001), PATIENCE)
    await buffer.close()


async def test_a_reader_that_was_lost_can_be_told_at_once() -> None:
    buffer = ReadBuffer(Reader([received(1)], ReaderLost("a gap")))
    buffer.check()
    await turns()
    buffer.check()
    buffer.take_arrived()
    await turns()

    assert buffer.take_arrived()
    with pytest.raises(ReaderLost):
        buffer.check()
    await buffer.close()
