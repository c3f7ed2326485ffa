"""The rate limit of an Agent's events: what takes a token, what is held back, and that no restart lets more through."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed import names
from heed.api.agent import RateLimitSpec
from heed.core.decision.model import Decision
from heed.core.events import Event, MalformedMessage, Received, Redrive
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.engine import batching
from heed.engine.batch import DecisionBatch
from heed.engine.batching import DecisionBatcher
from heed.engine.deferred_queue import DeferredQueue
from heed.engine.event_rate import EventRateLimiter, is_limited
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.errors import ReaderLost
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.agents import manifest as agent_manifest
from tests.builders.agents import problems, program
from tests.builders.events import received
from tests.integration.waiting import until
from tests.unit.inmemory import Bus, Reader, owed_message, sequences, turns
from tests.unit.loops import ASK, Lives, at_place

TOLD = "org.example.told"  # matches no handler


# --- the bucket -----------------------------------------------------------------------------------------------


def spent(limiter: EventRateLimiter, times: list[float]) -> list[float]:
    """The times at which there was a token, each of which was spent."""
    found = []
    for now in times:
        if limiter.delay(now) == 0:
            limiter.spend(now)
            found.append(now)
    return found


def test_it_begins_empty_and_says_when_there_is_a_token() -> None:
    limiter = EventRateLimiter(2.0, 3)
    limiter.start(100.0)

    assert limiter.delay(100.0) == 2.0
    assert limiter.delay(101.5) == 0.5
    assert limiter.delay(102.0) == 0
    limiter.spend(102.0)
    assert limiter.delay(102.0) == 2.0


def test_a_quiet_time_fills_it_to_the_burst_and_no_further() -> None:
    limiter = EventRateLimiter(1.0, 3)
    limiter.start(0.0)

    assert spent(limiter, [1000.0] * 10) == [1000.0] * 3
    assert limiter.delay(1000.0) == 1.0
    assert spent(limiter, [1001.0, 1001.0, 1002.5]) == [1001.0, 1002.5]
    assert limiter.delay(1002.5) == 0.5


def test_a_second_start_changes_nothing() -> None:
    limiter = EventRateLimiter(2.0, 1)
    limiter.start(0.0)
    limiter.start(50.0)

    assert limiter.delay(50.0) == 0


@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 40), min_size=1, max_size=80),
    st.sets(st.integers(0, 79), max_size=4),
)
def test_no_time_sees_more_than_its_share_whatever_restarts(
    burst: int, gaps: list[int], restarts: set[int]
) -> None:
    # Given times in quarters of the interval, so that sums are exact; a restart begins a limiter of its own
    interval, now, taken = 4.0, 0.0, list[float]()
    limiter = EventRateLimiter(interval, burst)
    limiter.start(now)
    for number, gap in enumerate(gaps):
        now += gap
        if number in restarts:
            limiter = EventRateLimiter(interval, burst)
            limiter.start(now)
        taken += spent(limiter, [now, now])

    # Then
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - begin) / interval


@pytest.mark.parametrize(
    ("written", "interval", "burst"),
    [
        ({"events": 10}, 0.1, 10),
        ({"events": 100, "per": "1m"}, 0.6, 1),
        ({"events": 120, "per": "1m"}, 0.5, 2),
        ({"events": 1, "per": "1h"}, 3600.0, 1),
        ({"events": 100, "per": "1h", "burst": 20}, 36.0, 20),
        ({"events": 5, "burst": 1}, 0.2, 1),
    ],
)
def test_a_limit_is_read_from_the_manifest(written: dict[str, Any], interval: float, burst: int) -> None:
    found = EventRateLimiter.of(RateLimitSpec.model_validate(written))

    assert found is not None
    assert (found.interval, found.burst) == (interval, burst)
    assert EventRateLimiter.of(None) is None


@pytest.mark.parametrize(
    ("limit", "path"),
    [
        ({"events": 0}, "spec.rateLimit.events"),
        ({"events": 1_000_001}, "spec.rateLimit.events"),
        ({"events": 1, "burst": 0}, "spec.rateLimit.burst"),
        ({"events": 1, "per": "0s"}, "spec.rateLimit.per"),
        ({"events": 1, "per": "1 minute"}, "spec.rateLimit.per"),
        ({"per": "1m"}, "spec.rateLimit.events"),
        ({"events": 1, "every": "1m"}, "spec.rateLimit.every"),
    ],
)
def test_what_is_no_limit_is_a_problem(limit: dict[str, Any], path: str) -> None:
    assert [problem.path for problem in problems(agent_manifest({}, rateLimit=limit))] == [path]


# --- what takes a token ---------------------------------------------------------------------------------------

INBOX = names.inbox_subject("demo", "researcher", "x")
REDRIVE = names.redrive_subject("demo", "researcher", "x")
EVENTS = names.event_subject("demo", "x")


@pytest.mark.parametrize(
    ("subject", "type_", "outcome", "limited"),
    [
        (EVENTS, "com.example.x", "handled", True),
        (EVENTS, "com.example.x", "dead_lettered", True),
        (EVENTS, "com.example.x", "ignored", False),
        (EVENTS, "com.example.x", "duplicates", False),
        (EVENTS, "com.example.x", "waiting", False),
        (INBOX, "com.example.x", "handled", True),
        (INBOX, names.TASK_COMPLETED, "handled", False),
        (INBOX, "dev.heed.due.session", "due", False),
        (EVENTS, names.TASK_COMPLETED, "dead_lettered", True),
        (REDRIVE, "com.example.x", "handled", True),
    ],
)
def test_handlers_take_a_token_and_what_heed_says_itself_does_not(
    subject: str, type_: str, outcome: Any, limited: bool
) -> None:
    message = Received(1, "2026-11-01T12:00:00Z", subject, Event("1", "/s", type_))

    assert is_limited(Decision(message, Ledger(), outcome)) is limited


def test_a_redriven_end_of_a_task_takes_one_and_so_does_what_is_no_event() -> None:
    end = Received(
        1,
        "2026-11-01T12:00:00Z",
        REDRIVE,
        Event("1", "/s", names.TASK_FAILED),
        Redrive("l", 2, subject=INBOX),
    )
    malformed = replace(end, subject=EVENTS, event=MalformedMessage("BadEvent", "no"), redrive=None)

    assert is_limited(Decision(end, Ledger(), "handled"))
    assert is_limited(Decision(malformed, Ledger(), "dead_lettered"))


# --- batches --------------------------------------------------------------------------------------------------


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Desk:
    """A batcher under a limit, and what it reads."""

    def __init__(self, *unread: Received, interval: float = 1.0, burst: int = 1) -> None:
        pace = CommitRate()
        self.deferred = DeferredQueue(Bus(), pace)
        limiter = EventRateLimiter(interval, burst)
        self.batcher = DecisionBatcher(DecisionPool().of(program(ASK)), self.deferred, pace, limiter)
        self.batcher.reset()
        self.buffer = ReadBuffer(Reader(unread))
        self.batch = DecisionBatch(Ledger())

    async def decide(self) -> list[int]:
        """Decide what can be; the sequences of all that is decided."""
        await turns()
        while await self.batcher.decide_turn(self.buffer, self.batch):
            pass
        return [item.received.sequence for item in self.batch.decisions]


async def test_the_first_event_waits_for_a_token_and_the_others_behind_it(clock: Clock) -> None:
    desk = Desk(received(1), received(2), received(3))

    assert await desk.decide() == []
    assert desk.batcher.pause(desk.buffer) == 1.0
    assert not desk.batcher.has_work(desk.buffer, desk.batch)

    clock.now += 1.0
    assert desk.batcher.pause(desk.buffer) is None
    assert desk.batcher.has_work(desk.buffer, desk.batch)
    assert await desk.decide() == [1]
    assert desk.batcher.pause(desk.buffer) == 1.0
    assert sequences(desk.buffer.unread) == [2, 3]
    assert desk.batch.ledger.totals.handled == 1
    await desk.buffer.close()


async def test_what_no_handler_reacts_to_passes_and_takes_nothing(clock: Clock) -> None:
    desk = Desk(*(received(number, TOLD) for number in range(1, 5)), received(5), received(6, TOLD))
    clock.now += 1.0

    assert await desk.decide() == [1, 2, 3, 4, 5, 6]
    assert desk.batcher.pause(desk.buffer) is None
    await desk.buffer.close()


async def test_what_waited_for_room_waits_for_a_token_and_keeps_nothing_else_back(clock: Clock) -> None:
    desk = Desk(received(7, TOLD), received(8, TOLD))
    desk.batch = DecisionBatch(Ledger(waiting=DeferredEvents.of({1: "k"})))
    desk.deferred.next.append(received(1))

    assert await desk.decide() == [7, 8]
    assert desk.batcher.pause(desk.buffer) == 1.0
    assert sequences(desk.deferred.next) == [1]

    clock.now += 1.0
    assert await desk.decide() == [7, 8, 1]
    assert desk.batch.decisions[-1].outcome == "handled"
    await desk.buffer.close()


async def test_a_new_pass_forgets_what_was_held_and_keeps_what_was_spent(clock: Clock) -> None:
    desk = Desk(received(1), received(2), burst=2)
    clock.now += 10.0
    assert await desk.decide() == [1, 2]

    desk.batcher.reset()
    desk.buffer.unread.append(received(3))
    assert desk.batcher.pause(desk.buffer) is None
    assert await desk.decide() == [1, 2]
    assert desk.batcher.pause(desk.buffer) == 1.0
    await desk.buffer.close()


# --- the loop -------------------------------------------------------------------------------------------------

LIMITED = program(ASK, rateLimit={"events": 1000, "burst": 1})  # one in a thousandth of a second


async def test_the_loop_goes_on_when_there_is_a_token_and_tells_of_it(
    lives: Lives, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    life = lives.running(LIMITED)
    told: list[bool] = []
    monkeypatch.setattr(life.watcher, "limited", lambda agent, held: told.append(held))
    await life.reading()
    await until(lambda: told == [False])
    assert life.loop.limited is False

    # When
    life.come(1, 2)

    # Then one goes for each token
    await until(lambda: told == [False, True])
    assert life.watcher.commits == []
    clock.now += 0.001
    assert (await life.committed()).totals.handled == 1
    await turns()
    assert told == [False, True]
    clock.now += 0.001
    assert (await life.committed(2)).totals.handled == 2
    await until(lambda: told == [False, True, False])


async def test_effects_are_settled_while_events_are_held_back(lives: Lives, clock: Clock) -> None:
    life = lives.running(LIMITED, Ledger(outbox={"m-0": owed_message(0).owed}))
    life.bus.open_to_all.clear()
    await life.reading()
    life.come(1)
    await until(lambda: life.loop.limited)

    life.bus.open_to_all.set()

    assert (await life.committed()).outbox == {}
    assert life.outcomes() == [[]]


async def test_a_reader_that_is_lost_while_events_are_held_back_is_replaced(
    lives: Lives, clock: Clock
) -> None:
    life = lives.running(LIMITED, at_place(7))
    life.bus.readers.append(first := Reader([received(8)]))
    life.begin()
    await until(lambda: life.loop.limited)

    first.reads.put_nowait(ReaderLost("a gap"))

    await until(lambda: len(life.bus.opened) == 2)
    assert [error for error, _ in life.troubles()] == ["a gap"]
    assert life.watcher.commits == []
    life.come(8)
    clock.now += 0.001
    assert (await life.committed()).cursor.sequence == 8


async def test_a_suspended_one_holds_nothing_back(
    lives: Lives, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives.running(program(ASK, suspend=True, rateLimit={"events": 1}))
    told: list[bool] = []
    monkeypatch.setattr(life.watcher, "limited", lambda agent, held: told.append(held))
    life.begin()

    await until(lambda: told == [False])
