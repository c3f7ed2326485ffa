"""What is due is published when it is due; time is given."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import pytest

from heed import names
from heed.api.status import Session
from heed.core.compiler.program import Program
from heed.core.due.timers import parse_time, schedule_timers
from heed.core.ledger.ledger import Ledger
from heed.engine import due_publisher, timer_heap
from heed.engine.due_publisher import END_GRACE_S, HOLD_BACK_S, MAX_HOLD_BACK_S, DuePublisher
from heed.engine.effect_executor import EffectExecutor
from heed.engine.timer_heap import TimerHeap
from heed.errors import BusUnavailable
from tests.builders.agents import job, program
from tests.builders.approvals import awaiting, buyer
from tests.builders.events import at
from tests.unit.inmemory import AGENT as REF
from tests.unit.inmemory import Bus, Runner, Watcher, pending, turns, with_tasks

AGENT = replace(program({"start": [{"task": "work"}]}, tasks={"work": job()}), agent=REF)
IDLE = Ledger(sessions={"s": Session(at(0), at(0), "c")})


def seconds(offset: float) -> float:
    """Seconds of the epoch, so many after noon."""
    return datetime.fromisoformat(at(offset)).timestamp()


class Timers(TimerHeap):
    """A heap that shows when it rings next, and rings when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def set(self, key: object, at: float, ring: timer_heap.Ring) -> None:
        """Note the time."""
        self.times.append(at)
        self.ring = ring
        super().set(key, at, ring)


