"""The loop of an Agent: read a batch, decide, commit once, and only then act; and how fast."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heed.api.status import Cursor, OutboxMessage
from heed.core.ledger.ledger import Ledger
from heed.engine import deferred_queue, effect_executor
from heed.engine.lag import Lag
from heed.engine.rate_limit import CommitRate, CommitRateLimiter
from heed.errors import LedgerConflict, TaskUnavailable
from heed.util.backoff import Backoff
from tests.builders.agents import job, program
from tests.builders.events import at, received, task_end
from tests.integration.waiting import until
from tests.unit.inmemory import CREATED, Bus, Reader, owed_message, start, turns, with_tasks
from tests.unit.loops import NO_ROOM, SAY, THERE, TIGHT, Lives, at_place

BEGIN = {"name": "begin", "start": [{"task": "work"}]}


class HoldingBus(Bus):
    """Keeps these messages back until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        await until(lambda: id not in self.held)
        await super().publish_owed(id, owed, look_first=look_first)


def owing(*numbers: int) -> Ledger:
    """A ledger that owes these messages."""
    return Ledger(outbox={f"m-{number}": owed_message(number).owed for number in numbers})


# ── read, decide, commit, act ───────────────────────────────────────────────────────────────────────────────────────


async def test_what_comes_together_is_committed_together_and_told(lives: Lives) -> None:
    life = lives.of(size=1234)
    await life.reading()

    life.come(1, 2, received(3, "org.example.other"))

    ledger = await life.committed()
    assert life.outcomes() == [[(1, "handled"), (2, "handled"), (3, "ignored")]]
    assert (ledger.totals.handled, ledger.totals.ignored, ledger.cursor.sequence) == (2, 1, 3)
    assert [(agent, told) for agent, _, told in life.watcher.commits] == [(life.agent.agent, ledger)]
    await until(lambda: life.reader.released == [3])
    assert life.loop.ledger is ledger


async def test_a_commit_is_measured(lives: Lives) -> None:
    life = lives.of(size=1234)
    await life.reading()
    life.store.open.clear()
    life.come(1, 2)
    await until(lambda: lives.decided == [1, 2])
    await turns()

    lives.clock.now += 2.5
    life.store.open.set()

    await life.committed()
    ((agent, decided, took, size),) = life.watcher.figures
    assert (agent, took, size) == (life.agent.agent, 2.5, 1234)
    assert len(decided) == 2


async def test_nothing_is_done_before_it_is_durable(lives: Lives) -> None:
    life = lives.of(SAY)
    await life.reading()
    life.store.open.clear()
    life.come(1)
    await until(lambda: lives.decided == [1])
    await turns()
    assert (life.bus.owed, life.reader.released) == ([], [])

    life.store.open.set()

    await until(lambda: len(life.bus.owed) == 1)
    ((_, owed, look_first),) = life.bus.owed
    assert (owed.subject, look_first) == ("heed.events.demo.com.example.said", False)
    assert (await life.committed(2)).outbox == {}


async def test_what_could_not_be_written_is_decided_again_and_done_once(lives: Lives) -> None:
    life = lives.of(SAY)
    life.store.refusals.append(LedgerConflict("written by somebody"))
    life.bus.readers.append(Reader([received(1)]))
    life.reader.reads.put_nowait([received(1)])

    life.begin()

    await until(lambda: len(life.bus.owed) == 1)
    await life.committed(2)
    assert lives.decided == [1, 1]
    assert life.outcomes() == [[(1, "handled")], []]
    assert (life.store.loads, lives.clock.slept) == (2, [0.0])


async def test_while_one_batch_is_committed_the_next_is_decided_on_top_of_it(lives: Lives) -> None:
    life = lives.of()
    await life.reading()
    life.store.open.clear()
    life.come(1)
    await until(lambda: lives.decided == [1])
    life.come(2)
    await until(lambda: lives.decided == [1, 2])
    life.reader.pending = 5
    assert life.loop.lag == Lag(7, at(1))

    life.store.open.set()

    await life.committed(2)
    assert life.outcomes() == [[(1, "handled")], [(2, "handled")]]
    await until(lambda: life.loop.lag == Lag(5, None))


async def test_the_next_one_holds_no_more_than_a_batch_may(lives: Lives) -> None:
    life = lives.of(pace=CommitRate(batch=2))
    await life.reading()
    life.store.open.clear()
    life.come(1, 2, 3, 4, 5)
    await until(lambda: lives.decided == [1, 2, 3, 4])
    await turns()

    life.store.open.set()

    await life.committed(3)
    assert life.outcomes() == [
        [(1, "handled"), (2, "handled")],
        [(3, "handled"), (4, "handled")],
        [(5, "handled")],
    ]


async def test_a_task_that_ended_in_its_own_batch_is_never_started(lives: Lives) -> None:
    cancel = {"name": "stop", "type": "com.example.stop", "end": True}
    agent = program(BEGIN, cancel, tasks={"work": job()})
    life = lives.running(agent)
    await life.reading()

    life.come(received(1, correlationid="c"), received(2, "com.example.stop", correlationid="c"))

    await until(lambda: bool(life.runner.happened))
    await life.committed(2)
    assert [what for what, _ in life.runner.happened] == ["cancel"]


async def test_a_task_whose_time_is_over_when_it_is_decided_is_ended_at_once(lives: Lives) -> None:
    agent = program(BEGIN, tasks={"work": job(timeout="60s")})
    life = lives.running(agent)
    await life.reading()

    life.come(1)

    await until(lambda: bool(life.watcher.ends))
    assert [end.reason for _, end in life.watcher.ends] == ["DeadlineExceeded"]
    assert life.runner.started == []


