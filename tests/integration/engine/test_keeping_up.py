"""A stream that drops its past, or that is not the same stream any more: noticed, counted, and no wild replay."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from heed import names
from heed.bus.client.streams import ensure_streams
from heed.bus.consumer.reader import CursorReader
from heed.core.events import Event, Received
from heed.engine.rate_limit import CommitRate
from heed.errors import LedgerConflict
from heed.settings import StreamSettings
from tests.integration.engine.points import Doors
from tests.integration.engine.world import AGENT, QUICK, World, connected, world_on
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer

FOREIGN = 40


@pytest.fixture
async def alone(own_server: NatsServer, namespace: str) -> AsyncIterator[World]:
    """An Agent on a broker of its own."""
    async with connected(own_server.url) as connection, world_on(connection, namespace) as world:
        yield world


async def others_talk(world: World) -> int:
    """Events of another namespace; the sequence of the last one."""
    last, subject = 0, names.event_subject("elsewhere", "com.example.noise")
    for number in range(FOREIGN):
        event = Event(f"noise-{number}", "/else", "com.example.noise")
        last = await world.bus.publish(subject, event, deduplicate=False)
    return last


async def drop(world: World, until_sequence: int) -> None:
    """The stream drops what it holds up to there."""
    await world.connection.api(f"STREAM.PURGE.{names.STREAM}", {"seq": until_sequence + 1})


async def test_a_quiet_agents_cursor_moves_on_before_its_place_is_dropped(alone: World) -> None:
    # Given an Agent that has heard all there was for it, long ago
    life = await alone.live()
    await alone.send("note")
    before = await alone.quiet()
    last = await others_talk(alone)

    # When
    assert before.cursor.sequence < last
    await life.loop.keep_up(1, last)
    await until(lambda: life.loop.ledger is not None and life.loop.ledger.cursor.sequence >= last)
    await life.end()
    await drop(alone, last)

    # Then nobody is alarmed, and nothing was counted that was not there
    await alone.live()
    number = await alone.send("note")
    ledger = await alone.quiet()
    assert ledger.cursor.sequence == number
    assert ledger.totals.expired == 0
    assert ledger.totals.handled == before.totals.handled + 1


async def test_what_was_read_and_is_not_decided_is_not_passed_over(alone: World) -> None:
    # Given a cursor that is far behind, and what has come since
    life = await alone.live()
    await alone.send("none", id="first")
    first = (await alone.quiet()).cursor.sequence
    await life.end()
    await others_talk(alone)
    sequences = [await alone.send("none", id=f"later-{number}") for number in range(20)]

    # And an Agent that decides one event for each commit, of which one is under way
    doors, going_on = Doors(), asyncio.Event()

    async def trap(point: str) -> None:
        if point == "before commit":
            await going_on.wait()

    doors.traps.append(trap)
    life = await alone.live(doors, CommitRate(QUICK.rate, QUICK.burst, batch=1))
    await until(lambda: life.loop._buffer is not None and len(life.loop._buffer.unread) > 0)
    await until(lambda: doors.count("before commit") == 1)

    # When it is asked to move its cursor on
    await life.loop.keep_up(first, sequences[-1])
    going_on.set()

    # Then it decides what it has read, all the same
    assert (await alone.check()).totals.ignored == 21
    assert [item.cursor.sequence for item in doors.ledgers] == sequences


@pytest.mark.parametrize("answer", ["before", "after"])
async def test_what_an_earlier_reader_had_reached_says_nothing_of_the_next_one(
    alone: World, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    # Given an Agent that owes a message, and has decided one more event that is not committed yet
    doors, emitting, conflict = Doors(), asyncio.Event(), asyncio.Event()

    async def trap(point: str) -> None:
        if point == "before emit":
            await emitting.wait()
        if point == "before commit" and doors.count(point) == 2:
            await conflict.wait()
            raise LedgerConflict("somebody else wrote it")

    doors.traps.append(trap)
    life = await alone.live(doors)
    await alone.send("note", id="first")
    await until(lambda: doors.count("after commit") == 1)
    await others_talk(alone)
    second = await alone.send("note", id="second")
    await until(lambda: doors.count("before commit") == 2)

    # And a look how far it has read, whose answer is there before or after all starts over; nothing is read yet then
    seen, answered, reading, coming = (asyncio.Event() for _ in range(4))
    read, reached = CursorReader.read, CursorReader.reached

    async def slow_answer(self: CursorReader) -> int:
        found = await reached(self)
        seen.set()
        await answered.wait()
        return found

    async def slow_reading(self: CursorReader, limit: int, timeout: float) -> Sequence[Received]:
        reading.set()
        await coming.wait()
        return await read(self, limit, timeout)

    monkeypatch.setattr(CursorReader, "reached", slow_answer)
    monkeypatch.setattr(CursorReader, "read", slow_reading)
    keeping = asyncio.create_task(life.loop.keep_up(1, second))
    await asyncio.wait_for(seen.wait(), SOON)
    if answer == "before":
        answered.set()
        await keeping
    conflict.set()
    await asyncio.wait_for(reading.wait(), SOON)
    answered.set()
    await keeping

    # When there is something to write before anything comes
    emitting.set()
    await until(lambda: doors.count("after commit") == 2)
    coming.set()

    # Then the event is decided all the same
    ledger = await alone.check()
    assert ledger.sessions["s"].state["noted"] == "second"
    assert ledger.totals.handled == 2


async def test_a_cursor_near_the_end_of_the_stream_costs_nothing(alone: World) -> None:
    life = await alone.live()
    await others_talk(alone)
    await alone.send("note")
    await alone.quiet()
    commits = life.doors.count("before commit")

    await life.loop.keep_up(*await alone.bus.bounds())
    await alone.send("note")
    await alone.quiet()

    assert life.doors.count("before commit") <= commits + 2


async def test_what_was_dropped_unread_is_counted_and_the_agent_goes_on(alone: World) -> None:
    # Given events that come while nobody reads
    life = await alone.live()
    await alone.send("note", id="heard")
    before = (await alone.quiet()).cursor.sequence
    await life.end()
    for number in range(5):
        await alone.send("note", id=f"unheard-{number}")
    last = await alone.send("note", id="the last one")

    # When the stream drops them
    await drop(alone, last - 1)
    await alone.live()

    # Then: not all of these places were of events for this Agent, but nobody can know any more
    ledger = await alone.quiet()
    assert ledger.totals.expired == last - 1 - before >= 5
    assert ledger.totals.handled == 2
    assert ledger.sessions["s"].state["noted"] == "the last one"


async def test_a_stream_made_anew_is_not_read_until_somebody_says_so(alone: World) -> None:
    # Given an Agent that has read from a stream
    life = await alone.live()
    await alone.send("ask", "s", {})
    await alone.quiet()
    task = next(iter(alone.jobs.running))

    # When it is another one, which has outgrown the Agent's cursor
    await alone.connection.api(f"STREAM.DELETE.{names.STREAM}")
    await until(lambda: ("start over", "StreamMissing") in life.watcher.troubles)
    await ensure_streams(alone.connection, StreamSettings())
    for _ in range(3):
        await alone.send("ask", "t", {})
    await until(lambda: ("start over", "StreamReplaced") in life.watcher.troubles)
    stored = await alone.stored()
    assert stored.ledger.totals.handled == 1

    # Then nothing of it is read until the cursor is taken away, and no name is used twice
    key = f"{alone.namespace}.{AGENT}"
    entry = await alone.ledgers.get(key)
    record = json.loads(entry.value or b"")
    del record["status"]["cursor"]
    await alone.ledgers.put(key, json.dumps(record).encode())
    ledger = await alone.quiet()
    assert ledger.totals.handled == 4
    assert task in ledger.pending_tasks
    assert len(alone.jobs.running) == 4
    assert all(count == 1 for count in alone.jobs.made.values())
