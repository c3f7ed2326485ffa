"""Filling batches: what waited comes first, what does not fit closes the batch or stays, and turns are short."""

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from heed import names
from heed.api.status import Session
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.deferred import MAX_DEFERRED_EVENTS, DeferredEvents
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.engine import batching
from heed.engine.batch import DecisionBatch
from heed.engine.batching import DECIDE_TURN_S, DecisionBatcher
from heed.engine.deferred_queue import DeferredQueue
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.agents import program
from tests.builders.events import at, received
from tests.unit.inmemory import Bus, Reader, sequences, turns

AGENT = program(
    {"state": {"n": "${state.?n.orValue(0) + 1}", "more": "${event.data.?more.orValue('')}"}},
    session={"key": "event.data.of"},
)
BUDGET = 3_000_000
FULL = BUDGET * 2 // 3  # a status of this size has no room for new sessions
THERE = Ledger(sessions={"there": Session(at(0), at(0), "c")})


class Desk:
    """One Agent that decides what it is given, at a time that is given."""

    def __init__(self, size: int = 0, **pace: Any) -> None:
        self.pace = CommitRate(**{"budget": BUDGET, **pace})
        self.backlog = DeferredQueue(Bus(), self.pace)
        self.backlog.record_commit(size)
        self.asked: list[tuple[int, Headroom | None, bool]] = []
        self.guarded = DecisionPool().of(AGENT)
        self.deciding = DecisionBatcher(self, self.backlog, self.pace)  # type: ignore[arg-type]

    async def decide(
        self, ledger: Ledger, event: Received, *, coming: object = (), room: Headroom | None, ahead: bool
    ) -> Decision:
        self.asked.append((event.sequence, room, ahead))
        return await self.guarded.decide(ledger, event, room=room, ahead=ahead)

    async def some(self, batch: DecisionBatch, *unread: Received) -> tuple[bool, list[int]]:
        """Whether it decided something, and what is left unread."""
        buffer = ReadBuffer(Reader(unread) if unread else Reader())
        await turns()
        try:
            return await self.deciding.decide_turn(buffer, batch), sequences(buffer.unread)
        finally:
            await buffer.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in which every look at an event takes the same, and little."""
    ticks = itertools.count(1000)
    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: next(ticks) * 1e-5))


def of_session(sequence: int, session: str = "a", **more: Any) -> Received:
    return received(sequence, data={"of": session}, **more)


def waiting(count: int) -> Ledger:
    return Ledger(waiting=DeferredEvents(dict.fromkeys(range(1, count + 1), "k")))


def outcomes(batch: DecisionBatch) -> list[tuple[int, str]]:
    return [(item.received.sequence, item.outcome) for item in batch.decisions]


async def test_what_is_unread_is_decided_in_order() -> None:
    desk, batch = Desk(), DecisionBatch(THERE)

    assert await desk.some(batch, of_session(1), of_session(2, "b"), of_session(3)) == (True, [])

    assert outcomes(batch) == [(1, "handled"), (2, "handled"), (3, "handled")]
    assert batch.ledger.sessions["a"].state["n"] == 2
    assert batch.took == [pytest.approx(1e-5)] * 3
    assert not batch.closed


async def test_where_nothing_is_there_nothing_is_done() -> None:
    desk, batch = Desk(), DecisionBatch(THERE)

    assert await desk.some(batch) == (False, [])
    assert (batch.decisions, batch.took) == ([], [])


async def test_a_full_batch_takes_no_more() -> None:
    desk, batch = Desk(batch=2), DecisionBatch(THERE)

    assert await desk.some(batch, of_session(1), of_session(2), of_session(3)) == (True, [3])
    assert await desk.some(batch, of_session(3)) == (False, [3])
    assert [sequence for sequence, _ in outcomes(batch)] == [1, 2]


@pytest.mark.parametrize(
    ("count", "ahead", "full"),
    [
        (MAX_DEFERRED_EVENTS - 1, False, False),
        (MAX_DEFERRED_EVENTS, False, True),
        (MAX_DEFERRED_EVENTS, True, False),
        (1, True, True),
    ],
)
def test_a_batch_is_full_where_as_many_wait_as_may_or_few_enough_again(
    count: int, ahead: bool, full: bool
) -> None:
    desk = Desk()
    desk.deciding.ahead = ahead

    assert desk.deciding.is_full(DecisionBatch(waiting(count))) is full


async def test_a_turn_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(100 + number * DECIDE_TURN_S / 2 for number in range(100))
    monkeypatch.setattr(batching, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    desk, batch = Desk(), DecisionBatch(THERE)

    assert await desk.some(batch, of_session(1), of_session(2), of_session(3)) == (True, [3])

    assert batch.took == [pytest.approx(DECIDE_TURN_S / 2)] * 2


async def test_decisions_know_the_room_and_whether_only_the_inbox_is_read() -> None:
    desk, batch = Desk(size=FULL - 100_000), DecisionBatch(THERE)
    desk.deciding.ahead = True
    batch.ledger = replace(THERE, waiting=waiting(MAX_DEFERRED_EVENTS).waiting)

    await desk.some(batch, of_session(20_000, "there", inbox=True), of_session(20_001, "there", inbox=True))

    grown = batch.decisions[0].growth
    kept = BUDGET // 3
    assert desk.asked == [
        (20_000, Headroom(kept + 100_000, kept), True),
        (20_001, Headroom(kept + 100_000 - grown, kept), True),
    ]


# ── no room ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_without_room_waits_and_the_next_is_decided() -> None:
    desk, batch = Desk(size=FULL), DecisionBatch(THERE)

    assert await desk.some(batch, of_session(1, "new"), of_session(2, "there")) == (True, [])

    assert outcomes(batch) == [(1, "waiting"), (2, "handled")]
    assert list(batch.ledger.waiting.places) == [1]
    assert not batch.closed


async def test_where_only_what_is_not_committed_takes_the_room_the_batch_is_closed() -> None:
    # 100,000 bytes are free, but nobody knows yet how much of them the commit under way has taken
    desk, batch = Desk(size=FULL - 100_000), DecisionBatch(THERE)
    desk.backlog.flying = 100_000

    assert await desk.some(batch, of_session(1, "new"), of_session(2, "there")) == (True, [1, 2])

    assert batch.closed
    assert batch.decisions == []
    assert len(batch.took) == 1


async def test_so_it_is_for_what_the_batch_itself_adds() -> None:
    desk, batch = Desk(size=FULL - 100_000), DecisionBatch(THERE, growth=100_000)

    assert await desk.some(batch, of_session(1, "new")) == (True, [1])

    assert batch.closed


async def test_where_nothing_is_uncommitted_it_waits() -> None:
    desk, batch = Desk(size=FULL - 10), DecisionBatch(THERE)

    await desk.some(batch, of_session(1, "new"))

    assert outcomes(batch) == [(1, "waiting")]
    assert len(desk.asked) == 1


async def test_where_room_is_scarce_in_any_case_it_waits() -> None:
    desk, batch = Desk(size=FULL - BUDGET // 32 + 1), DecisionBatch(THERE)
    desk.backlog.flying = 10**6

    await desk.some(batch, of_session(1, "new"))

    assert outcomes(batch) == [(1, "waiting")]
    assert len(desk.asked) == 1


async def test_what_does_not_fit_even_at_best_waits() -> None:
    desk, batch = Desk(size=190_000, budget=300_000), DecisionBatch(THERE)
    desk.backlog.flying = 10_000
    large = received(1, data={"of": "new", "more": "x" * 10_000})

    await desk.some(batch, large)

    assert outcomes(batch) == [(1, "waiting")]
    assert [room.for_new_session for _, room, _ in desk.asked if room] == [0, 10_000]
    assert not batch.closed


# ── what waited ─────────────────────────────────────────────────────────────────────────────────────────────────────


def queued(*keys: str) -> Ledger:
    """The same ledger with events that wait, from 1 on."""
    places = {place: names.waiting_digest(key) for place, key in enumerate(keys, 1)}
    return replace(THERE, cursor=replace(THERE.cursor, sequence=50), waiting=DeferredEvents.of(places))


async def test_what_waited_is_decided_before_what_is_unread() -> None:
    desk, batch = Desk(), DecisionBatch(queued("a", "b"))
    desk.backlog.next.extend([of_session(1, "a"), of_session(2, "b")])

    assert await desk.some(batch, of_session(60)) == (True, [])

    assert outcomes(batch) == [(1, "handled"), (2, "handled"), (60, "handled")]
    assert not desk.backlog.next
    assert not batch.ledger.waiting.places


async def test_what_waited_is_enough_to_do() -> None:
    desk, batch = Desk(), DecisionBatch(queued("a"))
    desk.backlog.next.append(of_session(1, "a"))

    assert await desk.some(batch) == (True, [])
    assert outcomes(batch) == [(1, "handled")]


async def test_one_that_waited_without_room_stays_where_it_is() -> None:
    desk, batch = Desk(size=FULL), DecisionBatch(queued("new", "there"))
    desk.backlog.next.extend([of_session(1, "new"), of_session(2, "there")])

    await desk.some(batch)

    assert outcomes(batch) == [(2, "handled")]
    assert list(batch.ledger.waiting.places) == [1]
    assert not desk.backlog.next
    assert not batch.closed


async def test_one_that_waited_and_may_fit_after_the_commit_closes_the_batch() -> None:
    desk, batch = Desk(size=FULL - 100_000), DecisionBatch(queued("new"))
    desk.backlog.flying = 100_000
    desk.backlog.next.append(of_session(1, "new"))

    await desk.some(batch)

    assert batch.closed
    assert sequences(desk.backlog.next) == [1]
    assert batch.decisions == []
