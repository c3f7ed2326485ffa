"""How often a schedule ticks, compared with the shortest period that a policy allows."""

import pytest

from heed.core.schedule.period import find_shorter_period
from heed.core.schedule.schedule import WrittenSchedule, parse_schedule


def found(shortest: int, **members: str) -> int | None:
    return find_shorter_period(parse_schedule(WrittenSchedule(**members), "spec.timers.t"), shortest)


@pytest.mark.parametrize(
    ("cron", "period"),
    [
        ("* * * * * *", 1),
        ("*/7 * * * * *", 4),  # from :56 to :00
        ("* * * * *", 60),
        ("0,59 3 * * *", 59 * 60),
        ("5 0,23 * * *", 3600),  # overnight
        ("0 0,9,17 * * *", 7 * 3600),
        ("@hourly", 3600),
        ("30 2 * * *", 86400),
        ("0 0 1 1 *", 86400),  # no longer than a day
    ],
)
def test_cron_is_measured_by_its_times_of_day(cron: str, period: int) -> None:
    assert found(period, cron=cron) is None
    shorter = found(period + 1, cron=cron)
    assert shorter == period


def test_the_first_gap_that_is_too_short_is_named() -> None:
    assert found(3600, cron="0,20,30 3 * * *") == 20 * 60


def test_an_interval_is_its_own_period() -> None:
    assert found(90, every="90s") is None
    assert found(91, every="90s") == 90


def test_what_ticks_once_has_none() -> None:
    assert found(86400, at="2026-12-24T18:00:00Z") is None
