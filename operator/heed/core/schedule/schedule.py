"""When a timer's ticks are due: by a cron expression, an interval, or at one instant.

A schedule is a value without a clock. Its ticks are instants in UTC, and the same whichever instant one asks from.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from heed import names
from heed.api.fields import parse_duration
from heed.core.schedule.cron import CronError, parse_cron
from heed.core.schedule.local_clock import DEFAULT_ZONE, LAST_YEAR, list_zone_names, suggest_zone
from heed.errors import InvalidManifest, Problem

_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


class Schedule(Protocol):
    """When ticks are due."""

    def list_ticks(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """The ticks after an instant, in order and in UTC. `anchor` is when the schedule was first in force."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds of real time, counted from the anchor on, which is no tick itself."""

    seconds: int

    def list_ticks(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """The ticks after an instant, in order and in UTC."""
        step = timedelta(seconds=self.seconds)
        tick = anchor.astimezone(UTC) + step * max(1, (after - anchor) // step + 1)
        while tick.year < LAST_YEAR:
            yield tick
            tick += step


@dataclass(frozen=True, slots=True)
class Instant:
    """Once, at an instant in UTC."""

    at: datetime

    def list_ticks(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """The instant, where it is after another one."""
        if after < self.at:
            yield self.at


def next_after(schedule: Schedule, after: datetime, anchor: datetime) -> datetime | None:
    """The first tick after an instant; None where no more come."""
    return next(schedule.list_ticks(after, anchor), None)


def digest_schedule(schedule: Schedule) -> str:
    """What tells a schedule from one that it was edited into."""
    return names.digest("schedule", repr(schedule), size=8)


@dataclass(frozen=True, slots=True)
class WrittenSchedule:
    """A schedule as a manifest writes it: exactly one of `cron`, `every` and `at`."""

    cron: str | None = None
    every: str | None = None
    at: str | None = None
    time_zone: str | None = None


def parse_schedule(written: WrittenSchedule, path: str) -> Schedule:
    """The schedule. `path` is where it stands in a manifest. Raises InvalidManifest with every problem."""
    problems = [*_check_members(written, path), *_check_zone(written.time_zone, f"{path}.timeZone")]
    schedule: Schedule | None = None
    try:
        schedule = _parse_one(written, path)
    except InvalidManifest as error:
        problems += error.problems
    if problems or schedule is None:
        raise InvalidManifest(problems)
    return schedule


def _parse_one(written: WrittenSchedule, path: str) -> Schedule | None:
    if written.cron is not None:
        try:
            return parse_cron(written.cron, written.time_zone or DEFAULT_ZONE)
        except CronError as error:
            raise InvalidManifest([Problem(f"{path}.cron", error.message, error.remedy)]) from None
    if written.every is not None:
        seconds = parse_duration(written.every)
        if seconds == 0:
            raise InvalidManifest([Problem(f"{path}.every", "is no time at all", "use 1s at least")])
        return Interval(seconds)
    return None if written.at is None else Instant(_parse_instant(written.at, f"{path}.at"))


def _parse_instant(text: str, path: str) -> datetime:
    example = "write date, time and offset, such as 2026-12-24T18:00:00+01:00"
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise InvalidManifest([Problem(path, f'"{text}" is no time of RFC 3339', example)])
    date, time, fraction, offset = found.groups()
    if offset is None:
        remedy = f"add it, as in {date}T{time}Z for UTC, or {date}T{time}+01:00"
        raise InvalidManifest([Problem(path, "has no offset from UTC", remedy)])
    if fraction is not None and fraction.strip(".0"):
        raise InvalidManifest([Problem(path, "has a fraction of a second", "write whole seconds")])
    try:
        instant = datetime.fromisoformat(f"{date}T{time}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidManifest([Problem(path, f'"{text}" is no date and time that exist', example)]) from None
    if not 1970 <= instant.year < LAST_YEAR:
        raise InvalidManifest([Problem(path, f"is not between 1970 and {LAST_YEAR}", example)])
    return instant


def _check_members(written: WrittenSchedule, path: str) -> list[Problem]:
    given = [name for name in ("cron", "every", "at") if getattr(written, name) is not None]
    if not given:
        return [Problem(path, "has no schedule", "give it one of `cron`, `every` and `at`")]
    if len(given) > 1:
        return [
            Problem(path, f"has {' and '.join(f'`{name}`' for name in given)}", "give it exactly one of them")
        ]
    if written.time_zone is not None and given != ["cron"]:
        remedy = "remove it: an interval is real time" if given == ["every"] else "write the offset into `at`"
        return [Problem(f"{path}.timeZone", f"has no meaning beside `{given[0]}`", remedy)]
    return []


def _check_zone(name: str | None, path: str) -> list[Problem]:
    if name is None or name in list_zone_names():
        return []
    return [Problem(path, f'"{name}" is no time zone', suggest_zone(name))]
