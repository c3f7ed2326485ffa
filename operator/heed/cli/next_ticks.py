"""The next ticks of timers, for people: in their time zone and in UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from heed.core.compiler.program import Program
from heed.core.compiler.timers import CompiledTimer
from heed.core.schedule.cron import CronSchedule
from heed.core.schedule.local_clock import DEFAULT_ZONE, load_zone

SHOWN_TICKS: Final = 5


def describe_timers(program: Program, now: datetime) -> Iterator[str]:
    """A line for each timer, and one for each of its next ticks, as if it were scheduled now."""
    for timer in program.timers.values():
        ticks = find_next_ticks(timer, now)
        yield f"timer {timer.name}: {_state(timer, ticks)}"
        zone = _zone(timer)
        for tick in ticks:
            local = (
                ""
                if zone == DEFAULT_ZONE
                else f"{tick.astimezone(load_zone(zone)):%a %Y-%m-%d %H:%M:%S %Z}  "
            )
            yield f"  {local}{tick:%Y-%m-%dT%H:%M:%SZ}"


def find_next_ticks(timer: CompiledTimer, now: datetime) -> list[datetime]:
    """The next SHOWN_TICKS ticks after a time, as if it were scheduled then."""
    now = now.astimezone(UTC)
    anchor = now.replace(microsecond=0)
    return list(islice(timer.schedule.list_ticks(now, anchor), SHOWN_TICKS))


def _state(timer: CompiledTimer, ticks: list[datetime]) -> str:
    if timer.suspended:
        return "is suspended; it would tick" if ticks else "is suspended, and over"
    return "ticks next" if ticks else "is over: it never ticks again"


def _zone(timer: CompiledTimer) -> str:
    return timer.schedule.zone if isinstance(timer.schedule, CronSchedule) else DEFAULT_ZONE
