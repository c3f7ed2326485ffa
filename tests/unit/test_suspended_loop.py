"""The loop of a suspended Agent: it reads nothing, and does what it owes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heed.core.ledger.ledger import Ledger
from heed.errors import BusUnavailable, LedgerConflict
from tests.builders.agents import program
from tests.integration.waiting import until
from tests.unit.inmemory import CREATED, PAST, owed_message, pending, start, turns, with_tasks
from tests.unit.loops import ASK, SINCE, Life, Lives, at_place
from tests.unit.test_loop import AGENT, ALL, ended

SUSPENDED = program(ASK, suspend=True)


def owing() -> Ledger:
    """A ledger that owes a start, a message and a removal."""
    tasks = {"t-1": start().record, "gone": pending("Abandoned"), "runs": pending("Started")}
    return replace(with_tasks(**tasks), outbox={"m-0": owed_message(0).owed})


async def resumed(lives: Lives, ledger: Ledger | None = None) -> Life:
    """A suspended loop that has its ledger."""
    life = lives.running(SUSPENDED, ledger)
    life.begin()
    await until(lambda: bool(life.runner.resumed))
    return life


async def test_it_opens_no_reader_and_has_no_lag(lives: Lives) -> None:
    life = await resumed(lives, at_place(7))

    assert life.watcher.starts == [(AGENT, at_place(7), [])]
    assert life.bus.opened == []
    assert life.loop.lag is None
    assert life.loop.stored is life.store.stored


async def test_what_was_decided_is_done_and_leaves_the_ledger(lives: Lives) -> None:
    life = await resumed(lives, owing())

    await until(lambda: not life.ledger.outbox and "gone" not in life.ledger.pending_tasks)
    await until(lambda: life.ledger.pending_tasks["t-1"].phase == "Started")

    assert [work.id for work, _ in life.runner.started] == ["t-1"]
    assert ("cancel", "gone") in life.runner.happened
    assert life.runner.resumed == [["runs"]]
    assert life.bus.owed == [("m-0", owed_message(0).owed, True)]
    assert life.ledger.cursor == owing().cursor
    assert all(decided == [] for decided in life.outcomes())


async def test_the_end_of_a_task_is_published_and_not_decided(lives: Lives) -> None:
    life = await resumed(lives, with_tasks(runs=pending("Started")))

    assert life.loop.report(ended("runs"))
    await until(lambda: bool(life.watcher.ends))

    assert [event.subject for _, event in life.bus.published] == ["runs"]
    assert "runs" in life.ledger.pending_tasks
    assert life.watcher.commits == []


async def test_a_deadline_holds(lives: Lives) -> None:
    life = await resumed(lives, with_tasks(late=replace(start().record, deadline=PAST)))

    await until(lambda: bool(life.watcher.ends))

    assert [(end.task_id, end.reason) for _, end in life.watcher.ends] == [("late", "DeadlineExceeded")]
    assert life.runner.happened == [("cancel", "late")]
    assert "late" in life.ledger.pending_tasks


async def test_after_a_conflict_it_starts_over_and_still_reads_nothing(lives: Lives) -> None:
    life = lives.running(SUSPENDED, owing())
    life.store.refusals.append(LedgerConflict("somebody else wrote it"))
    life.begin()

    await until(lambda: not life.ledger.outbox)

    assert [error for error, _ in life.troubles()] == ["somebody else wrote it"]
    assert life.bus.opened == []


async def test_the_cursor_of_a_quiet_one_is_kept_within_the_stream(lives: Lives) -> None:
    life = await resumed(lives, at_place(7))
    life.reader.floor, life.reader.far = 7, 90

    await life.loop.keep_up(5, 100)
    await until(lambda: life.ledger.cursor.sequence == 90)

    assert life.bus.opened == [(ALL, 7, SINCE, CREATED)]
    assert life.reader.closed
    assert life.reader.asked == []


@pytest.mark.parametrize(
    ("cursor", "floor", "far"),
    [
        (7, 8, 90),  # something before its first message is gone: it is to be counted when it goes on
        (7, 7, 7),  # something waits for it
        (0, 0, 90),  # it never read anything
        (50, 50, 90),  # nothing is about to be dropped
    ],
)
async def test_it_stays_where_something_waits_or_is_gone(
    lives: Lives, cursor: int, floor: int, far: int
) -> None:
    life = await resumed(lives, at_place(cursor))
    life.reader.floor, life.reader.far = floor, far

    await life.loop.keep_up(5, 100)
    await turns(20)

    assert life.ledger.cursor.sequence == cursor
    assert life.watcher.commits == []


async def test_a_look_ahead_that_fails_is_raised_and_leaves_no_reader(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = await resumed(lives, at_place(7))
    life.reader.floor = 7

    async def away() -> int:
        raise BusUnavailable("away")

    monkeypatch.setattr(life.reader, "reached", away)
    with pytest.raises(BusUnavailable):
        await life.loop.keep_up(5, 100)

    assert life.reader.closed
