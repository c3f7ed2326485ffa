"""Gentle with the ledger's home: large batches where writes are dear, and no more owed than can be made."""

import asyncio
import itertools
import time
from collections.abc import Sequence

from heed import names
from heed.core.codec.canonical_json import dump_compact
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.engine.rate_limit import CommitRate, CommitRateLimiter
from heed.engine.read_buffer import READ_BATCH, ReadBuffer
from tests.integration.engine.points import Doors
from tests.integration.engine.world import QUICK, World
from tests.integration.waiting import until


async def burst(world: World, count: int, kind: str = "note") -> None:
    for start in range(0, count, 100):
        await asyncio.gather(*(world.send(kind, f"s{start + i}") for i in range(min(100, count - start))))


def count_owed(ledger: Ledger) -> int:
    return len(ledger.outbox) + sum(task.phase == "Owed" for task in ledger.pending_tasks.values())


def sequence_batches(doors: Doors) -> list[int]:
    """How many events each commit took in."""
    handled = [0, *(ledger.totals.handled for ledger in doors.ledgers)]
    return [after - before for before, after in itertools.pairwise(handled)]


async def test_slow_effects_hold_back_the_reading_and_the_ledger_stays_small(world: World) -> None:
    # Given effects that are made one at a time, by someone who is asked for them
    doors, permits = Doors(), asyncio.Semaphore(0)

    async def slow(point: str) -> None:
        if point == "before emit":
            await permits.acquire()

    doors.traps.append(slow)
    pace = CommitRate(rate=10**9, burst=10**9, batch=10, owed=20)
    await burst(world, 300)
    await world.live(doors, pace)

    # When they are made bit by bit
    for made in range(0, 300, 3):
        await until(lambda: doors.count("before emit") > made)  # noqa: B023
        for _ in range(3):
            permits.release()
        await until(lambda: doors.count("after emit") >= made + 3)  # noqa: B023

    # Then the ledger never owed more than the limit and one batch, made or not
    await world.check()
    assert max(map(count_owed, doors.ledgers)) <= pace.owed + 3 * pace.batch
    assert max(sequence_batches(doors)) <= pace.batch


async def test_at_the_limit_what_was_made_is_settled_without_reading_on(world: World) -> None:
    doors, held = Doors(), asyncio.Event()

    async def some_hang(point: str) -> None:
        if point == "before emit" and doors.count(point) > 5:
            await held.wait()

    doors.traps.append(some_hang)
    await burst(world, 120)
    await world.live(doors, CommitRate(rate=10**9, burst=10**9, batch=30, owed=10))

    def settled() -> bool:
        last = doors.ledgers[-1] if doors.ledgers else Ledger()
        return last.totals.handled >= 30 and len(last.outbox) == last.totals.handled - 5

    await until(settled)
    assert (
        doors.ledgers[-1].totals.handled <= 60
    )  # one batch, and one that was decided while it was committed

    held.set()
    await world.check()


async def test_a_commit_grows_the_ledger_by_no_more_than_it_may(world: World) -> None:
    await burst(world, 100, "ask")
    life = await world.live(pace=CommitRate(rate=10**9, burst=10**9, growth=10_000))

    await world.check()

    assert max(sequence_batches(life.doors)) <= 12


async def test_where_writes_are_dear_batches_grow(world: World) -> None:
    # Given a rate that pays for some ten writes a second
    pace = CommitRate(rate=30_000, burst=3_000)
    life = await world.live(pace=pace)
    clock = asyncio.get_running_loop().time
    began = clock()

    # When events come one by one, for a while
    for number in range(600):
        await world.send("none" if number % 5 else "break", f"s{number}")
    ledger = await world.check()

    # Then writes followed the clock and not the events
    sizes = [len(dump_compact(dump_ledger(item))) for item in life.doors.ledgers]
    assert ledger.totals.dead_lettered == 120
    assert sum(sizes) <= pace.burst + pace.rate * (clock() - began) + max(sizes)
    assert max(life.watcher.commits) > 20


async def test_a_commit_waits_while_all_agents_together_have_written_too_much(world: World) -> None:
    # Given a budget of all Agents that others have overdrawn for a long time
    shared = CommitRateLimiter.of(rate=1, burst=1)
    shared.spend(10**6, time.monotonic())
    life = await world.live(pace=CommitRate(rate=10**9, burst=10**9, shared=shared))

    # When an event comes, and one more when there is something to spend again
    await world.send("none", "one")
    await until(
        lambda: bool((life.loop._batches and life.loop._batches[0].decisions) or life.watcher.commits)
    )
    shared.tokens = 1.0
    await world.send("none", "two")
    await world.check()

    # Then both were written at once, and paid for by all
    assert life.watcher.commits[0] == 2
    assert shared.tokens < -life.doors.sizes[0] / 2


async def test_one_event_of_a_quiet_agent_is_committed_at_once(world: World) -> None:
    life = await world.live(pace=CommitRate(rate=1, burst=1))

    await world.send("none")

    await until(lambda: life.doors.count("after commit") == 1)


async def test_a_backlog_is_left_in_the_stream_and_not_held_in_memory() -> None:
    # Given a reader that always has more, and a loop that takes little at a time
    class Endless:
        read_so_far, floor, created, pending = 0, 0, "then", 1

        async def read(self, limit: int, timeout: float) -> Sequence[Received]:
            self.read_so_far += limit
            event = Event("e", "/test", "a.b")
            return [Received(1, "2026-11-01T00:00:00Z", names.event_subject("n", "a.b"), event)] * limit

        def release(self, sequence: int) -> None:
            pass

        async def reached(self) -> int:
            return 0

        async def close(self) -> None:
            pass

    reader = Endless()
    buffer = ReadBuffer(reader)
    await buffer.wait()

    # When
    for _ in range(200):
        assert buffer.take_arrived()
        for _ in range(5):
            buffer.unread.popleft()
        await buffer.wait(timeout=0.001)

    # Then
    assert len(buffer.unread) <= 2 * READ_BATCH
    assert reader.read_so_far <= 200 * 5 + 2 * READ_BATCH
    await buffer.close()


async def test_a_batch_larger_than_a_read_and_a_read_larger_than_a_batch(world: World) -> None:
    await burst(world, 700)
    small = await world.live(pace=CommitRate(QUICK.rate, QUICK.burst, batch=7))
    await until(lambda: small.doors.count("after commit") > 20)
    await small.end()

    await world.live()

    ledger = await world.check()
    assert ledger.totals.handled == 700
