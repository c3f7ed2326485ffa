"""Cron expressions in a time zone, with daylight saving as Debian's cron has it.

An expression whose minute and hour both do not begin with `*` is for a *time of day*: it is due when the clock first
shows that time or, where the clock skips it, has passed it; where the clock shows it twice, once. All others follow
*real time*: they are due whenever the clock shows a time that matches (as cron(8) of Debian says).

`cronsim` reads expressions and finds matching local times. The clock is applied here, since cronsim 2.8 does not do
so for six fields, and skips ticks where clocks are set by half an hour.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

from cronsim import CronSim, CronSimError

from heed.api.timer import MAX_CRON_CHARS
from heed.core.schedule.local_clock import LocalClock

NAMED_SCHEDULES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EPOCH: Final = datetime(2000, 1, 1)
_SECOND: Final = timedelta(seconds=1)
_FIELDS: Final = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L for the last day, LW for the last weekday",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday) or SUN-SAT, 5L for the last Friday, 1#2 for the second Monday",
}
_ZONE_PREFIX: Final = re.compile(r"(?:CRON_)?TZ=\S*\s*")
_SYNTAX: Final = "use *, a value, a range 1-5, a list 1,15 or a step */10"


class CronError(ValueError):
    """An expression that is no schedule: what is wrong with it, and what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message, self.remedy = message, remedy


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A cron expression of five fields, or six with seconds first, on the clock of a time zone."""

    fields: str
    zone: str

    @property
    def is_for_time_of_day(self) -> bool:
        """Whether it is due at a time of day, and not whenever the clock shows a time that matches."""
        minute, hour = self.fields.split()[-5:-3]
        return not minute.startswith("*") and not hour.startswith("*")

    def list_ticks(self, after: datetime, anchor: datetime) -> Iterator[datetime]:
        """The ticks after an instant, in order and in UTC. It has no use for an anchor."""
        instant = after.astimezone(UTC).replace(tzinfo=None)
        ticks = self._by_time_of_day(instant) if self.is_for_time_of_day else self._by_real_time(instant)
        return (tick.replace(tzinfo=UTC) for tick in ticks)

    def list_times_of_day(self) -> Iterator[int]:
        """The times at which it is due on each of its days, in order: seconds since midnight."""
        cron = CronSim(self.fields, _EPOCH)
        for hour, minute, second in product(sorted(cron.hours), sorted(cron.minutes), sorted(cron.seconds)):
            yield 3600 * hour + 60 * minute + second

    def _by_time_of_day(self, after: datetime) -> Iterator[datetime]:
        clock, last = LocalClock(self.zone), after
        for local in CronSim(self.fields, clock.latest_shown(after)):
            if (tick := clock.first_reached(local)) > last:
                yield tick
                last = tick

    def _by_real_time(self, after: datetime) -> Iterator[datetime]:
        """In each stretch between two changes of the clock, what matches. A match beyond its end is kept for later."""
        matches: Iterator[datetime] = iter(())
        searched, match = datetime.max, datetime.min
        for stretch in LocalClock(self.zone).stretches(after):
            begin = stretch.begin + stretch.offset - (_SECOND if stretch.begin > after else timedelta(0))
            if not searched <= begin < match:
                matches = CronSim(self.fields, begin)
                searched, match = begin, next(matches, datetime.max)
            while match < stretch.end + stretch.offset:
                yield match - stretch.offset
                searched, match = match, next(matches, datetime.max)
            if match == datetime.max:
                return


def parse_cron(expression: str, zone: str) -> CronSchedule:
    """The schedule of an expression, or of a name such as @daily. Raises CronError."""
    if expression.startswith("@"):
        if expression not in NAMED_SCHEDULES:
            raise _unknown_name(expression)
        return CronSchedule(NAMED_SCHEDULES[expression], zone)
    if found := _ZONE_PREFIX.match(expression):
        raise CronError(f'begins with "{found[0].strip()}"', "name the time zone in `timeZone`")
    fields = expression.upper().split()
    if len(expression) > MAX_CRON_CHARS:
        raise CronError(f"has more than {MAX_CRON_CHARS} characters", "make several timers of it")
    if len(fields) not in (5, 6):
        remedy = (
            "write minute, hour, day of month, month and day of week, with a second before them if you like"
        )
        raise CronError(f"has {len(fields)} field{'s' * (len(fields) != 1)}, not five or six", remedy)
    _check_fields(fields)
    return CronSchedule(" ".join(fields), zone)


def _check_fields(fields: list[str]) -> None:
    """Raise CronError for a field that cannot be read, or where no date ever matches."""
    for index, (name, values) in enumerate(list(_FIELDS.items())[-len(fields) :]):
        alone = ["*"] * len(fields)
        alone[index] = fields[index]
        try:
            CronSim(" ".join(alone), _EPOCH)
        except CronSimError:
            raise _unreadable(fields[index], name, values) from None
    try:
        next(CronSim(" ".join(fields), _EPOCH))
    except (CronSimError, StopIteration):
        raise CronError("never comes: no date matches it", "change day or month") from None


def _unreadable(text: str, name: str, values: str) -> CronError:
    written = name.replace("-", " ")
    if text == "?":
        return CronError(f'"?" is no {written}', "write * for any")
    if re.fullmatch(r"\*/0+|.*/0+", text):
        return CronError(f'"{text}" is no {written}: a step of 0', "use a step of at least 1")
    if (found := re.fullmatch(r"(\w+)-(\w+)", text)) and found[1] != found[2]:
        return CronError(
            f'"{text}" is no {written}',
            f"it has {values}; a range goes upwards, a list {found[1]},{found[2]} need not",
        )
    return CronError(f'"{text}" is no {written}', f"it has {values}; {_SYNTAX}")


def _unknown_name(expression: str) -> CronError:
    word = expression.split()[0]
    if word.lower() == "@every":
        return CronError(f'"{expression}" is no cron expression', "write `every: 15m` instead of `cron`")
    if word.lower() == "@reboot":
        return CronError("@reboot has no meaning for an Agent", "use `every`, `at` or a time in `cron`")
    if word.lower() in NAMED_SCHEDULES:
        return CronError(f'"{expression}" is unknown', f"write {word.lower()}")
    return CronError(f'"{expression}" is unknown', f"known are {', '.join(NAMED_SCHEDULES)}")
