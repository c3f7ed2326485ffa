"""Schedules over a year, against a calendar that walks every minute of it by the rules of Debian's cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest

from heed.core.schedule.cron import parse_cron
from tests.unit import calendars

YEAR = 2025
ZONES = ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "UTC"]
EXPRESSIONS = [
    "*/5 * * * *",
    "* 0-3 * * *",
    "35 * * * *",
    "0 */3 * * *",
    "*/30 0-3 * * *",
    "0 0-23 * * *",
    "0 0 * * *",
    "30 2 * * *",
    "0,15,30,45 1,2,3 * * *",
    "45 1 * * 0",
    "0 0 1,15 * 1",
    "0 0 */2 * 1-5",
    "10-20/5 0 * 3,4,10,11 6,7",
    "59 23 31 12 *",
    "5 4 29 2 *",
]


def ticks_of_year(expression: str, zone: str) -> list[datetime]:
    """The ticks of a year of UTC."""
    begin, end = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)
    ticks = parse_cron(expression, zone).list_ticks(begin - timedelta(seconds=1), begin)
    return list(takewhile(lambda tick: tick < end, ticks))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", ["* * * * *", *EXPRESSIONS])
def test_a_year_has_the_ticks_of_the_calendar(expression: str, zone: str) -> None:
    assert ticks_of_year(expression, zone) == calendars.list_ticks(expression, zone, YEAR)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_six_fields_have_the_same_ticks_as_five(expression: str, zone: str) -> None:
    assert ticks_of_year(f"0 {expression}", zone) == ticks_of_year(expression, zone)


@pytest.mark.parametrize(("zone", "changes"), [*((zone, 2) for zone in ZONES[:3]), ("UTC", 0)])
def test_the_year_has_the_changes_of_the_clock_that_this_is_about(zone: str, changes: int) -> None:
    shown = [
        look.at for looks in calendars.list_looks(zone, YEAR).values() for look in looks if not look.others
    ]

    assert len({tick.date() for tick in shown}) == changes
