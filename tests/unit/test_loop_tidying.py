"""The loop of an Agent: what it knows without an event. Losses, idle sessions, a cursor that moves on by itself."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from heed import names
from heed.api.status import Cursor, Session, Totals
from heed.core.events import Event
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.engine import deferred_queue
from heed.engine.rate_limit import CommitRate
from heed.errors import BusUnavailable, ReaderLost
from tests.builders.agents import program
from tests.builders.events import at, received
from tests.integration.waiting import until
from tests.unit.inmemory import CREATED, Reader
from tests.unit.loops import ASK, NO_ROOM, THERE, TIGHT, Life, Lives, at_place

LOST = "the stream dropped events before they were read"
FIRST, LAST = 11, 22  # what the stream holds; a quarter of it ends before 13.75


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[object, ...]]:
    """What was said about losses: the Agent, after which place, until which, how many are known to be gone."""
    said = [record for record in caplog.records if record.getMessage() == LOST]
    assert all((record.name, record.levelno) == ("heed.agent", logging.WARNING) for record in said)
    return [tuple(record.__dict__[key] for key in ("agent", "after", "until", "gone")) for record in said]


def moves(life: Life) -> list[tuple[int, int]]:
    """Where the cursor was after each commit, and how many events had expired by then."""
    return [(ledger.cursor.sequence, ledger.totals.expired) for ledger in life.store.commits]


# ── what the stream dropped ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_dropped_behind_its_back_is_counted_and_told(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives.of(ledger=at_place(5))
    life.reader.floor = 9
    await life.reading()

    life.come(12)

    assert (await life.committed()).totals.expired == 4
    assert moves(life) == [(12, 4)]
    assert warnings(caplog) == [("demo/researcher", 5, 9, 0)]


async def test_nothing_is_said_where_nothing_was_dropped(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives.of(ledger=at_place(9))
    life.reader.floor = 9
    await life.reading()

    life.come(12)

    assert (await life.committed()).totals.expired == 0
    assert warnings(caplog) == []


async def test_an_agent_without_a_cursor_has_missed_nothing_and_learns_which_stream_it_reads(
    lives: Lives,
) -> None:
    life = lives.of()
    life.reader.floor = 9
    await life.reading()

    life.come(12)

    ledger = await life.committed()
    assert (ledger.totals.expired, ledger.cursor.created) == (0, CREATED)


async def test_what_readers_lost_adds_up_until_it_is_in_a_ledger(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives.of(ledger=at_place(5))
    life.bus.readers.extend([Reader(ReaderLost("a gap", 3)), Reader(BusUnavailable("away"))])
    life.bus.readers.append(Reader(ReaderLost("a gap", 2)))
    life.bus.readers.append(Reader([received(6)], ReaderLost("a gap")))
    life.reader.reads.put_nowait([received(7)])

    await life.reading()
    await life.committed(2)

    assert moves(life) == [(6, 5), (7, 5)]
    assert warnings(caplog) == [("demo/researcher", 5, 0, gone) for gone in (3, 3, 5)]


async def test_while_too_many_wait_losses_are_counted_when_it_goes_on(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an Agent that reads only its inbox, as three events wait for which there is no room
    monkeypatch.setattr(deferred_queue, "MAX_DEFERRED_EVENTS", 3)
    waiting = DeferredEvents.of({place: names.waiting_digest("there") for place in (1, 2, 3)})
    life = lives.of(ledger=replace(at_place(5), waiting=waiting, sessions=THERE))
    life.bus.messages = {place: received(place, correlationid="there") for place in (1, 2, 3)}
    # and whose stream began further on, and dropped others
    only_inbox = Reader()
    only_inbox.floor = life.reader.floor = 8
    life.bus.readers.extend([Reader(ReaderLost("a gap", 7)), only_inbox])

    # When what waits is decided
    life.begin()
    await until(lambda: bool(life.reader.asked))
    life.come(21)
    await until(lambda: life.ledger.cursor.sequence == 21)

    # Then that is said once, and not before the cursor moves
    assert [opened[0] == life.agent.inbox for opened in life.bus.opened] == [True, True, False]
    assert (moves(life)[0], moves(life)[-1]) == ((5, 0), (21, 7))
    assert warnings(caplog) == [("demo/researcher", 5, 8, 7)]


# ── a quiet Agent ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_cursor_in_the_first_quarter_of_the_stream_moves_on_without_an_event(lives: Lives) -> None:
    life = lives.of(ledger=at_place(12))
    life.reader.far = 22
    await life.reading()

    await life.loop.keep_up(FIRST, LAST)

    assert (await life.committed()).cursor == Cursor("HEED", 22, created=CREATED)
    assert (life.outcomes(), life.reader.released) == ([[]], [22])


@pytest.mark.parametrize("sequence", [0, 13, 22])
async def test_one_further_on_or_nowhere_yet_stays(lives: Lives, sequence: int) -> None:
    life = lives.of(ledger=at_place(sequence))
    life.reader.far = 22
    await life.reading()

    await life.loop.keep_up(FIRST, LAST)

    assert life.reader.looks == 0


async def test_one_that_reads_only_its_inbox_stays(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_queue, "MAX_DEFERRED_EVENTS", 1)
    ledger = replace(at_place(12), waiting=DeferredEvents.of({1: "k"}), sessions=THERE)
    life = lives.of(ledger=ledger, size=NO_ROOM, pace=TIGHT)
    await life.reading()

    await life.loop.keep_up(FIRST, LAST)

    assert life.reader.looks == 0


async def test_so_does_one_that_is_not_followed(lives: Lives) -> None:
    life = lives.of(ledger=at_place(12))
    await life.reading()
    await life.end()

    await life.loop.keep_up(FIRST, LAST)

    assert life.reader.looks == 0


async def test_where_nothing_is_beyond_its_cursor_nothing_is_written_and_it_reads_on(lives: Lives) -> None:
    life = lives.of(ledger=at_place(12))
    life.reader.far = 12
    await life.reading()
    executor = life.loop._executor
    assert executor is not None

    await life.loop.keep_up(FIRST, LAST)
    await until(lambda: not executor.settled.is_set())
    life.come(30)

    await life.committed()
    assert moves(life) == [(30, 0)]
    assert len(life.bus.opened) == 1


async def test_the_cursor_moves_only_once_all_that_came_before_is_decided(lives: Lives) -> None:
    # Given three events, the first of which is being committed
    life = lives.of(ledger=at_place(12), pace=CommitRate(batch=1))
    life.reader.far = 100
    await life.reading()
    life.store.open.clear()
    life.come(15, 16, 17)
    await until(lambda: lives.decided == [15, 16])

    # When
    await life.loop.keep_up(FIRST, 1000)
    life.store.open.set()
    await life.committed(3)

    # Then
    assert moves(life) == [(15, 0), (16, 0), (100, 0)]
    assert life.outcomes() == [[(15, "handled")], [(16, "handled")], [(17, "handled")]]


async def test_how_far_another_life_had_come_is_of_no_interest(lives: Lives) -> None:
    # Given a look that takes its time
    first, looking = Reader(), asyncio.Event()

    async def reached() -> int:
        first.looks += 1
        await looking.wait()
        return 100

    first.reached = reached  # type: ignore[method-assign]
    life = lives.of(ledger=at_place(12))
    life.bus.readers.append(first)
    life.begin()
    await until(lambda: bool(first.asked))
    keeping = asyncio.create_task(life.loop.keep_up(FIRST, LAST))
    await until(lambda: first.looks == 1)

    # When another life has begun before it is over
    first.reads.put_nowait(ReaderLost("a gap"))
    await until(lambda: bool(life.reader.asked))
    looking.set()
    await keeping
    life.come(15)

    # Then
    await life.committed()
    assert moves(life) == [(15, 0)]


async def test_nor_is_how_far_this_one_had_come_to_the_next(lives: Lives) -> None:
    life = lives.of(ledger=at_place(12))
    first = Reader()
    first.far = 20
    life.bus.readers.append(first)
    life.begin()
    await until(lambda: bool(first.asked))
    life.store.open.clear()
    await life.loop.keep_up(FIRST, LAST)
    await until(lambda: life.loop._reached == 20)
    life.store.refusals.append(ReaderLost("a gap"))
    life.store.open.set()
    await until(lambda: bool(life.reader.asked))

    life.come(15)

    await life.committed()
    assert moves(life) == [(15, 0)]


# ── idle sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


def full_of(*idle: float, waiting: str | None = "new") -> Ledger:
    """A ledger with sessions that were touched then, and an event at 1 that waits for room."""
    sessions = {f"s{index}": Session(at(0), at(time), "c") for index, time in enumerate(idle)}
    places = DeferredEvents.of({1: names.waiting_digest(waiting)} if waiting else {})
    return replace(at_place(5), sessions=sessions, waiting=places)


def crowded(lives: Lives, ledger: Ledger) -> Life:
    """An Agent without room, whose sessions are idle after a minute: they are, as its events are of another year."""
    agent = program(ASK, session={"idleTimeout": "60s"})
    life = lives.running(agent, ledger, NO_ROOM, pace=TIGHT)
    life.bus.messages = {1: received(1, correlationid="new")}
    return life


async def due_of(life: Life) -> Event:
    """The event that says that a session is idle, once it is published."""
    await until(lambda: bool(life.bus.published))
    ((subject, event),) = life.bus.published
    assert subject == names.inbox_subject(life.agent.agent.namespace, life.agent.agent.name, event.type)
    return event


async def test_idle_sessions_make_room_for_events_that_wait(lives: Lives) -> None:
    life = crowded(lives, full_of(39, 400))
    life.store.open.clear()
    await life.reading()
    due = await due_of(life)
    life.store.stored = replace(life.store.stored, size=1000)  # as large as it is afterwards
    life.store.open.set()

    life.come(replace(received(6, due.type, time=121, inbox=True), event=due))

    ledger = await life.committed(2)
    assert [list(written.sessions) for written in life.store.commits] == [["s1"], ["s1", "new"]]
    assert life.outcomes() == [[(6, "due")], [(1, "handled")]]
    assert (ledger.waiting, ledger.totals) == (
        DeferredEvents(),
        Totals(handled=1, due=1, sessions_expired=1),
    )


async def test_what_is_due_is_said_once(lives: Lives) -> None:
    life = crowded(lives, full_of(39, waiting=None))
    life.reader.far = 8
    await life.reading()
    await due_of(life)

    await life.loop.keep_up(10, 100)
    await life.committed()

    assert len(life.bus.published) == 1
    assert list(life.ledger.sessions) == ["s0"]
