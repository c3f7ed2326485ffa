"""More sessions than a status can hold: some wait in the stream, none is lost, and the status keeps its budget."""

import pytest

from heed.core.ledger import deferred
from heed.core.ledger.ledger import Ledger, count_decided
from heed.engine import deferred_queue
from heed.engine.rate_limit import CommitRate
from tests.integration.engine.points import Doors
from tests.integration.engine.world import Life, World
from tests.integration.waiting import until

BUDGET = 30_000
SMALL = CommitRate(rate=10**9, burst=10**9, budget=BUDGET)
SESSIONS = 150


async def settled(world: World) -> Ledger:
    """Once all is decided: every session's fate is the one it would have had with room for all."""
    ledger = await world.quiet()
    fold = await world.fold()
    assert ledger.totals == fold.ledger.totals
    assert count_decided(ledger.totals) == len(fold.decisions)
    assert {key: session.state for key, session in ledger.sessions.items()} == {
        key: session.state for key, session in fold.ledger.sessions.items()
    }
    assert set(world.jobs.made) == fold.started
    assert all(count == 1 for count in world.jobs.made.values())
    return ledger


async def saturated(world: World, life: Life) -> None:
    """Until everything is read, and some of it waits."""
    await until(lambda: life.loop.ledger is not None and len(life.loop.ledger.waiting) > 0)
    await until(lambda: world.has_committed_all(life))


async def offer(world: World, kind: str, sessions: range) -> None:
    """An event for each of so many sessions."""
    for number in sessions:
        await world.send(kind, f"s{number}", {})


async def test_sessions_that_end_with_their_jobs_let_the_next_ones_in(world: World) -> None:
    # Given
    await offer(world, "ask", range(SESSIONS))
    life = await world.live(pace=SMALL)
    await saturated(world, life)
    offered = await world.stored()
    assert 0 < len(offered.ledger.sessions) < SESSIONS
    assert len(offered.ledger.sessions) + len(offered.ledger.waiting) == SESSIONS

    # When jobs end and their sessions too, whichever are there
    ended: set[str] = set()
    while len(ended) < SESSIONS:
        await until(lambda: bool(set(world.jobs.running) - ended))
        for task_id in set(world.jobs.running) - ended:
            session = world.jobs.running[task_id].session
            ended.add(task_id)
            world.jobs.finish(task_id)
            await world.send("over", session, {})

    # Then
    ledger = await settled(world)
    assert ledger.sessions == {}
    assert ledger.totals.tasks_started == SESSIONS
    assert max(life.doors.sizes) < BUDGET + 2000  # what waits has a place as well


async def test_sessions_that_events_end_let_the_next_ones_in(world: World) -> None:
    await offer(world, "note", range(SESSIONS))
    await offer(world, "over", range(SESSIONS))

    await world.live(pace=SMALL)

    ledger = await settled(world)
    assert ledger.sessions == {}
    assert ledger.totals.handled == 2 * SESSIONS


async def test_a_budget_for_nothing_lets_one_session_in_after_the_other(world: World) -> None:
    await offer(world, "note", range(10))
    await offer(world, "over", range(10))

    await world.live(pace=CommitRate(rate=10**9, burst=10**9, budget=1000))

    assert (await settled(world)).totals.handled == 20


@pytest.mark.parametrize("point", ["before commit", "after commit", "before open"])
async def test_a_death_in_the_middle_changes_nothing(world: World, point: str) -> None:
    await offer(world, "note", range(SESSIONS))
    doors = Doors()
    doors.die(point, 2 if point != "before open" else 1)
    life = await world.live(doors, pace=SMALL)
    await until(doors.dead.is_set)
    await life.end()

    await world.live(pace=SMALL)
    await offer(world, "over", range(SESSIONS))

    ledger = await settled(world)
    assert ledger.totals.handled == 2 * SESSIONS


async def test_when_very_many_wait_the_inbox_is_read_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an Agent that may let 20 events wait
    for module in (deferred, deferred_queue):
        monkeypatch.setattr(module, "MAX_DEFERRED_EVENTS", 20)
    await offer(world, "ask", range(SESSIONS))
    life = await world.live(pace=SMALL)
    await until(lambda: life.loop._batcher.ahead)  # from 20 on, until there are fewer than 18

    # When the sessions end by messages in the inbox, which stand behind all the others
    ended: set[str] = set()
    while len(ended) < SESSIONS:
        await until(lambda: bool(set(world.jobs.running) - ended))
        for task_id in set(world.jobs.running) - ended:
            ended.add(task_id)
            await world.send("over", world.jobs.running[task_id].session, {}, direct=True)

    # Then these made room, for sessions whose events had not even been read
    ledger = await settled(world)
    assert ledger.cursor.inbox is None
    assert ledger.sessions == {}
    assert ledger.totals.handled == 2 * SESSIONS
