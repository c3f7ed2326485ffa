"""The loop of an Agent: where a life begins, what it owes, what ends it and how the next one begins."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from heed.api.status import Phase
from heed.core.effects import AgentRef, CancelTask, Publish, StartTask, TaskEnd
from heed.core.ledger.ledger import Ledger
from heed.engine import deferred_queue
from heed.engine.lag import Lag
from heed.engine.loop import STEADY_AFTER_S
from heed.errors import BusUnavailable, HeedError, LedgerConflict, LedgerGone, LedgerUnavailable, ReaderLost
from tests.builders.agents import program
from tests.builders.events import received
from tests.builders.policies import allowed_by, policy, restricted
from tests.integration.waiting import until
from tests.unit.inmemory import CREATED, FUTURE, PAST, Reader, owed_message, pending, start, turns, with_tasks
from tests.unit.loops import ASK, NO_ROOM, SINCE, TIGHT, Lives, at_place

AGENT = AgentRef("demo", "researcher", "5c3b1f9e-uid")
INBOX, ALL = program(ASK).inbox, program(ASK).subjects
PHASES: tuple[Phase, ...] = ("Owed", "Started", "Cancelling", "Abandoned")
FULL = 3  # so many wait at most


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few may wait: from 3 on only the inbox is read, until there is but one."""
    monkeypatch.setattr(deferred_queue, "MAX_DEFERRED_EVENTS", FULL)


# ── where it begins ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_agent_that_never_was_reads_all_its_subjects_since_it_is_there(lives: Lives) -> None:
    life = lives.of()

    await life.reading()

    assert life.bus.opened == [(ALL, 0, SINCE, None)]
    assert life.watcher.starts == [(AGENT, Ledger(), [])]
    assert life.runner.resumed == [[]]


@pytest.mark.parametrize(
    ("ledger", "subjects", "after"),
    [
        (at_place(7), ALL, 7),
        (at_place(7, inbox=9), ALL, 7),
        (at_place(7, waiting=FULL - 1), ALL, 7),
        (at_place(7, waiting=FULL), INBOX, 7),
        (at_place(7, inbox=9, waiting=FULL), INBOX, 9),
        (at_place(7, inbox=5, waiting=FULL), INBOX, 7),
    ],
)
async def test_it_reads_on_from_its_cursor_and_only_the_inbox_where_too_many_wait(
    lives: Lives, crowd: None, ledger: Ledger, subjects: tuple[str, ...], after: int
) -> None:
    life = lives.of(ledger=ledger, size=NO_ROOM, pace=TIGHT)

    await life.reading()

    assert life.bus.opened == [(subjects, after, SINCE, CREATED)]


async def test_what_the_ledger_owes_is_made_again_and_runners_are_told_what_was_started(lives: Lives) -> None:
    owed = start()
    tasks = {phase.lower(): pending(phase, deadline=FUTURE) for phase in PHASES} | {"owed": owed.record}
    ledger = replace(with_tasks(**tasks), outbox={"m-0": owed_message(0).owed})
    life = lives.of(ledger=ledger)

    await life.reading()
    await until(lambda: len(life.watcher.effects) == 4)

    all_owed = [
        StartTask("owed", owed.record),
        CancelTask("cancelling", tasks["cancelling"]),
        CancelTask("abandoned", None),
        Publish("m-0", owed_message(0).owed),
    ]
    assert life.watcher.starts == [(AGENT, ledger, all_owed)]
    assert life.runner.resumed == [["started"]]
    assert [(work.agent, work.id, look_first) for work, look_first in life.runner.started] == [
        (AGENT, "owed", True)
    ]
    assert life.bus.owed == [("m-0", owed_message(0).owed, True)]


async def test_what_was_made_is_struck_from_the_ledger_without_any_event(lives: Lives) -> None:
    tasks = {"t-1": start().record, "gone": pending("Abandoned")}
    life = lives.of(ledger=replace(with_tasks(**tasks), outbox={"m-0": owed_message(0).owed}))

    await life.reading()

    ledger = await life.committed()
    assert (dict(ledger.outbox), {key: task.phase for key, task in ledger.pending_tasks.items()}) == (
        {},
        {"t-1": "Started"},
    )
    assert life.outcomes() == [[]]


async def test_a_task_that_is_over_its_time_is_ended_and_not_started(lives: Lives) -> None:
    life = lives.of(ledger=with_tasks(late=replace(start().record, deadline=PAST)))

    await life.reading()
    await until(lambda: bool(life.watcher.ends))

    ((agent, end),) = life.watcher.ends
    assert (agent, end.task_id, end.reason) == (AGENT, "late", "DeadlineExceeded")
    assert life.runner.happened == [("cancel", "late")]


async def test_a_task_that_no_policy_allows_any_more_is_refused(lives: Lives) -> None:
    strict = restricted(allowed_by(policy(tasks={"kinds": []})), ASK)
    life = lives.running(strict, with_tasks(t=start().record))

    await life.reading()
    await until(lambda: bool(life.watcher.ends))

    assert [(end.task_id, end.reason) for _, end in life.watcher.ends] == [("t", "PolicyViolation")]


