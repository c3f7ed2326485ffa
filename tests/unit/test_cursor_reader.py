"""The reader of one Agent: what it hands out, what of it is held, and up to where it has seen everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed.bus.consumer import reader
from heed.bus.consumer.reader import CursorReader, format_stream_time
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, MalformedMessage
from heed.errors import ReaderLost
from tests.unit.inmemory import turns
from tests.unit.wire import Clock, Wire, ack, consumer, refusal, stream_info

SUBJECT = "heed.events.demo.a.b"
HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "a.b"}
HELD = 1024 + 1  # for a message with one byte of data


class Read:
    """A reader after sequence 100, and its wire."""

    def __init__(self, wire: Wire, reader: CursorReader) -> None:
        self.wire, self.reader, self.delivered = wire, reader, 0

    async def comes(
        self, sequence: int, subject: str = SUBJECT, pending: int = 0, data: bytes = b"1"
    ) -> None:
        """The consumer delivers a message."""
        self.delivered += 1
        to = ack(sequence, self.delivered, pending)
        await self.wire.play(data, {**HEADERS}, to, subject)

    async def reads(self, limit: int = 10) -> list[int]:
        """The sequences of what is handed out at once."""
        return [item.sequence for item in await asyncio.wait_for(self.reader.read(limit, 0), 60)]


@asynccontextmanager
async def read(*subjects: str, **answers: Any) -> AsyncIterator[Read]:
    """A reader of subjects."""
    wire = Wire({"CONSUMER.CREATE": consumer(floor=100), "STREAM.INFO": stream_info(), **answers})
    opened = await JetStreamBus(wire).open(subjects or [SUBJECT], 100, "")
    yield Read(wire, opened)
    await opened.close()


@pytest.fixture
async def reading() -> AsyncIterator[Read]:
    async with read() as made:
        yield made


async def test_a_message_is_handed_out_decoded_with_its_place_and_time(reading: Read) -> None:
    await reading.comes(101, pending=3)

    assert reading.reader.pending == 4
    [found] = await reading.reader.read(10, 0)

    assert (found.sequence, found.subject, found.at) == (101, SUBJECT, "1970-01-01T00:00:00.000101Z")
    assert found.event == Event("1", "/s", "a.b", 1)
    assert found.redrive is None
    assert reading.reader.pending == 3


async def test_a_message_without_headers_is_no_event(reading: Read) -> None:
    await reading.wire.play(b"1", None, ack(101, 1), SUBJECT)

    [found] = await reading.reader.read(10, 0)

    assert isinstance(found.event, MalformedMessage) and found.event.code == "NotAnEvent"


async def test_a_limit_leaves_the_rest(reading: Read) -> None:
    for sequence in (101, 102, 103):
        await reading.comes(sequence)

    assert [await reading.reads(2), await reading.reads(2)] == [[101, 102], [103]]


async def test_with_nothing_to_read_it_ends_when_it_was_told(
    reading: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    waiting = asyncio.create_task(reading.reader.read(10, 5))
    await turns()
    await clock.on(4.9)
    assert not waiting.done()
    await clock.on(0.2)

    assert await waiting == ()


# ── what is held ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_handed_out_is_held_until_it_is_durable(reading: Read) -> None:
    for sequence in (101, 103, 105):
        await reading.comes(sequence)
    await reading.reads()
    held = []

    for durable in (100, 101, 102, 104, 104, 105, 200):
        reading.reader.release(durable)
        held.append(reading.wire.credits.held // HELD)

    assert held == [3, 2, 2, 1, 1, 0, 0]


async def test_messages_of_others_are_left_out_and_not_held() -> None:
    async with read("heed.*.a", "heed.b.*") as reading:
        for sequence, subject in ((101, "heed.x.a"), (102, "heed.x.y"), (103, "heed.b.y"), (104, "heed.x.y")):
            await reading.comes(sequence, subject)

        assert await reading.reads() == [101, 103]
        assert reading.wire.credits.held == 2 * HELD
        await reading.comes(105, "heed.x.y")
        assert await reading.reads() == []
        assert reading.wire.credits.held == 2 * HELD


# ── up to where everything was seen ─────────────────────────────────────────────────────────────────────────────────


def asked(reading: Read, kind: str) -> list[Any]:
    """What was asked for since the reader was opened."""
    return [item.body for item in reading.wire.asked(kind)]


async def test_at_the_end_of_the_stream_everything_was_seen(reading: Read) -> None:
    await reading.comes(101)
    await reading.reads()
    reading.wire.answers["STREAM.INFO"] = stream_info(last=101)

    assert await reading.reader.reached() == 101
    assert asked(reading, "STREAM.MSG.GET") == []


@pytest.mark.parametrize(("found", "reached"), [(None, 120), (121, 120), (120, 100), (101, 100)])
async def test_what_the_stream_holds_of_others_was_seen_if_none_of_ours_is_there(
    reading: Read, found: int | None, reached: int
) -> None:
    reading.wire.answers["STREAM.INFO"] = stream_info(last=120)
    answer = refusal(10037, 404) if found is None else {"message": {"seq": found}}
    reading.wire.answers["STREAM.MSG.GET"] = answer

    assert await reading.reader.reached() == reached

    assert asked(reading, "STREAM.MSG.GET") == [{"seq": 101, "next_by_subj": SUBJECT}]


async def test_all_subjects_are_looked_for() -> None:
    async with read("a", "b") as reading:
        reading.wire.answers |= {"STREAM.INFO": stream_info(last=120), "STREAM.MSG.GET": refusal(10037, 404)}

        assert await reading.reader.reached() == 120

        assert [item["next_by_subj"] for item in asked(reading, "STREAM.MSG.GET")] == ["a", "b"]


@pytest.mark.parametrize(("first", "consumer_asked"), [(101, 0), (102, 1)])
@pytest.mark.parametrize("delivered", [0, 1])
async def test_where_the_stream_dropped_what_was_not_read_the_consumer_must_have_sent_all(
    reading: Read, first: int, consumer_asked: int, delivered: int
) -> None:
    reading.wire.answers |= {
        "STREAM.INFO": stream_info(first, 120),
        "STREAM.MSG.GET": refusal(10037, 404),
        "CONSUMER.INFO": consumer(delivered=delivered),
    }

    reached = await reading.reader.reached()

    assert reached == (100 if consumer_asked and delivered else 120)
    assert len(asked(reading, "CONSUMER.INFO")) == consumer_asked


async def test_a_stream_that_is_gone_loses_the_reader(reading: Read) -> None:
    reading.wire.answers["STREAM.INFO"] = refusal(10059, 404)

    with pytest.raises(ReaderLost, match="there is no stream HEED"):
        await reading.reader.reached()


async def test_a_reader_that_is_lost_has_reached_nothing(reading: Read) -> None:
    questions = len(asked(reading, "STREAM.INFO"))
    await reading.wire.status("503")

    with pytest.raises(ReaderLost):
        await reading.reader.reached()
    assert len(asked(reading, "STREAM.INFO")) == questions


async def test_a_reader_that_is_lost_meanwhile_has_reached_nothing(reading: Read) -> None:
    async def ends(_: Any) -> dict[str, Any]:
        await reading.wire.status("503")
        return refusal(10037, 404)

    reading.wire.answers |= {"STREAM.INFO": stream_info(last=120), "STREAM.MSG.GET": ends}

    with pytest.raises(ReaderLost):
        await reading.reader.reached()


class Gate:
    """A turn that does not come until it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def take(self) -> None:
        await self.open.wait()


async def test_what_is_being_decoded_was_not_handed_out(
    reading: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(reader, "turns", lambda: gate)
    for sequence in (101, 102):
        await reading.comes(sequence)
    reading.wire.answers["STREAM.INFO"] = stream_info(last=102)
    waiting = asyncio.create_task(reading.reader.read(10, 0))
    await turns()

    assert await reading.reader.reached() == 0
    gate.open.set()
    assert [item.sequence for item in await waiting] == [101, 102]
    assert await reading.reader.reached() == 102


@pytest.mark.parametrize(
    ("nanoseconds", "time"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_001_000, "1970-01-01T00:00:00.001001Z"),
        (1_769_860_800_999_999_999, "2026-01-31T12:00:00.999999Z"),
    ],
)
def test_times_are_written_with_six_digits_cut_off(nanoseconds: int, time: str) -> None:
    assert format_stream_time(nanoseconds) == time
