"""A calendar of its own for schedules: every minute of a year, and which jobs Debian's cron looks for in it.

Written after the loop of Debian's cron (`cron.c`): wildcard jobs, whose minute or hour begins with a star, are looked
for in what the clock shows; all others in a virtual time that waits where clocks are set back, and catches up minute
by minute where they are set forward.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_RANGES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


@dataclass(frozen=True, slots=True)
class Look:
    """A look for jobs at an instant: for those of a local date, wildcard jobs, other jobs, or both."""

    at: datetime
    date: datetime
    wild: bool
    others: bool


@lru_cache(maxsize=8)
def list_looks(zone: str, year: int) -> dict[tuple[int, int], list[Look]]:
    """All looks of a year of UTC, by the minute and hour that they are for."""
    looks: dict[tuple[int, int], list[Look]] = defaultdict(list)
    info, instant = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    virtual = (instant - MINUTE).astimezone(info).replace(tzinfo=None)

    def look(at: datetime, local: datetime, *, wild: bool, others: bool) -> None:
        looks[local.minute, local.hour].append(Look(at, local, wild, others))

    while instant.year == year:
        shown = instant.astimezone(info).replace(tzinfo=None)
        if shown - virtual == MINUTE:
            look(instant, shown, wild=True, others=True)
            virtual = shown
        else:
            look(instant, shown, wild=True, others=False)
            while virtual < shown:
                virtual += MINUTE
                look(instant, virtual, wild=False, others=True)
        instant += MINUTE
    return looks


def read_field(text: str, index: int) -> set[int]:
    """The values of a field: *, values, ranges, lists and steps of them."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, last = _RANGES[index]
        if span != "*":
            ends = [int(end) for end in span.split("-")]
            first, last = ends[0], ends[-1] if len(ends) > 1 or not step else last
        found |= set(range(first, last + 1, int(step or 1)))
    return {day % 7 for day in found} if index == 4 else found


def list_ticks(expression: str, zone: str, year: int) -> list[datetime]:
    """When a job of five fields is due in a year, in order; a job that is due twice at an instant is so once."""
    fields = expression.split()
    minutes, hours, days, months, weekdays = (read_field(text, index) for index, text in enumerate(fields))
    wild = fields[0].startswith("*") or fields[1].startswith("*")
    both = fields[2].startswith("*") or fields[4].startswith("*")
    looks = list_looks(zone, year)

    def is_day(date: datetime) -> bool:
        of_month, of_week = date.day in days, date.isoweekday() % 7 in weekdays
        return date.month in months and ((of_month and of_week) if both else (of_month or of_week))

    return sorted(
        {
            look.at
            for minute in minutes
            for hour in hours
            for look in looks[minute, hour]
            if (look.wild if wild else look.others) and is_day(look.date)
        }
    )