async def test_from_then_on_there_is_a_lag(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    life = lives.of()
    life.reader.pending = 4
    seen: list[Lag | None] = []
    monkeypatch.setattr(life.watcher, "resumed", lambda *_: seen.append(life.loop.lag))

    await life.reading()

    assert seen == [Lag(4, None)]


# ── what is asked of it ─────────────────────────────────────────────────────────────────────────────────────────────


def ended(task_id: str) -> TaskEnd:
    return TaskEnd(task_id, f"end-{task_id}", PAST, True, result=1)


async def test_before_its_ledger_is_read_it_may_wait_for_any_task(lives: Lives) -> None:
    loop = lives.of().loop

    assert (loop.stored, loop.ledger, loop.lag) == (None, None, None)
    assert loop.waits("any")
    assert not loop.report(ended("any"))
    await loop.keep_up(1, 100)


async def test_ends_of_tasks_that_it_waits_for_are_published(lives: Lives) -> None:
    tasks = {phase.lower(): pending(phase) for phase in PHASES[1:]}
    life = lives.of(ledger=with_tasks(**tasks))
    life.store.open.clear()
    await life.reading()
    assert life.loop.stored is life.store.stored
    assert life.loop.ledger is life.ledger

    assert [life.loop.waits(key) for key in (*tasks, "unknown")] == [True, True, False, False]
    assert life.loop.report(ended("started"))
    assert not life.loop.report(ended("abandoned"))
    assert not life.loop.report(ended("unknown"))

    await until(lambda: any(end.task_id == "started" for _, end in life.watcher.ends))
    assert {end.task_id for _, end in life.watcher.ends} <= {"started", "cancelling"}


async def test_between_two_lives_nothing_is_at_hand_and_ends_are_taken_note_of(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives.of(ledger=replace(at_place(5), pending_tasks={"t": pending("Started")}))
    life.failing(LedgerUnavailable("away"))
    seen: list[Any] = []

    def between() -> None:
        seen.append((life.loop.lag, life.loop.waits("t"), life.loop.report(ended("t"))))

    async def opening(*args: Any) -> Reader:
        between()
        return await open_(*args)

    open_ = life.bus.open
    monkeypatch.setattr(life.bus, "open", opening)
    lives.clock.asleep = between
    await life.reading()

    assert seen == [(None, True, True)] * 3
    assert life.bus.published == []
    assert life.runner.resumed == [["t"], ["t"]]


# ── what ends a life ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_agent_that_is_gone_is_followed_no_more(lives: Lives) -> None:
    life = lives.of()
    life.store.refusals.append(LedgerGone("it was removed"))
    await life.reading()

    life.come(1)

    assert life.running is not None
    await life.running
    assert (life.reader.closed, life.loop.lag, life.watcher.troubles) == (True, None, [])


async def test_the_end_of_a_life_leaves_nothing_under_way(lives: Lives) -> None:
    life = lives.of(
        ledger=replace(
            with_tasks(t=pending("Started", deadline=FUTURE)), outbox={"m-0": owed_message(0).owed}
        )
    )
    life.bus.open_to_all.clear()
    before = asyncio.all_tasks()
    await life.reading()
    assert len(asyncio.all_tasks()) > len(before) + 1

    await life.end()
    await turns()

    assert life.reader.closed
    assert asyncio.all_tasks() == before


DOUBLING = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(
    ("error", "delays"),
    [
        (LedgerConflict("written"), [0.0, *DOUBLING]),
        (ReaderLost("a gap"), [0.0, *DOUBLING]),
        (BusUnavailable("away"), DOUBLING),
        (RuntimeError("our mistake"), DOUBLING),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_it_starts_over_at_once_where_that_is_part_of_life_and_ever_later_where_nothing_comes_of_it(
    lives: Lives, error: Exception, delays: list[float]
) -> None:
    life = lives.of()
    life.failing(*[error] * len(delays))

    await life.reading()

    assert life.troubles() == [(str(error), delay) for delay in delays]
    assert lives.clock.slept == delays
    assert life.store.loads == len(life.bus.opened) == len(delays) + 1


async def test_after_trouble_even_a_conflict_waits(lives: Lives) -> None:
    life = lives.of()
    life.store.trouble.extend(
        [LedgerUnavailable("away"), LedgerConflict("written"), LedgerUnavailable("away")]
    )

    await life.reading()

    assert life.troubles() == [("away", 0.1), ("written", 0.2), ("away", 0.4)]


@pytest.mark.parametrize(("lived", "delay"), [(STEADY_AFTER_S, 0.2), (STEADY_AFTER_S + 0.1, 0.1)])
async def test_after_a_life_that_went_well_pauses_begin_anew(
    lives: Lives, lived: float, delay: float
) -> None:
    life = lives.of()
    second = Reader()
    life.bus.readers.extend([Reader(BusUnavailable("away")), second])
    life.begin()
    await until(lambda: bool(second.asked))

    lives.clock.now += lived
    second.reads.put_nowait(BusUnavailable("away again"))
    await until(lambda: bool(life.reader.asked))

    assert life.troubles() == [("away", 0.1), ("away again", delay)]


async def test_so_they_do_after_a_commit(lives: Lives) -> None:
    life = lives.of()
    life.failing(*[BusUnavailable("away")] * 3)
    life.bus.readers.append(Reader([received(1)], BusUnavailable("again")))

    life.begin()
    await until(lambda: bool(life.reader.asked))

    assert life.troubles() == [("away", 0.1), ("away", 0.2), ("away", 0.4), ("again", 0.1)]


@pytest.mark.parametrize("error", [RuntimeError("our mistake"), BusUnavailable("away")])
async def test_only_what_is_our_mistake_is_logged_with_its_trace(
    lives: Lives, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    life = lives.of()
    life.failing(error)

    await life.reading()

    logged = [
        (
            record.name,
            record.levelno,
            record.getMessage(),
            record.__dict__["agent"],
            record.exc_info is not None,
        )
        for record in caplog.records
    ]
    ours = [("heed.agent", logging.ERROR, "agent loop failed", "demo/researcher", True)]
    assert logged == ([] if isinstance(error, HeedError) else ours)
