"""Two who write one ledger, answers that get lost, and a loop that meets all kinds of errors."""

import asyncio
import contextlib

import pytest

from heed.core.effects import TaskEnd
from heed.errors import (
    BusUnavailable,
    LedgerConflict,
    LedgerGone,
    LedgerUnavailable,
    ReaderLost,
    TaskUnavailable,
)
from tests.integration.engine.points import Doors
from tests.integration.engine.world import AGENT, World
from tests.integration.waiting import SOON, until


async def test_someone_else_writes_and_the_loop_reads_again_from_the_cursor(world: World) -> None:
    # Given a writer that comes before each of the first commits
    doors = Doors()

    async def interfere(point: str) -> None:
        if point == "before commit" and doors.count(point) <= 3:
            key = f"{world.namespace}.{AGENT}"
            entry = await world.ledgers.get(key)
            await world.ledgers.put(key, entry.value or b"")

    doors.traps.append(interfere)
    life = await world.live(doors)

    # When
    for number in range(10):
        await world.send("both", f"s{number}", {"finish": number})

    # Then
    await world.check()
    assert ("start over", "LedgerConflict") in life.watcher.troubles
    assert doors.count("before load") == 4


@pytest.mark.parametrize("error", [LedgerUnavailable("no answer"), OSError("broken pipe"), KeyError("what?")])
async def test_a_commit_whose_answer_is_lost_counts(world: World, error: Exception) -> None:
    doors = Doors()
    doors.fail("after commit", error)
    life = await world.live(doors)

    await world.send("both", "s", {"finish": 1})
    await world.send("break")

    await world.check()
    assert ("start over", type(error).__name__) in life.watcher.troubles


@pytest.mark.parametrize(
    ("point", "error"),
    [
        ("before load", LedgerUnavailable("away")),
        ("before open", BusUnavailable("away")),
        ("before open", RuntimeError("a mistake")),
        ("before resume", TaskUnavailable("away")),
        ("before resume", KeyError("a mistake")),
        ("before commit", LedgerUnavailable("away")),
        ("before commit", ReaderLost("lost")),
        ("before emit", BusUnavailable("away")),
        ("before emit", ValueError("a mistake")),
        ("before letter", AssertionError()),
        ("before start", TaskUnavailable("away")),
        ("before start", TypeError("a mistake")),
        ("after start", TaskUnavailable("no answer")),
        ("before cancel", IndexError("a mistake")),
        ("after cancel", TaskUnavailable("no answer")),
        ("before end", UnicodeError("a mistake")),
        ("after end", BusUnavailable("no answer")),
    ],
)
async def test_no_error_ends_the_loop_or_loses_an_effect(world: World, point: str, error: Exception) -> None:
    doors = Doors()
    doors.fail(point, error, times=2)
    await world.live(doors)

    await world.send("both", "s", {"finish": 1})
    await world.send("both", "gone")
    await world.quiet()
    await world.send("stop", "gone")
    await world.send("break")

    await world.check()


async def test_a_ledger_that_is_gone_ends_the_loop(world: World) -> None:
    doors = Doors()
    doors.fail("before commit", LedgerGone("deleted"))
    life = await world.live(doors)

    await world.send("note")

    await until(life.task.done)
    assert life.task.exception() is None


async def test_a_conflict_without_end_is_met_ever_more_slowly(world: World) -> None:
    doors = Doors()
    doors.fail("before commit", LedgerConflict("again"), times=1000)
    life = await world.live(doors)
    await world.send("note")

    await until(lambda: doors.count("before load") >= 4)

    delays = life.watcher.delays
    assert delays[0] == 0
    assert delays == sorted(set(delays))


@pytest.mark.parametrize(
    "point",
    [
        "before load",
        "before open",
        "before resume",
        "before commit",
        "after commit",
        "before start",
        "before emit",
    ],
)
async def test_cancelled_anywhere_also_by_one_who_swallows_it_the_loop_ends(world: World, point: str) -> None:
    # Given something under way that does not heed the first word
    doors = Doors()
    reached = asyncio.Event()

    async def stubborn(name: str) -> None:
        if name == point and not reached.is_set():
            reached.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    doors.traps.append(stubborn)
    life = await world.live(doors)
    await world.send("both")
    await asyncio.wait_for(reached.wait(), SOON)

    # When
    async with asyncio.timeout(SOON):
        await life.end()

    # Then
    assert life.task.done()
    await world.live()
    await world.check()


async def test_two_loops_on_one_ledger_make_everything_once(world: World) -> None:
    one, other = await world.live(), await world.live()

    for number in range(60):
        await world.send(["both", "note", "ask", "break"][number % 4], f"s{number % 7}", {"finish": number})
        if number % 10 == 9:
            await world.send("stop", f"s{number % 7}")
            await world.send("over", f"s{(number + 3) % 7}")

    await world.check(fenced=False)
    troubles = {name for life in (one, other) for _, name in life.watcher.troubles}
    assert "LedgerConflict" in troubles
    assert troubles <= {"LedgerConflict", "LedgerUnavailable"}  # which a slow answer is, too


async def test_a_loop_that_comes_late_makes_again_only_what_the_other_has_cancelled(world: World) -> None:
    # Given two loops that no Lease keeps apart, the second of which has read what is owed, and goes no further
    early, late, first, second = Doors(), Doors(), asyncio.Event(), asyncio.Event()
    early.wait("before start", first)
    late.wait("before open", second)
    life = await world.live(early)
    await world.send("both", "kept")
    await world.send("both", "given up")
    await until(lambda: len(life.loop.ledger.pending_tasks if life.loop.ledger else {}) == 2)
    await world.live(late)
    await until(lambda: late.count("before open") == 1)

    # When the first makes both, and cancels one of them
    first.set()
    await until(lambda: len(world.jobs.made) == 2)
    await world.send("stop", "given up")
    await until(lambda: early.count("after cancel") == 1)
    second.set()

    # Then
    await until(lambda: sorted(world.jobs.made.values()) == [1, 2])
    [again] = (task_id for task_id, count in world.jobs.made.items() if count == 2)
    world.jobs.finish(again)
    await world.check(fenced=False)
    assert again in world.jobs.cancelled


async def test_an_observer_that_breaks_loses_no_effect(world: World) -> None:
    life = await world.live()
    calls: list[str] = []

    def reported(agent: object, end: TaskEnd) -> None:
        calls.append(end.task_id)
        if len(calls) == 1:
            raise ZeroDivisionError

    life.watcher.reported = reported  # type: ignore[method-assign]
    await world.send("both", "s", {"finish": 1})

    await world.check()
