"""Deadlines of tasks from the ledger alone; time is given."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.engine import task_deadlines
from heed.engine.effect_executor import EffectExecutor
from heed.engine.task_deadlines import (
    END_GRACE_S,
    IDLE_CHECK_INTERVAL_S,
    LONGEST,
    SHORTEST,
    TaskDeadlines,
    due_tasks,
    next_deadline,
)
from tests.builders.agents import job, program
from tests.builders.decisions import after
from tests.builders.events import at, received
from tests.unit.inmemory import AGENT as REF
from tests.unit.inmemory import Bus, Runner, Watcher, pending, turns, with_tasks

AGENT = program({"start": [{"task": "work"}]}, tasks={"work": job(timeout="60s")})


def seconds(offset: float) -> float:
    """Seconds of the epoch, so many after noon."""
    return datetime.fromisoformat(at(offset)).timestamp()


def in_phase(phase: str) -> Ledger:
    """A ledger with a task that was decided one second after noon, with a minute to go."""
    ledger = after(AGENT, received(1))
    tasks = {key: replace(task, phase=phase) for key, task in ledger.pending_tasks.items()}  # type: ignore[arg-type]
    return replace(ledger, pending_tasks=tasks)


def test_a_task_that_never_started_ends_at_its_deadline() -> None:
    ledger = in_phase("Owed")

    assert list(due_tasks(ledger, seconds(60.9), since=0)) == []
    assert [task_id for task_id, _ in due_tasks(ledger, seconds(61), since=0)] == list(ledger.pending_tasks)
    assert next_deadline(ledger, seconds(0), since=0) == seconds(61)


def test_a_started_one_gets_time_for_its_own_end_to_arrive() -> None:
    ledger = in_phase("Started")

    assert list(due_tasks(ledger, seconds(61 + END_GRACE_S) - 0.1, since=0)) == []
    assert len(list(due_tasks(ledger, seconds(61 + END_GRACE_S), since=0))) == 1


def test_after_an_absence_the_time_for_that_begins_anew() -> None:
    ledger, back = in_phase("Started"), seconds(3600)

    assert list(due_tasks(ledger, back + END_GRACE_S - 0.1, since=back)) == []
    assert next_deadline(ledger, back, since=back) == back + END_GRACE_S


@pytest.mark.parametrize("phase", ["Cancelling", "Abandoned"])
def test_what_is_being_stopped_has_no_deadline(phase: str) -> None:
    assert next_deadline(in_phase(phase), seconds(0), since=0) is None


def test_no_timeout_no_deadline() -> None:
    agent = program({"start": [{"task": "work"}]}, tasks={"work": job()})

    assert next_deadline(after(agent, received(1)), seconds(0), since=0) is None


# ── the timer ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept:
    """Deadlines at a time that is given, and what comes of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.delays, self.handles = 0.0, list[float](), list[asyncio.TimerHandle]()
        self.bus, self.runner = Bus(), Runner()
        self.executor = EffectExecutor(REF, self.bus, self.runner, Watcher())
        self.deadlines: TaskDeadlines | None = None
        monkeypatch.setattr(task_deadlines, "unix_time", lambda: self.now)
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def noted(
            delay: float, callback: Callable[..., object], *args: Any, **more: Any
        ) -> asyncio.TimerHandle:
            handle = call_later(delay, callback, *args, **more)
            if getattr(callback, "__self__", None) is self.deadlines:
                self.delays.append(delay)
                self.handles.append(handle)
            return handle

        monkeypatch.setattr(loop, "call_later", noted)

    def begin(self, ledger: Ledger) -> TaskDeadlines:
        """A life begins now."""
        self.deadlines = TaskDeadlines(self.executor)
        self.deadlines.update_ledger(ledger)
        return self.deadlines

    def ring(self) -> None:
        """As if the timer had run out."""
        self.handles[-1]._run()


@pytest.fixture
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    made = Kept(monkeypatch)
    yield made
    if made.deadlines is not None:
        made.deadlines.stop()
    await made.executor.close()


