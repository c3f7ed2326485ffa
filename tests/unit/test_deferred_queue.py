"""What room a status has, which of the events that wait come next, and when looking for them is worth it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from heed import names
from heed.api.status import Cursor, HeldEvent, Session
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.deferred import MAX_DEFERRED_EVENTS, DeferredEvents
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.held import HeldEvents
from heed.core.ledger.ledger import Ledger
from heed.engine.batch import DecisionBatch
from heed.engine.deferred_queue import (
    GUESSED_SESSION_BYTES,
    MAX_FETCHED_EVENTS,
    MAX_GROWTH_BYTES,
    DeferredQueue,
    is_inbox_only,
)
from heed.engine.rate_limit import CommitRate
from tests.builders.events import at, received
from tests.unit.inmemory import CREATED, Bus, owed_message, pending, sequences

BUDGET = 3_000_000
KEPT = 1_000_000
PACE = CommitRate(budget=BUDGET)
SESSION = Session("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "c")
FULL = BUDGET - KEPT  # a status of this size has no room for new sessions


def waiting(*places: int, key: str = "k") -> Ledger:
    """A ledger in which events wait, each of a session of its own unless they are said to be of one."""
    digests = {place: names.waiting_digest(f"{key}-{place}") for place in places}
    return Ledger(cursor=Cursor("HEED", 99, created=CREATED), waiting=DeferredEvents.of(digests))


def backlog(bus: Bus | None = None, size: int = 0, pace: CommitRate = PACE) -> DeferredQueue:
    made = DeferredQueue(bus or Bus(), pace)
    made.record_commit(size)
    return made


def all_of(places: range) -> list[Received]:
    return [received(place) for place in places]


# ── room ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_plenty_of_room_is_not_counted() -> None:
    assert backlog(size=FULL - MAX_GROWTH_BYTES - 1).headroom(DecisionBatch(Ledger())) is None
    assert backlog(size=FULL - MAX_GROWTH_BYTES).headroom(DecisionBatch(Ledger())) == Headroom(
        KEPT + MAX_GROWTH_BYTES, KEPT
    )


def test_before_a_status_was_read_nothing_is_taken() -> None:
    made = DeferredQueue(Bus(), PACE)

    assert (made.size, made.flying) == (0, 0)
    assert made.headroom(DecisionBatch(Ledger(), growth=FULL - MAX_GROWTH_BYTES)) == Headroom(
        KEPT + MAX_GROWTH_BYTES, KEPT
    )


def test_what_is_being_committed_and_what_is_decided_may_take_room() -> None:
    made = backlog(size=FULL - 1000)
    made.flying = 100
    batch = DecisionBatch(Ledger(), growth=30)

    assert made.headroom(batch) == Headroom(KEPT + 870, KEPT)
    assert made.best_headroom() == Headroom(KEPT + 1000, KEPT)


def test_a_third_is_kept_for_those_that_are_there() -> None:
    assert backlog(size=90, pace=CommitRate(budget=101)).best_headroom() == Headroom(11, 33)


def test_a_commit_says_the_size_anew_and_nothing_flies_any_more() -> None:
    made = backlog(size=FULL)
    made.flying = 100

    made.record_commit(FULL - 10)

    assert (made.size, made.flying) == (FULL - 10, 0)


@pytest.mark.parametrize(
    ("room", "scarce"),
    [
        (None, False),
        (Headroom(KEPT + BUDGET // 32, KEPT), False),
        (Headroom(KEPT + BUDGET // 32 - 1, KEPT), True),
        (Headroom(0, KEPT), True),
    ],
)
def test_less_than_a_32nd_is_scarce(room: Headroom | None, scarce: bool) -> None:
    assert backlog().is_scarce(room) is scarce


@pytest.mark.parametrize(("size", "owes", "crowded"), [(0, 1, False), (1, 1, True), (1, 0, False)])
def test_what_is_owed_goes_first_where_the_status_is_beyond_its_budget(
    size: int, owes: int, crowded: bool
) -> None:
    ledger = Ledger(outbox={f"m-{index}": owed_message(index).owed for index in range(owes)})

    assert backlog(size=BUDGET + size).is_crowded(ledger) is crowded


# ── who comes next ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_those_that_waited_longest_are_fetched_from_the_ledgers_stream() -> None:
    bus = Bus(*all_of(range(1, 4)))
    made = backlog(bus)

    await made.fetch(DecisionBatch(waiting(3, 1, 2)))

    assert bus.fetched == [([1, 2, 3], CREATED)]
    assert sequences(made.next) == [1, 2, 3]


async def test_no_more_at_once_than_so_many() -> None:
    bus = Bus()

    await backlog(bus).fetch(DecisionBatch(waiting(*range(1, MAX_FETCHED_EVENTS + 2))))

    assert bus.fetched[0][0] == list(range(1, MAX_FETCHED_EVENTS + 1))


@pytest.mark.parametrize(
    ("free", "places"),
    [(GUESSED_SESSION_BYTES - 1, 1), (GUESSED_SESSION_BYTES, 2), (5 * GUESSED_SESSION_BYTES, 6)],
)
async def test_no_more_than_may_fit(free: int, places: int) -> None:
    bus = Bus()
    pace = CommitRate(budget=3 * GUESSED_SESSION_BYTES)  # so small that nothing is scarce

    await backlog(bus, size=pace.budget - pace.budget // 3 - free, pace=pace).fetch(
        DecisionBatch(waiting(*range(1, 90)))
    )

    assert bus.fetched[0][0] == list(range(1, places + 1))


async def test_what_is_decided_meanwhile_is_taken_off_the_room() -> None:
    bus, batch = Bus(), DecisionBatch(waiting(*range(1, 90)), growth=2 * GUESSED_SESSION_BYTES)
    pace = CommitRate(budget=3 * GUESSED_SESSION_BYTES)

    await backlog(bus, size=pace.budget - pace.budget // 3 - 5 * GUESSED_SESSION_BYTES, pace=pace).fetch(
        batch
    )

    assert bus.fetched[0][0] == [1, 2, 3, 4]


async def test_events_of_sessions_that_exist_come_first_and_only_once() -> None:
    bus = Bus()
    ledger = replace(waiting(1, 2, 3, 4), sessions={"k-3": SESSION, "k-4": SESSION, "other": SESSION})

    await backlog(bus).fetch(DecisionBatch(ledger))

    assert bus.fetched[0][0] == [3, 4, 1, 2]


async def test_of_those_too_no_more_at_once_than_so_many() -> None:
    bus, digest = Bus(), names.waiting_digest("k")
    places = DeferredEvents.of(dict.fromkeys(range(1, MAX_FETCHED_EVENTS + 9), digest))

    await backlog(bus, size=FULL).fetch(DecisionBatch(Ledger(sessions={"k": SESSION}, waiting=places)))

    assert bus.fetched[0][0] == list(range(1, MAX_FETCHED_EVENTS + 1))


@pytest.mark.parametrize(
    ("ledger", "asked"),
    [
        (replace(waiting(1, 2), sessions={"k-2": SESSION}), [2]),
        (replace(waiting(1, 2), pending_tasks={"t": pending()}), None),
        (waiting(1, 2), [1]),
    ],
    ids=["a session", "a task", "nothing that would make room"],
)
async def test_where_room_is_scarce_only_what_may_make_room(ledger: Ledger, asked: list[int] | None) -> None:
    bus = Bus()

    await backlog(bus, size=FULL).fetch(DecisionBatch(ledger))

    assert bus.fetched == ([] if asked is None else [(asked, ledger.cursor.created)])


async def test_held_events_that_are_ready_are_fetched_together_from_the_ledgers_own_stream() -> None:
    held = HeldEvents.of({place: HeldEvent("s", "h", at(1), at(99), phase="Ready") for place in (3, 5)})
    bus, batch = Bus(received(3), received(5)), DecisionBatch(replace(waiting(), held=held))
    made = backlog(bus)

    found = [await made.fetch_ready(batch, place) for place in (3, 5)]

    assert [item and item.sequence for item in found] == [3, 5]
    assert bus.fetched == [([3, 5], CREATED)]


async def test_what_the_stream_has_dropped_waits_no_more() -> None:
    made, batch = backlog(Bus(received(2))), DecisionBatch(waiting(1, 2, 3))

    await made.fetch(batch)

    assert sequences(made.next) == [2]
    assert list(batch.ledger.waiting.places) == [2]
    assert batch.ledger.totals.expired == 2


async def test_where_nothing_was_dropped_the_ledger_stays_the_same_object() -> None:
    batch = DecisionBatch(ledger := waiting(1))

    await backlog(Bus(received(1))).fetch(batch)

    assert batch.ledger is ledger


class Few(Bus):
    """Holds two messages at once."""

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> Sequence[Received | None]:
        return await super().fetch(sequences[:2], created)


async def test_one_that_gets_fewer_than_it_asked_for_takes_them() -> None:
    made, batch = backlog(Few(*all_of(range(1, 4)))), DecisionBatch(waiting(1, 2, 3))

    await made.fetch(batch)

    assert sequences(made.next) == [1, 2]
    assert len(batch.ledger.waiting) == 3


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_fetched_while_nothing_waits_or_some_are_there_already() -> None:
    bus = Bus(received(1))
    made = backlog(bus)

    await made.fetch(DecisionBatch(Ledger()))
    assert bus.fetched == []
    await made.fetch(DecisionBatch(waiting(1)))
    made.record_commit(0)
    await made.fetch(DecisionBatch(waiting(1)))

    assert len(bus.fetched) == 1


async def test_a_second_look_is_worth_it_only_after_a_commit_or_anew() -> None:
    bus = Bus(received(1))
    made = backlog(bus)
    await made.fetch(DecisionBatch(waiting(1)))
    made.next.clear()

    await made.fetch(DecisionBatch(waiting(1)))
    assert len(bus.fetched) == 1
    made.record_commit(0)
    await made.fetch(DecisionBatch(waiting(1)))
    assert len(bus.fetched) == 2

    made.flying = 7
    made.reset()
    assert (made.flying, list(made.next)) == (0, [])
    await made.fetch(DecisionBatch(waiting(1)))
    assert len(bus.fetched) == 3


async def test_a_look_that_found_nobody_to_ask_for_was_a_look() -> None:
    bus = Bus()
    made = backlog(bus, size=FULL)
    busy = replace(waiting(1), pending_tasks={"t": pending()})
    await made.fetch(DecisionBatch(busy))

    await made.fetch(DecisionBatch(waiting(1)))

    assert bus.fetched == []


@pytest.mark.parametrize(
    ("count", "ahead", "only"),
    [
        (0, False, False),
        (MAX_DEFERRED_EVENTS - 1, False, False),
        (MAX_DEFERRED_EVENTS, False, True),
        (MAX_DEFERRED_EVENTS * 9 // 10 - 1, True, False),
        (MAX_DEFERRED_EVENTS * 9 // 10, True, True),
        (0, True, False),
    ],
)
def test_only_the_inbox_is_read_on_from_so_many_until_a_tenth_of_them_is_gone(
    count: int, ahead: bool, only: bool
) -> None:
    assert is_inbox_only(Ledger(waiting=DeferredEvents(dict.fromkeys(range(count), "k"))), ahead) is only


def test_a_decision_that_waits_needs_no_more_than_its_place() -> None:
    assert Decision(received(1), Ledger(), "waiting").growth < GUESSED_SESSION_BYTES
