"""How often a schedule ticks: what a policy's shortest period is compared with."""

from itertools import chain, pairwise
from typing import Final

from heed.core.schedule.cron import CronSchedule
from heed.core.schedule.schedule import Interval, Schedule

DAY_S: Final = 86400


def find_shorter_period(schedule: Schedule, shortest: int) -> int | None:
    """A time between two ticks, in seconds, that is below `shortest`; None where none is.

    A cron expression is measured by its times of day, as if its clock were never changed and each of its days
    followed another one: so none is longer than a day. What ticks once has no period.
    """
    match schedule:
        case Interval(seconds=seconds):
            return seconds if seconds < shortest else None
        case CronSchedule():
            times = schedule.list_times_of_day()
            first = next(times)
            gaps = (later - earlier for earlier, later in pairwise(chain((first,), times, (first + DAY_S,))))
            return next((gap for gap in gaps if gap < shortest), None)
    return None