class Kept:
    """A publisher at a time that is given, and what comes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = seconds(0)
        self.bus, self.runner, self.timers = Bus(), Runner(), Timers()
        self.executor = EffectExecutor(REF, self.bus, self.runner, Watcher())
        self.publisher: DuePublisher | None = None
        for module in (due_publisher, timer_heap):
            monkeypatch.setattr(module, "unix_time", lambda: self.now)

    def begin(self, ledger: Ledger, agent: Program = AGENT) -> DuePublisher:
        """A life begins now."""
        self.publisher = DuePublisher(agent, self.executor, self.timers)
        self.publisher.update_ledger(ledger)
        return self.publisher

    def ring(self, now: float) -> None:
        """As if the timer had run out so many seconds after noon."""
        self.now = seconds(now)
        self.timers.ring()


@pytest.fixture
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    made = Kept(monkeypatch)
    yield made
    if made.publisher is not None:
        made.publisher.stop()
    await made.executor.close()


async def test_what_is_over_its_time_is_ended_at_once_and_the_rest_in_time(kept: Kept) -> None:
    kept.now = seconds(10)

    kept.begin(with_tasks(early=pending(deadline=at(10)), late=pending(deadline=at(40))))
    await turns()

    assert kept.runner.happened == [("cancel", "early")]
    assert [event.subject for _, event in kept.bus.published] == ["early"]
    assert kept.timers.times == [seconds(40)]


async def test_when_the_timer_rings_it_looks_again(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending(deadline=at(40))))
    await turns()
    assert kept.runner.happened == []

    kept.ring(40)
    await turns()

    assert kept.runner.happened == [("cancel", "t")]
    assert len(kept.timers.times) == 1


async def test_an_approval_that_chooses_by_itself_does_so_a_little_later_for_answers_on_their_way(
    kept: Kept,
) -> None:
    ledger = awaiting(buyer("30s", onTimeout="reject"))
    kept.begin(ledger)

    kept.ring(31 + END_GRACE_S - 0.1)
    await turns()
    assert kept.bus.published == []
    kept.ring(31 + END_GRACE_S)
    await turns()

    ((_, event),) = kept.bus.published
    assert isinstance(event.data, dict)
    assert event.data["result"]["choice"] == "reject"
    assert kept.runner.happened == []


@pytest.mark.parametrize("taken_after", [5.0, MAX_HOLD_BACK_S + 100])
@pytest.mark.parametrize("by_itself", [{"onTimeout": "reject"}, {}])
async def test_an_approvals_time_waits_for_an_answer_that_is_being_taken_but_not_for_ever(
    kept: Kept, taken_after: float, by_itself: dict[str, str]
) -> None:
    over = 31 + END_GRACE_S
    ledger = awaiting(buyer("30s", **by_itself))
    kept.timers.holds_back = lambda agent, task: agent == REF and kept.now < seconds(over + taken_after)
    kept.begin(ledger)

    kept.ring(over)
    await turns()
    assert kept.bus.published == []
    assert kept.timers.times[-1] == seconds(over + HOLD_BACK_S)
    kept.ring(over + min(taken_after, MAX_HOLD_BACK_S))
    await turns()

    assert len(kept.bus.published) == 1


async def test_nothing_but_an_approval_is_held_back(kept: Kept) -> None:
    kept.timers.holds_back = lambda agent, task: True
    kept.begin(with_tasks(w=replace(pending(deadline=at(60)), kind="wait"), j=pending(deadline=at(60))))

    kept.ring(60)
    await turns()

    assert sorted(str(event.subject) for _, event in kept.bus.published) == ["j", "w"]


async def test_an_approval_that_cannot_be_read_keeps_nothing_else_from_its_time(kept: Kept) -> None:
    ledger = awaiting(buyer("30s", onTimeout="reject"))
    ((task_id, record),) = ledger.pending_tasks.items()
    tasks = {task_id: replace(record, request="{}"), "w": replace(pending(deadline=at(60)), kind="wait")}
    kept.begin(replace(ledger, pending_tasks=tasks))

    kept.ring(60)
    await turns()

    results = {event.subject: event.data for _, event in kept.bus.published}
    assert results[task_id] == {"task": "buy"}, "without a result, which no decision believes"
    assert set(results) == {task_id, "w"}


async def test_a_wait_completes_when_it_is_over_and_nothing_has_to_be_stopped(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending("Started", kind="wait", due=at(30))))

    kept.ring(30)
    await turns()

    ((subject, event),) = kept.bus.published
    assert subject == names.inbox_subject(REF.namespace, REF.name, names.TASK_COMPLETED)
    assert event.id == names.digest("wait", "t")
    assert event.data == {"task": "work", "result": {"until": at(30)}}
    assert kept.runner.happened == []


async def test_a_wait_whose_timeout_comes_first_fails_and_nothing_has_to_be_stopped(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending("Started", kind="wait", due=at(30), deadline=at(20))))

    kept.ring(20)
    kept.ring(30)
    await turns()

    assert [event.type for _, event in kept.bus.published] == [names.TASK_FAILED]
    assert kept.runner.happened == []


async def test_a_new_ledger_has_a_time_of_its_own(kept: Kept) -> None:
    publisher = kept.begin(with_tasks(t=pending(deadline=at(10))))

    publisher.update_ledger(with_tasks(u=pending(deadline=at(20))))
    assert kept.timers.times == [seconds(10), seconds(20)]
    assert len(kept.timers) == 1

    publisher.update_ledger(Ledger())
    assert len(kept.timers) == 0


async def test_a_started_task_has_its_grace_from_when_the_life_began(kept: Kept) -> None:
    kept.now = seconds(100)

    kept.begin(with_tasks(t=pending("Started", deadline=at(10))))

    assert kept.timers.times == [seconds(100 + END_GRACE_S)]


async def test_the_grace_is_after_the_deadline_where_that_is_later(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending("Started", deadline=at(10))))

    assert kept.timers.times == [seconds(10 + END_GRACE_S)]


async def test_nothing_rings_where_nothing_is_due(kept: Kept) -> None:
    kept.begin(with_tasks(t=pending()))

    assert kept.timers.times == []


async def test_an_idle_session_is_told_once_by_an_event_of_a_derived_id(kept: Kept) -> None:
    publisher = kept.begin(IDLE)
    due = at(86_460)

    kept.ring(86_460)
    publisher.update_ledger(replace(IDLE))
    await turns()

    ((subject, event),) = kept.bus.published
    assert subject == names.inbox_subject(REF.namespace, REF.name, "dev.heed.due.session")
    assert event.id == names.digest("due", REF.uid, "session", "", due)
    assert (event.time, event.data) == (due, {"at": due, "key": ""})


async def test_the_same_due_time_is_told_again_once_it_has_been_away(kept: Kept) -> None:
    publisher = kept.begin(IDLE)
    kept.ring(86_460)
    publisher.update_ledger(Ledger())

    publisher.update_ledger(IDLE)
    await turns()

    assert len(kept.bus.published) == 2


async def test_once_stopped_nothing_rings(kept: Kept) -> None:
    publisher = kept.begin(with_tasks(t=pending(deadline=at(10))))

    publisher.stop()
    publisher.stop()

    assert len(kept.timers) == 0


TICKING = replace(program({"type": names.TIMER_FIRED}, timers={"t": {"every": "1m"}}), agent=REF)


async def test_timers_are_scheduled_by_an_event(kept: Kept) -> None:
    kept.begin(Ledger(), TICKING)
    await turns()

    ((subject, event),) = kept.bus.published
    assert subject == names.inbox_subject(REF.namespace, REF.name, names.DUE_TIMERS_CHANGED)
    assert event.data == {"generation": 3}


async def test_a_tick_is_published_when_it_is_due(kept: Kept) -> None:
    publisher = kept.begin(ledger := schedule_timers(TICKING, Ledger(), parse_time(at(0))), TICKING)
    assert kept.timers.times == [seconds(60)]

    kept.ring(60)
    publisher.update_ledger(replace(ledger))
    await turns()

    ((subject, event),) = kept.bus.published
    assert subject == names.inbox_subject(REF.namespace, REF.name, names.TIMER_FIRED)
    assert (event.time, event.extensions) == ("2026-01-31T12:01:00Z", {"heedtimer": "t"})


async def test_a_tick_is_published_though_the_clock_is_set_back_just_then(kept: Kept) -> None:
    kept.begin(schedule_timers(TICKING, Ledger(), parse_time(at(0))), TICKING)
    kept.ring(60)
    kept.now = seconds(59)
    await turns()

    ((_, event),) = kept.bus.published
    assert event.time == "2026-01-31T12:01:00Z"


async def test_a_tick_that_is_published_late_is_the_one_that_its_timer_wants_then(kept: Kept) -> None:
    kept.begin(schedule_timers(TICKING, Ledger(), parse_time(at(0))), TICKING)
    kept.bus.trouble.append(BusUnavailable("away"))
    kept.ring(60)
    await turns()

    kept.now = seconds(200)
    await asyncio.wait(kept.executor._running)

    ((_, event),) = kept.bus.published
    assert event.time == "2026-01-31T12:03:00Z"


async def test_a_suspended_agent_ticks_no_more_and_keeps_its_deadlines(kept: Kept) -> None:
    suspended = replace(program({}, timers={"t": {"every": "1m"}}, suspend=True), agent=REF)
    scheduled = schedule_timers(TICKING, Ledger(), parse_time(at(0)))
    tasks = {"w": replace(pending("Started", deadline=at(90)), kind="wait")}

    kept.begin(Ledger(), suspended)
    kept.begin(replace(scheduled, pending_tasks=tasks), suspended)
    kept.ring(600)
    await turns()

    assert [event.type for _, event in kept.bus.published] == [names.TASK_FAILED]
