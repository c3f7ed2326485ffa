"""When it is said that a rate limit holds events back, and when that it is over: not for every event."""

from __future__ import annotations

import asyncio

import pytest

from heed.core.effects import AgentRef
from heed.kube.status import rate_limit_monitor
from heed.kube.status.rate_limit_monitor import RateLimitHistory, RateLimitMonitor

AGENT, OTHER = AgentRef("demo", "researcher", "uid-1"), AgentRef("demo", "other", "uid-2")


def history(*notes: tuple[float, bool], said: bool = False) -> RateLimitHistory:
    made = RateLimitHistory(said)
    for now, held in notes:
        made.note(held, now)
    return made


# --- one Agent ------------------------------------------------------------------------------------------------


def test_what_is_held_for_ten_seconds_is_said() -> None:
    limit = history((100.0, True))

    assert limit.next_look(100.0) == 110.0
    assert not limit.verdict(109.9)
    assert limit.verdict(110.0)
    assert limit.next_look(110.0) is None


def test_short_gaps_do_not_count_and_longer_ones_do() -> None:
    assert history((100.0, True), (105.0, False), (106.0, True)).verdict(110.0)
    assert not history((100.0, True), (105.0, False), (106.1, True)).verdict(110.0)
    assert history((100.0, True), (105.0, False), (106.1, True)).verdict(116.1)


def test_nothing_is_said_where_nothing_is_held_at_the_time() -> None:
    limit = history((100.0, True), (109.0, False))

    assert not limit.verdict(110.0)
    assert limit.next_look(110.0) is None


def test_it_is_over_when_nothing_was_held_for_a_minute() -> None:
    limit = history((100.0, True))
    assert limit.verdict(110.0)

    limit.note(False, 120.0)
    limit.note(False, 130.0)

    assert limit.next_look(120.0) == 180.0
    assert limit.verdict(179.9)
    assert not limit.verdict(180.0)


def test_it_is_not_over_where_something_is_held_within_that_minute() -> None:
    limit = history((100.0, True))
    assert limit.verdict(110.0)
    limit.note(False, 120.0)
    limit.note(True, 150.0)

    assert limit.next_look(150.0) is None
    assert limit.verdict(1000.0)


def test_what_a_status_says_stands_until_it_is_known_to_be_over() -> None:
    assert history(said=True).verdict(1000.0)
    assert not history((100.0, False), said=True).verdict(160.0)
    assert history((100.0, True), said=True).verdict(100.0)


# --- all of them ----------------------------------------------------------------------------------------------


class Watch:
    """A monitor at a time that is given; timers ring when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.changed: list[AgentRef] = []
        self.monitor = RateLimitMonitor(self.changed.append)
        monkeypatch.setattr(rate_limit_monitor, "loop_time", lambda: self.now)

    def ring(self, at: float) -> None:
        """The time of every timer that is due comes."""
        self.now = at
        for agent, timer in list(self.monitor._timers.items()):
            if timer.when() <= at:
                self.monitor._look(agent)

    def says(self, agent: AgentRef = AGENT) -> bool:
        return self.monitor.verdict(agent)


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def test_changes_are_reported_once_each_way_and_of_that_agent_only(watch: Watch) -> None:
    watch.monitor.limited(OTHER, False)
    watch.monitor.limited(AGENT, True)
    assert not watch.says()

    watch.ring(110.0)
    assert (watch.says(), watch.says(OTHER), watch.changed) == (True, False, [AGENT])
    watch.monitor.limited(AGENT, False)
    watch.ring(169.0)
    assert watch.says()
    watch.ring(170.0)
    assert (watch.says(), watch.changed) == (False, [AGENT, AGENT])
    assert (watch.monitor._histories, watch.monitor._timers) == ({}, {})


async def test_what_the_status_says_is_taken_back_after_a_minute(watch: Watch) -> None:
    watch.monitor.begin(AGENT, said=True)
    watch.monitor.begin(OTHER, said=False)
    assert (watch.says(), watch.says(OTHER)) == (True, False)

    watch.ring(130.0)
    watch.monitor.begin(AGENT, said=True)
    watch.ring(160.0)

    assert (watch.says(), watch.changed) == (False, [AGENT])


async def test_an_agent_that_is_gone_rings_no_more(watch: Watch) -> None:
    watch.monitor.limited(AGENT, True)
    (timer,) = watch.monitor._timers.values()

    watch.monitor.forget(AGENT)

    assert timer.cancelled()
    assert not watch.says()
    watch.monitor.limited(AGENT, True)
    watch.monitor.close()
    assert watch.monitor._timers == {}


async def test_a_timer_rings_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit_monitor, "HELD_AFTER_S", 0.001)
    changed = asyncio.Event()
    monitor = RateLimitMonitor(lambda agent: changed.set())

    monitor.limited(AGENT, True)

    await asyncio.wait_for(changed.wait(), 60)
    assert monitor.verdict(AGENT)
    monitor.close()
