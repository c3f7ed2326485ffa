"""Which tick is fired, once a timer is due: on time, late, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.schedule.cron import parse_cron
from heed.core.schedule.schedule import Instant, Interval, Schedule
from heed.core.schedule.ticks import (
    MAX_COUNTED_TICKS,
    MAX_LATE_TICKS,
    LatePolicy,
    Missed,
    TickChoice,
    TimerClock,
    choose_tick,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTELY = Interval(60)


def after_noon(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def choose(
    missed: Missed, now: float, *, deadline: int | None = None, schedule: Schedule = MINUTELY
) -> TickChoice:
    """What is chosen so many seconds after noon, for a timer in force since then that has not ticked yet."""
    clock = TimerClock(schedule, NOON, next(schedule.list_ticks(NOON, NOON), None))
    return choose_tick(clock, LatePolicy(missed, deadline), after_noon(now))


@pytest.mark.parametrize("missed", ["Latest", "All", "None"])
def test_nothing_is_fired_before_it_is_due(missed: Missed) -> None:
    assert choose(missed, 59.9) == TickChoice(None, 0, after_noon(60))


@pytest.mark.parametrize("missed", ["Latest", "All", "None"])
@pytest.mark.parametrize("now", [60, 60.1, 119.9])
def test_a_tick_that_is_due_is_fired(missed: Missed, now: float) -> None:
    assert choose(missed, now) == TickChoice(after_noon(60), 0, after_noon(120))


def test_latest_fires_the_latest_and_counts_the_others() -> None:
    assert choose("Latest", 600) == TickChoice(after_noon(600), 9, after_noon(660))
    assert choose("Latest", 659.9) == TickChoice(after_noon(600), 9, after_noon(660))


def test_all_fires_one_after_the_other() -> None:
    assert choose("All", 600) == TickChoice(after_noon(60), 0, after_noon(120))


def test_all_is_cut_to_the_latest() -> None:
    assert choose("All", 60 * MAX_LATE_TICKS) == TickChoice(after_noon(60), 0, after_noon(120))
    assert choose("All", 60 * MAX_LATE_TICKS + 60) == TickChoice(after_noon(120), 1, after_noon(180))
    assert choose("All", 60 * MAX_LATE_TICKS + 600) == TickChoice(after_noon(660), 10, after_noon(720))


@pytest.mark.parametrize("extra", [0, 1, 500_000])
def test_all_is_cut_to_the_latest_also_after_very_many(extra: int) -> None:
    first = MAX_COUNTED_TICKS + extra - MAX_LATE_TICKS + 1

    found = choose("All", MAX_COUNTED_TICKS + extra, schedule=Interval(1))

    assert found == TickChoice(after_noon(first), min(first - 1, MAX_COUNTED_TICKS), after_noon(first + 1))


def test_none_drops_what_is_more_than_a_minute_late() -> None:
    assert choose("None", 180) == TickChoice(after_noon(120), 1, after_noon(180))
    assert choose("None", 180.1) == TickChoice(after_noon(180), 2, after_noon(240))
    assert choose("None", 3659, schedule=Interval(3600)) == TickChoice(after_noon(3600), 0, after_noon(7200))
    assert choose("None", 3660, schedule=Interval(3600)) == TickChoice(after_noon(3600), 0, after_noon(7200))
    assert choose("None", 3660.1, schedule=Interval(3600)) == TickChoice(None, 1, after_noon(7200))


def test_none_takes_another_deadline() -> None:
    assert choose("None", 3610, deadline=10, schedule=Interval(3600)) == TickChoice(
        after_noon(3600), 0, after_noon(7200)
    )
    assert choose("None", 3611, deadline=10, schedule=Interval(3600)) == TickChoice(None, 1, after_noon(7200))


def test_a_deadline_drops_what_is_too_late_under_every_policy() -> None:
    assert choose("All", 600, deadline=120) == TickChoice(after_noon(480), 7, after_noon(540))
    assert choose("Latest", 650, deadline=50) == TickChoice(after_noon(600), 9, after_noon(660))
    assert choose("Latest", 650, deadline=49) == TickChoice(None, 10, after_noon(660))
    assert choose("All", 650, deadline=49) == TickChoice(None, 10, after_noon(660))


def test_counting_ends_somewhere() -> None:
    assert choose("Latest", 10**7, schedule=Interval(1)) == TickChoice(
        after_noon(10**7), MAX_COUNTED_TICKS, after_noon(10**7 + 1)
    )
    assert choose("Latest", MAX_COUNTED_TICKS, schedule=Interval(1)).missed == MAX_COUNTED_TICKS - 1
    assert choose("None", 10**7, deadline=0, schedule=Interval(7)).missed == MAX_COUNTED_TICKS


@pytest.mark.parametrize("missed", ["Latest", "All", "None"])
def test_a_tick_that_the_rules_of_now_would_not_have_is_fired_when_it_was_due(missed: Missed) -> None:
    clock = TimerClock(MINUTELY, NOON, after_noon(90))  # reckoned by the rules of before

    assert choose_tick(clock, LatePolicy(missed), after_noon(95)) == TickChoice(
        after_noon(90), 0, after_noon(120)
    )
    late = choose_tick(clock, LatePolicy(missed), after_noon(130))
    assert late == TickChoice(
        *{"Latest": (after_noon(120), 1, after_noon(180))}.get(missed, (after_noon(90), 0, after_noon(120)))
    )


def test_an_instant_is_the_last_tick() -> None:
    assert choose("Latest", 100, schedule=Instant(after_noon(50))) == TickChoice(after_noon(50), 0, None)
    assert choose("None", 150, schedule=Instant(after_noon(50))) == TickChoice(None, 1, None)
    assert choose("Latest", 100, schedule=Instant(after_noon(-50))) == TickChoice(None, 0, None)


def test_latest_finds_the_last_of_a_burst() -> None:
    burst = parse_cron("* 0 13 * * *", "UTC")

    found = choose("Latest", 86400, schedule=burst)

    assert found == TickChoice(after_noon(3659), 59, after_noon(86400 + 3600))


POLICIES = st.builds(LatePolicy, st.sampled_from(["Latest", "All", "None"]), st.none() | st.integers(0, 500))
SCHEDULES = st.one_of(
    st.builds(Interval, st.integers(1, 100)),
    st.builds(Instant, st.integers(-100, 1000).map(after_noon)),
    st.sampled_from(["*/7 * * * * *", "0-5 */2 * * * *", "*/3 * * * *", "0 * * * *"]).map(
        lambda text: parse_cron(text, "UTC")
    ),
)


@given(SCHEDULES, POLICIES, st.integers(0, 900), st.integers(-10, 2000))
def test_the_choice_is_that_of_a_list_of_all_ticks(
    schedule: Schedule, policy: LatePolicy, skipped: int, late: int
) -> None:
    next_at = next(schedule.list_ticks(after_noon(skipped), NOON), None)
    now = after_noon(skipped + late)
    due = list(takewhile(lambda tick: tick <= now, schedule.list_ticks(after_noon(skipped), NOON)))

    found = choose_tick(TimerClock(schedule, NOON, next_at), policy, now)

    limit = 60 if policy.deadline is None and policy.missed == "None" else policy.deadline
    allowed = [tick for tick in due if limit is None or (now - tick).total_seconds() <= limit]
    allowed = allowed[-1:] if policy.missed == "Latest" else allowed[-MAX_LATE_TICKS:]
    if allowed:
        after = next(schedule.list_ticks(allowed[0], NOON), None)
        assert found == TickChoice(allowed[0], min(due.index(allowed[0]), MAX_COUNTED_TICKS), after)
    else:
        after = next(schedule.list_ticks(max(now, after_noon(skipped)), NOON), None)
        assert found == TickChoice(None, min(len(due), MAX_COUNTED_TICKS), after)
