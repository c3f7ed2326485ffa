"""What the clocks of a time zone show, and when they are set forward or back.

The rules come from the `tzdata` package that is pinned with Heed, never from the machine: a schedule has the same ticks
in every image. Instants in here are naive datetimes in UTC, and local times are naive datetimes of the zone.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

DEFAULT_ZONE: Final = "UTC"
LAST_YEAR: Final = 9000  # schedules end here, well before the dates of Python do
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)


@lru_cache(maxsize=1)
def list_zone_names() -> tuple[str, ...]:
    """The names of all time zones, as the IANA database has them."""
    return tuple((resources.files("tzdata") / "zones").read_text().split())


def suggest_zone(name: str) -> str:
    """What to write instead of a name that no time zone has."""
    known = {zone.lower(): zone for zone in list_zone_names()}
    cities = {zone.lower().rpartition("/")[2]: zone for zone in list_zone_names() if "/" in zone}
    wanted = name.strip().lower().replace(" ", "_")
    if found := known.get(wanted) or cities.get(wanted):
        return f'write "{found}"'
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
    return f'did you mean "{known[near[0]]}"?' if near else "use an IANA name, such as Europe/Berlin or UTC"


@cache
def load_zone(name: str) -> ZoneInfo:
    """The time zone of a name that `list_zone_names` has."""
    if name not in list_zone_names():
        raise ValueError(f"{name} is no time zone")
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@dataclass(frozen=True, slots=True)
class ClockChange:
    """An instant at which a zone's clocks are set: local time is UTC plus `before` until then, plus `after` since."""

    at: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which the clocks are not set: from `begin` until before `end`, both in UTC."""

    begin: datetime
    end: datetime
    offset: timedelta


@dataclass(frozen=True, slots=True)
class LocalClock:
    """The clock of a time zone."""

    zone: str

    def offset(self, instant: datetime) -> timedelta:
        """What local time is ahead of UTC at an instant."""
        local = instant.replace(tzinfo=UTC).astimezone(load_zone(self.zone))
        return local.utcoffset() or timedelta(0)

    def stretches(self, begin: datetime) -> Iterator[Stretch]:
        """The time from an instant on, cut where the clocks are set. The last one ends with LAST_YEAR."""
        offset = self.offset(begin)
        for year in range(begin.year, LAST_YEAR + 1):
            for change in _list_changes(self.zone, year):
                if change.at > begin:
                    yield Stretch(begin, change.at, offset)
                    begin, offset = change.at, change.after
            end = datetime(year + 1, 1, 1)
            if begin < end:
                yield Stretch(begin, end, offset)
            begin = max(begin, end)

    def latest_shown(self, instant: datetime) -> datetime:
        """The latest local time that the clock has shown until an instant; it may have been set back since."""
        local = instant + self.offset(instant)
        change = self._last_change(instant)
        return local if change is None else max(local, change.at + change.before - _SECOND)

    def first_reached(self, local: datetime) -> datetime:
        """The first instant at which the clock shows a local time or, where it skips that, has passed it."""
        zone = load_zone(self.zone)
        instant = local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        if instant + self.offset(instant) == local:
            return instant
        change = self._last_change(instant)
        return instant if change is None else change.at

    def _last_change(self, instant: datetime) -> ClockChange | None:
        """The last change until an instant, if it is of the year or of the day before."""
        changes = {*_list_changes(self.zone, (instant - _DAY).year), *_list_changes(self.zone, instant.year)}
        return max((item for item in changes if item.at <= instant), key=lambda item: item.at, default=None)


@lru_cache(maxsize=2048)
def _list_changes(zone: str, year: int) -> tuple[ClockChange, ...]:
    """When the clocks of a zone are set in a year of UTC. No zone does so twice within a day."""
    clock, day = LocalClock(zone), datetime(year, 1, 1)
    found: list[ClockChange] = []
    before = clock.offset(day)
    while day.year == year:
        after = clock.offset(day + _DAY)
        if after != before:
            found.append(ClockChange(_find_change(clock, day, before), before, after))
        before, day = after, day + _DAY
    return tuple(found)


def _find_change(clock: LocalClock, begin: datetime, before: timedelta) -> datetime:
    """The second, of the day from `begin` on, in which the offset is not `before` any more."""
    low, high = 0, 86400
    while high - low > 1:
        middle = (low + high) // 2
        if clock.offset(begin + middle * _SECOND) == before:
            low = middle
        else:
            high = middle
    return begin + high * _SECOND
