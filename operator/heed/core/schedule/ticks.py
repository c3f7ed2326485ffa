"""Which tick of a timer is fired, once it is due: on time, late, or not at all."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Final, Literal

from heed.core.schedule.schedule import Schedule, next_after

MAX_LATE_TICKS: Final = 100  # that are fired one after the other; of more, the latest
MAX_COUNTED_TICKS: Final = 1000  # that are counted as missed at once; so many stand for "at least so many"
ON_TIME_S: Final = 60  # seconds after which `missed: None` drops a tick, unless the timer says otherwise
_SECOND: Final = timedelta(seconds=1)

Missed = Literal["Latest", "All", "None"]


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """What is done about ticks that are late. Those older than `deadline` seconds are dropped in any case."""

    missed: Missed = "Latest"
    deadline: int | None = None

    @property
    def drop_after(self) -> int | None:
        """After how many seconds a tick is dropped; None where it never is."""
        return ON_TIME_S if self.deadline is None and self.missed == "None" else self.deadline


@dataclass(frozen=True, slots=True)
class TickChoice:
    """The tick to fire now, if any, how many due before it are not fired, and what is due next.

    Without a tick to fire, `missed` says how many are dropped: where it is 0, nothing is due before `next_at`.
    """

    tick: datetime | None
    missed: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class TimerClock:
    """A schedule in force since `anchor`, whose next tick is `next_at` (None: no more come)."""

    schedule: Schedule
    anchor: datetime
    next_at: datetime | None

    def next_after(self, after: datetime) -> datetime | None:
        """The first tick after an instant; None where no more come."""
        return next_after(self.schedule, after, self.anchor)

    def list_due(self, until: datetime) -> Iterator[datetime]:
        """The ticks from `next_at` until an instant."""
        return iter(()) if self.next_at is None else self.list_from(self.next_at, until)

    def list_from(self, first: datetime, until: datetime) -> Iterator[datetime]:
        """A tick and those after it until an instant.

        The first one counts as it is: by the rules of a time zone that were changed since, it might be another.
        """
        ticks = chain((first,), self.schedule.list_ticks(first, self.anchor))
        return takewhile(lambda tick: tick <= until, ticks)

    def count_missed(self, before: datetime) -> int:
        """How many ticks from `next_at` on are due before an instant, MAX_COUNTED_TICKS at most."""
        due = takewhile(lambda tick: tick < before, self.list_due(before))
        return sum(1 for _ in islice(due, MAX_COUNTED_TICKS))


def choose_tick(clock: TimerClock, policy: LatePolicy, now: datetime) -> TickChoice:
    """The tick to fire now by a timer's policy."""
    if clock.next_at is None or clock.next_at > now:
        return TickChoice(None, 0, clock.next_at)
    first = _first_allowed(clock, policy, now)
    if first is None:
        return TickChoice(None, clock.count_missed(now + _SECOND), clock.next_after(now))
    latest = _latest(clock, first, now)
    tick = latest if policy.missed == "Latest" else _limit(clock, first, latest)
    return TickChoice(tick, clock.count_missed(tick), clock.next_after(tick))


def _first_allowed(clock: TimerClock, policy: LatePolicy, now: datetime) -> datetime | None:
    """The first due tick that is not too late to be fired."""
    first, limit = clock.next_at, policy.drop_after
    if first is not None and limit is not None and first < now - limit * _SECOND:
        first = clock.next_after(now - (limit * _SECOND) - timedelta.resolution)
    return None if first is None or first > now else first


def _latest(clock: TimerClock, first: datetime, now: datetime) -> datetime:
    """The latest tick until now. `first` is one that is due."""

    def is_last(seconds: int) -> bool:
        tick = clock.next_after(first + seconds * _SECOND)
        return tick is None or tick > now

    return _earliest(first, now, is_last)


def _limit(clock: TimerClock, first: datetime, latest: datetime) -> datetime:
    """`first`, or the earliest of the last MAX_LATE_TICKS ticks where there are more until `latest`."""
    ticks = list(islice(clock.list_from(first, latest), MAX_COUNTED_TICKS))
    if ticks[-1] == latest:
        return ticks[-MAX_LATE_TICKS:][0]

    def are_few(seconds: int) -> bool:
        ticks = clock.schedule.list_ticks(first + seconds * _SECOND, clock.anchor)
        later = takewhile(lambda tick: tick <= latest, ticks)
        return next(islice(later, MAX_LATE_TICKS - 1, None), None) is None

    return _earliest(first, latest, are_few)


def _earliest(first: datetime, last: datetime, holds: Callable[[int], bool]) -> datetime:
    """The earliest instant that `holds`, whole seconds after `first`, by bisection: a tick may be due every second."""
    span = range((last - first) // _SECOND + 1)
    return first + bisect_left(span, True, key=holds) * _SECOND
