"""Releasing held events in a batch: fetched by their place, before all others, and as long as there is room."""

from dataclasses import replace
from typing import Any

from heed.api.status import Session
from heed.core.decision.decide import decide
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger, recall_held
from heed.engine.batch import DecisionBatch
from heed.engine.batching import DecisionBatcher
from heed.engine.deferred_queue import DeferredQueue
from heed.engine.event_rate import EventRateLimiter
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.agents import program
from tests.builders.decisions import after
from tests.builders.events import received
from tests.unit.inmemory import Bus, Reader, turns

OPEN, LINE = "com.example.open", "com.example.line"
AGENT = program(
    {"name": "open", "type": OPEN, "state": {"open": True}},
    {
        "name": "line",
        "type": LINE,
        "hold": {"until": "has(state.open)"},
        "state": {"n": "${state.?n.orValue('') + event.id}"},
    },
)
PACE = CommitRate(budget=3_000_000)


def line(sequence: int, session: str = "s", **more: Any) -> Received:
    return received(sequence, LINE, correlationid=session, **more)


class Desk:
    """An Agent whose stream holds these events, of which all but the last have been decided."""

    def __init__(self, *events: Received, limiter: EventRateLimiter | None = None) -> None:
        self.bus = Bus(*events)
        self.queue = DeferredQueue(self.bus, PACE)
        self.rooms: list[Headroom | None] = []
        self.decided: list[int] = []
        self.guarded = DecisionPool().of(AGENT)
        self.batcher = DecisionBatcher(self, self.queue, PACE, limiter)  # type: ignore[arg-type]
        self.batcher.reset()
        self.batch = DecisionBatch(after(AGENT, *events[:-1]))
        self.last = events[-1]

    async def decide(
        self, ledger: Ledger, event: Received, *, coming: object = (), room: Headroom | None, ahead: bool
    ) -> Decision:
        self.decided.append(event.sequence)
        room = self.rooms.pop(0) if self.rooms else room
        return await self.guarded.decide(ledger, event, room=room, ahead=ahead)

    async def run(self, *unread: Received) -> list[tuple[int, str]]:
        """Decide all that can be; what became of each."""
        buffer = ReadBuffer(Reader(unread) if unread else Reader())
        await turns()
        try:
            while await self.batcher.decide_turn(buffer, self.batch):
                pass
        finally:
            await buffer.close()
        return [(item.received.sequence, item.outcome) for item in self.batch.decisions]


def opening(sequence: int, session: str = "s") -> Received:
    return received(sequence, OPEN, correlationid=session)


async def test_what_is_ready_comes_before_what_was_read() -> None:
    desk = Desk(line(1), line(2), opening(3))

    found = await desk.run(desk.last, line(4), line(5))

    assert found == [(3, "handled"), (1, "handled"), (2, "handled"), (4, "handled"), (5, "handled")]
    assert desk.bus.fetched == [([1, 2], None)]
    assert desk.batch.ledger.sessions["s"].state["n"] == "e1e2e4e5"


async def test_nothing_is_fetched_as_long_as_nothing_is_ready() -> None:
    desk = Desk(line(1), opening(2, "t"))

    assert await desk.run(desk.last) == [(2, "handled")]
    assert desk.bus.fetched == []


async def test_what_is_held_on_is_no_decision_and_changes_nothing() -> None:
    desk = Desk(line(1), line(2), line(3))
    before = desk.batch.ledger
    desk.batch.ledger = replace(before, held=before.held.recall(["s"]))

    assert await desk.run() == []
    assert desk.decided == [1, 2]
    assert desk.batch.ledger == before
    assert desk.batch.growth == 0


async def test_a_decision_that_ends_sessions_beside_is_kept_though_the_event_is_held_on() -> None:
    agent = program(
        {"type": LINE, "hold": {"until": "has(state.open)"}},
        session={"idleTimeout": "1s", "onExpire": "Emit"},
    )
    ledger = after(agent, line(1, time=100))
    idle = {
        f"i{number}": Session("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "c", {"n": 1})
        for number in range(3)
    }
    ledger = replace(ledger, sessions=idle, held=ledger.held.recall(["s"]))
    desk = Desk(line(1), line(2))
    desk.guarded, desk.batch = DecisionPool().of(agent), DecisionBatch(ledger)

    assert await desk.run() == [(1, "held")]
    assert len(desk.batch.ledger.outbox) == 3
    assert desk.batch.ledger.held.ready == ()


async def test_what_the_stream_dropped_is_not_waited_for() -> None:
    desk = Desk(line(1), line(2), opening(3))
    del desk.bus.messages[1]

    assert await desk.run(desk.last) == [(3, "handled"), (2, "handled")]
    assert desk.batch.ledger.totals.expired == 1
    assert len(desk.batch.ledger.held) == 0


async def test_what_finds_no_room_stays_ready_until_the_next_commit_and_its_session_with_it() -> None:
    desk = Desk(line(1), line(2), line(3, "t"), opening(4))
    desk.batch.ledger = replace(desk.batch.ledger, held=desk.batch.ledger.held.recall(["t"]))
    ledger = decide(AGENT, desk.batch.ledger, desk.last).ledger
    desk.batch = DecisionBatch(replace(ledger, held=ledger.held.recall(["t"])))
    desk.rooms = [Headroom(0, 0)]

    assert await desk.run() == []
    assert desk.decided == [1, 3]
    assert desk.batch.ledger.held.ready == (1, 2)
    assert desk.queue.next_ready(desk.batch.ledger) is None

    desk.queue.record_commit(0)
    assert await desk.run() == [(1, "handled"), (2, "handled")]


async def test_where_only_a_commit_can_tell_the_room_the_batch_is_closed() -> None:
    desk = Desk(line(1), opening(2))
    desk.batch.ledger = decide(AGENT, desk.batch.ledger, desk.last).ledger
    desk.batch.growth = 1
    desk.rooms = [Headroom(0, 0)]

    assert await desk.run() == []
    assert desk.batch.closed
    assert desk.batch.ledger.held.ready == (1,)


async def test_a_reset_forgets_what_was_fetched_and_crowded_out() -> None:
    desk = Desk(line(1), opening(2))
    desk.batch.ledger = recall_held(desk.batch.ledger, 7)
    desk.queue.crowd_out("s")
    assert desk.queue.next_ready(desk.batch.ledger) is None

    desk.queue.reset()

    assert desk.queue.next_ready(desk.batch.ledger) == 1


async def test_a_rate_limit_counts_it_and_does_not_keep_it_back() -> None:
    limiter = EventRateLimiter(1000.0, 1)
    desk = Desk(line(1), opening(2), limiter=limiter)
    desk.batch.ledger = decide(AGENT, desk.batch.ledger, desk.last).ledger
    before = limiter.delay(0.0)

    assert await desk.run() == [(1, "handled")]
    assert limiter.delay(0.0) == before + 1000.0
