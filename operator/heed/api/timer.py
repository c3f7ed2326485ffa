"""`spec.timers` of an Agent: schedules, and what becomes of ticks that are late or overlap."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from heed import names
from heed.api.fields import Cel, Duration, Model
from heed.api.status import FreeJson

MAX_CRON_CHARS = 128


class TimerSpec(Model):
    """Ticks at times: each is an event to this Agent alone. Exactly one of `cron`, `every` and `at` says when."""

    cron: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_CRON_CHARS,
            description="Five fields (minute, hour, day of month, month, day of week), six with seconds first, or a "
            "name such as @daily. Daylight saving as in Debian's cron.",
        ),
    ] = None
    every: Annotated[
        Duration | None,
        Field(description="An interval of real time, counted from when the timer was first scheduled."),
    ] = None
    at: Annotated[
        str | None,
        Field(min_length=1, max_length=40, description="Once, at an RFC 3339 time with its offset from UTC."),
    ] = None
    time_zone: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="IANA time zone of `cron`, such as Europe/Berlin; UTC if not given.",
        ),
    ] = None
    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=names.MAX_TYPE_CHARS,
            description="The CloudEvents type of its ticks, which handlers react to.",
        ),
    ] = names.TIMER_FIRED
    data: Annotated[
        FreeJson,
        Field(
            description="The data of its ticks: any value; strings may hold ${CEL} over `timer` (name, scheduledAt, "
            "previousAt, missed) and `agent`. If not given: {timer, scheduledAt, previousAt, missed}."
        ),
    ] = None
    session: Annotated[
        Cel | None,
        Field(
            description="CEL over `timer` and `agent` that gives the key of a tick's session; one session for each "
            "tick if not given."
        ),
    ] = None
    starting_deadline: Annotated[
        Duration | None,
        Field(
            description="A tick that is later than this is not fired. If not given: 1m where `missed` is None, else "
            "none is too late."
        ),
    ] = None
    missed: Annotated[
        Literal["Latest", "All", "None"],
        Field(
            description="Which ticks are made up for after an outage: the Latest, All of them in order (at most "
            "the last 100), or None."
        ),
    ] = "Latest"
    overlap: Annotated[
        Literal["Allow", "Skip", "Replace"],
        Field(
            description="While the session of the tick before still has tasks: Allow another one, Skip the new tick, "
            "or end that session and Replace it."
        ),
    ] = "Allow"
    suspend: Annotated[
        StrictBool, Field(description="No ticks. Afterwards it goes on with the next one from then on.")
    ] = False
