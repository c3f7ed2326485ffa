"""A reader that must miss nothing: where it begins, what it asks the stream for, and when it is up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache
from heed.bus.consumer.pull import PullConsumer
from heed.errors import BusUnavailable, ReaderLost, StreamMissing
from tests.unit.inmemory import turns
from tests.unit.pulls import WANTED, Reading, news
from tests.unit.wire import STREAM, Clock, Wire, consumer, refusal, stream_info

BEFORE = StreamBounds("then", 1, 100)


@asynccontextmanager
async def watched(pending: int = 0, floor: int = 100, **info: Any) -> AsyncIterator[Reading]:
    """A reader that is watched for losses, of a stream that holds 1 to 100."""
    wire = Wire({"CONSUMER.CREATE": consumer(pending, floor), "STREAM.INFO": stream_info(**info)})
    made = Reading(wire, await PullConsumer.open(wire, STREAM, WANTED, StreamBoundsCache(wire, STREAM)))
    yield made
    await made.pull.close()
    if made.taking is not None:
        await asyncio.gather(made.taking, return_exceptions=True)


async def begun(reading: Reading) -> None:
    await reading.pull.begin(StreamBoundsCache(reading.wire, STREAM), BEFORE)


def surveys(reading: Reading) -> int:
    """How often the stream was asked what it holds."""
    return len(reading.wire.asked("STREAM.INFO"))


async def test_it_is_asked_for_news_before_the_stream_is_looked_at() -> None:
    async with watched() as reading:
        await begun(reading)

        kinds = [item.subject.removeprefix("$JS.API.").split(".HEED")[0] for item in reading.wire.sent]
        assert kinds == ["CONSUMER.CREATE", "CONSUMER.MSG.NEXT", "STREAM.INFO"]
        assert reading.asked == [news(reading.wire)]
        assert (reading.pull.floor, reading.pull.reached) == (100, 100)


@pytest.mark.parametrize("pending", [0, 3])
async def test_the_first_message_is_waited_for_a_second_where_there_is_one(
    pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with watched(pending) as reading:
        beginning = asyncio.create_task(begun(reading))
        await turns()
        assert surveys(reading) == (0 if pending else 1)
        await clock.on(0.9)
        assert beginning.done() is not bool(pending)
        await clock.on(0.2)
        assert beginning.done() and surveys(reading) == 1


async def test_what_came_first_is_not_waited_for() -> None:
    async with watched(3) as reading:
        await reading.wire.message(101, 1, 2)
        beginning = asyncio.create_task(begun(reading))
        await turns()

        assert beginning.done()


async def test_one_that_comes_ends_the_waiting() -> None:
    async with watched(3) as reading:
        beginning = asyncio.create_task(begun(reading))
        await turns()
        await reading.wire.message(101, 1, 2)

        assert beginning.done()


async def test_one_that_is_lost_meanwhile_waits_for_nothing_and_does_not_begin() -> None:
    async with watched(3) as reading:
        await reading.wire.status("503")
        beginning = asyncio.create_task(begun(reading))
        await turns()

        assert beginning.done()
        with pytest.raises(ReaderLost, match="its consumer is gone"):
            await beginning


async def test_a_stream_that_was_made_anew_meanwhile_is_another_one() -> None:
    async with watched(created="later") as reading:
        with pytest.raises(BusUnavailable) as raised:
            await begun(reading)

    assert str(raised.value) == "stream HEED was replaced just now; trying again will help"


@pytest.mark.parametrize(("first", "floor"), [(1, 100), (101, 100), (120, 119)])
async def test_it_begins_where_the_stream_does_if_that_is_later(first: int, floor: int) -> None:
    async with watched(7, first=first, last=130) as reading:
        await reading.wire.message(125, 1, 6)
        await begun(reading)

        assert (reading.pull.floor, reading.pull.reached) == (floor, floor)
        assert [item.sequence for item in await reading.take()] == [125]
        assert reading.pull.reached == 125


async def test_before_it_has_begun_nothing_can_be_taken() -> None:
    async with watched(2) as reading:
        await reading.wire.message(101, 1, 1)
        taking = await reading.waiting()
        assert not taking.done()
        assert reading.pull.arrived == 1


# ── gaps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_that_waits_for_news_needs_not_ask_whose_the_messages_between_were() -> None:
    async with watched() as reading:
        await begun(reading)

        await reading.wire.message(140, 1)
        assert [item.sequence for item in await reading.take()] == [140]
        await reading.wire.message(150, 2)
        assert [item.sequence for item in await reading.take()] == [150]

        assert surveys(reading) == 1


async def test_one_that_has_more_to_come_asks_before_it_hands_out_what_is_behind_a_gap() -> None:
    async with watched(2) as reading:
        await reading.wire.message(101, 1, 1)
        await begun(reading)
        assert [item.sequence for item in await reading.take()] == [101]

        await reading.wire.message(140, 2)

        assert [item.sequence for item in await reading.take()] == [140]
        assert surveys(reading) == 2


async def test_what_was_dropped_before_it_came_loses_the_reader_with_how_many() -> None:
    async with watched(5) as reading:
        await reading.wire.message(101, 1, 4)
        await begun(reading)
        await reading.take()

        await reading.wire.message(140, 2, 1)
        await turns()

        with pytest.raises(ReaderLost) as lost:
            reading.pull.check()
        assert lost.value.gone == 2
        assert reading.why() == "after 101 the stream dropped 2 messages before they were read"


@pytest.mark.parametrize(("first", "lost"), [(102, False), (103, True)])
async def test_when_nothing_comes_that_should_the_stream_is_asked(
    first: int, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with watched(5) as reading:
        await reading.wire.message(101, 1, 4)
        await begun(reading)
        await reading.take()
        reading.wire.answers["STREAM.INFO"] = stream_info(first, 200)
        taking = await reading.waiting(timeout=1)
        await clock.on(1.1)

        if lost:
            words = "the stream dropped messages before they were read: it begins with 103, 101 was the last one read"
            assert reading.why() == words
            with pytest.raises(ReaderLost):
                await taking
        else:
            assert await taking == []


# ── whether it has seen all ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("sent", "seen"), [(1, True), (2, False), (0, False)])
async def test_all_is_seen_when_the_consumer_has_sent_no_more_than_came(sent: int, seen: bool) -> None:
    async with watched() as reading:
        await begun(reading)
        await reading.wire.message(101, 1)
        await reading.take()
        reading.wire.answers["CONSUMER.INFO"] = consumer(delivered=sent)

        assert await reading.pull.has_seen_all() is seen


async def test_what_was_not_taken_was_not_seen() -> None:
    async with watched() as reading:
        await begun(reading)
        await reading.wire.message(101, 1)

        assert not await reading.pull.has_seen_all()
        assert reading.wire.asked("CONSUMER.INFO") == []


async def test_one_that_has_more_to_come_may_have_missed_what_was_dropped() -> None:
    async with watched(2) as reading:
        await reading.wire.message(101, 1, 1)
        await begun(reading)
        await reading.take()

        with pytest.raises(ReaderLost):
            await reading.pull.has_seen_all()
        assert reading.why() == "the stream dropped messages, perhaps before they were read"


async def test_one_that_nobody_watches_cannot_know_it(behind: Reading) -> None:
    with pytest.raises(ReaderLost, match="perhaps before they were read"):
        await behind.pull.has_seen_all()


async def test_a_stream_that_is_gone_is_no_place_to_begin() -> None:
    async with watched() as reading:
        reading.wire.answers["STREAM.INFO"] = refusal(10059, 404)
        with pytest.raises(StreamMissing, match="there is no stream HEED"):
            await begun(reading)