async def test_a_start_that_the_ledger_owes_no_more_is_tried_no_more(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effect_executor, "RETRY_BACKOFF", Backoff(10**6, 10**6))
    agent = program(BEGIN, tasks={"work": job()})
    life = lives.running(agent, with_tasks(t=start().record))
    life.runner.trouble.append(TaskUnavailable("no room"))
    await life.reading()
    await until(lambda: bool(life.watcher.troubles))
    executor = life.loop._executor
    assert executor is not None and executor._starts

    life.come(task_end(5, "t", 42))

    assert (await life.committed()).pending_tasks == {}
    await until(lambda: not executor._starts)
    assert life.runner.started == []


# ── no room ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_ahead_of_those_that_wait_the_inbox_is_decided_and_released(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_queue, "MAX_DEFERRED_EVENTS", 2)
    life = lives.of(ledger=at_place(5, waiting=2, sessions=THERE), size=NO_ROOM, pace=TIGHT)
    await life.reading()

    life.come(received(20, inbox=True, correlationid="there"))

    assert (await life.committed()).cursor == Cursor("HEED", 5, at(20), CREATED, 20)
    assert life.outcomes() == [[(20, "handled")]]
    await until(lambda: life.reader.released == [20])


async def test_what_is_being_committed_may_take_the_room_that_is_left(lives: Lives) -> None:
    # Given 100,000 bytes of room, and an event under way that may take them
    life = lives.of(ledger=Ledger(sessions=THERE), size=NO_ROOM - 100_000, pace=TIGHT)
    large = received(1, correlationid="there", id_="x" * 100_000)
    await life.reading()
    life.store.open.clear()
    life.come(large)
    await until(lambda: lives.decided == [1])

    # When another one comes, and it did take them
    life.come(received(2, correlationid="new"), received(3, correlationid="there"))
    await until(lambda: 2 in lives.decided)
    await turns()
    life.store.stored = replace(life.store.stored, size=NO_ROOM)
    life.store.open.set()

    # Then that one waits, which nobody could tell before, and the one behind it does not
    ledger = await life.committed(2)
    assert lives.decided == [1, 2, 2, 2, 3]
    assert life.outcomes() == [[(1, "handled")], [(2, "waiting"), (3, "handled")]]
    assert list(ledger.waiting.places) == [2]


# ── pace ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("whose", ["own", "shared"])
async def test_a_commit_that_took_too_much_holds_the_next_one_back(lives: Lives, whose: str) -> None:
    # Given a loop that has just written more than it may in a moment
    little = 10**6
    pace = (
        CommitRate(rate=little, burst=little)
        if whose == "own"
        else CommitRate(shared=CommitRateLimiter.of(little, little))
    )
    life = lives.of(size=1_010_000, pace=replace(pace, budget=10**9))
    await life.reading()
    life.come(1)
    await life.committed()

    # When events come one after the other, at the same time
    life.come(2)
    await until(lambda: lives.decided == [1, 2])
    life.come(3)
    await until(lambda: lives.decided == [1, 2, 3])
    await turns(100)
    assert len(life.watcher.commits) == 1

    # Then they share the next commit, once it may go out
    lives.clock.now += 0.0100001
    await life.committed(2)
    assert life.outcomes() == [[(1, "handled")], [(2, "handled"), (3, "handled")]]


async def test_a_full_batch_just_waits_for_that(lives: Lives) -> None:
    life = lives.of(size=3000, pace=CommitRate(rate=1000, burst=1000, batch=1))
    await life.reading()

    life.come(1, 2)

    await life.committed(2)
    assert lives.clock.slept == [0.0, pytest.approx(2.0)]
    assert life.watcher.troubles == []


async def test_of_two_paces_the_slower_one_counts(lives: Lives) -> None:
    pace = CommitRate(rate=1000, burst=1000, batch=1, shared=CommitRateLimiter.of(500, 1000))
    life = lives.of(size=3000, pace=pace)
    await life.reading()

    life.come(1, 2)

    await life.committed(2)
    assert lives.clock.slept == [0.0, pytest.approx(4.0)]


@pytest.mark.parametrize(
    ("limit", "size", "free"),
    [
        (2, 1000, False),
        (3, 1000, True),
        (3, 600_001, False),  # more than it may be: what it owes goes out first
        (3, 600_000, True),
    ],
)
async def test_with_as_many_messages_under_way_as_may_nothing_more_is_decided(
    lives: Lives, limit: int, size: int, free: bool
) -> None:
    life = lives.of(ledger=owing(0, 1), size=size, pace=CommitRate(owed=limit, budget=600_000))
    life.bus.open_to_all.clear()
    await life.reading()
    life.come(received(5, "org.example.other"))
    await until(lambda: life.loop.lag == Lag(1, at(5)) or bool(life.watcher.commits))
    await turns(100)
    assert bool(lives.decided) is free

    life.bus.open_to_all.set()

    await until(lambda: life.ledger.cursor.sequence == 5 and not life.ledger.outbox)
    assert life.watcher.troubles == []


async def test_what_was_made_meanwhile_is_struck_though_nothing_is_decided(lives: Lives) -> None:
    # Given an Agent with as many messages under way as may, one of which does not get out
    bus = HoldingBus()
    bus.held = {"m-1"}
    life = lives.of(ledger=owing(0, 1), size=3000, pace=CommitRate(owed=1, rate=1000, burst=1000), bus=bus)
    life.store.open.clear()
    await life.reading()
    life.come(5)
    await until(lambda: life.store.tries == 1)
    await turns(100)

    # When the other one is struck
    life.store.open.set()
    ledger = await life.committed()

    # Then nothing is decided before there is room
    assert (list(ledger.outbox), lives.decided, lives.clock.slept) == (["m-1"], [], [0.0])
    bus.held.clear()
    await until(lambda: lives.decided == [5])