async def test_what_is_over_its_time_is_ended_at_once_and_the_rest_in_time(kept: Kept) -> None:
    early, late = pending(deadline=at(10)), pending(deadline=at(40))
    kept.now = seconds(10)

    kept.begin(with_tasks(early=early, late=late))
    await turns()

    assert kept.runner.happened == [("cancel", "early")]
    assert [event.subject for _, event in kept.bus.published] == ["early"]
    assert kept.delays == [30.0]


async def test_when_the_timer_rings_it_looks_again(kept: Kept) -> None:
    kept.now = seconds(10)
    kept.begin(with_tasks(t=pending(deadline=at(40))))
    await turns()
    assert kept.runner.happened == []

    kept.now = seconds(40)
    kept.ring()
    await turns()

    assert kept.runner.happened == [("cancel", "t")]
    assert len(kept.delays) == 1


@pytest.mark.parametrize(
    ("deadline", "delay"), [(0.1, SHORTEST), (0.75, 0.75), (86_400, LONGEST), (90_000, LONGEST)]
)
async def test_a_timer_is_neither_very_short_nor_very_long(kept: Kept, deadline: float, delay: float) -> None:
    kept.now = seconds(0)

    kept.begin(with_tasks(t=pending(deadline=at(deadline))))

    assert kept.delays == [pytest.approx(delay)]


async def test_a_new_ledger_has_a_timer_of_its_own(kept: Kept) -> None:
    kept.now = seconds(0)
    deadlines = kept.begin(with_tasks(t=pending(deadline=at(10))))

    deadlines.update_ledger(with_tasks(u=pending(deadline=at(20))))
    assert kept.delays == [10.0, 20.0]
    assert [handle.cancelled() for handle in kept.handles] == [True, False]

    deadlines.update_ledger(Ledger())
    assert kept.handles[-1].cancelled()
    assert len(kept.delays) == 2


async def test_a_started_task_has_its_grace_from_when_the_life_began(kept: Kept) -> None:
    kept.now = seconds(100)

    kept.begin(with_tasks(t=pending("Started", deadline=at(10))))

    assert kept.delays == [END_GRACE_S]


async def test_nothing_rings_where_nothing_has_a_deadline(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending()))

    assert kept.delays == []


async def test_while_events_wait_the_loop_looks_for_idle_sessions(kept: Kept) -> None:
    kept.begin(Ledger(waiting=DeferredEvents.of({1: "k"})))
    assert kept.delays == [IDLE_CHECK_INTERVAL_S]
    assert not kept.executor.settled.is_set()

    kept.ring()

    assert kept.executor.settled.is_set()
    assert kept.delays == [IDLE_CHECK_INTERVAL_S] * 2


async def test_a_deadline_before_that_look_comes_first(kept: Kept) -> None:
    kept.now = seconds(0)
    ledger = replace(with_tasks(t=pending(deadline=at(7))), waiting=DeferredEvents.of({1: "k"}))

    deadlines = kept.begin(ledger)
    assert kept.delays == [7.0]

    deadlines.update_ledger(replace(ledger, waiting=DeferredEvents()))
    kept.ring()
    assert not kept.executor.settled.is_set()


async def test_once_stopped_nothing_rings(kept: Kept) -> None:
    kept.now = seconds(0)
    deadlines = kept.begin(with_tasks(t=pending(deadline=at(10))))

    deadlines.stop()
    assert [handle.cancelled() for handle in kept.handles] == [True]
    deadlines.stop()


async def test_what_has_no_deadline_may_be_stopped(kept: Kept) -> None:
    kept.begin(Ledger()).stop()

    assert kept.delays == []


def test_a_deadline_that_is_now_is_due_and_not_the_next() -> None:
    ledger = with_tasks(now=pending(deadline=at(5)), later=pending(deadline=at(6)))

    assert [key for key, _ in due_tasks(ledger, seconds(5), since=0)] == ["now"]
    assert next_deadline(ledger, seconds(5), since=0) == seconds(6)
    assert next_deadline(ledger, seconds(6), since=0) is None
