"""`wait` tasks: nothing but time, which the ledger keeps. When it is over is computed when the task starts."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from heed.api.fields import DURATION_PATTERN, MAX_DURATION_S, parse_duration
from heed.errors import DecisionFailed, Problem

_SECONDS: Final = re.compile(r"([0-9]+(\.[0-9]+)?)s")  # as CEL writes a duration
_LONGEST: Final = f"{MAX_DURATION_S // 86400}d"


def check_wait(shape: Any, path: str) -> Iterator[Problem]:
    """What is wrong with a wait before any event comes: its literal parts, and which there are."""
    given = shape if isinstance(shape, Mapping) else {}
    if len(given) != 1:
        remedy = "give exactly one of `for` and `until`"
        yield Problem(path, "needs either `for` or `until`", remedy)
        return
    ((member, value),) = given.items()
    if isinstance(value, str):
        try:
            wait_end({member: value}, "2026-01-01T00:00:00Z")
        except DecisionFailed as failure:
            yield Problem(f"{path}.{member}", *failure.message.split("; ", 1))


def wait_end(spec: Mapping[str, Any], started_at: str) -> str:
    """When a rendered wait is over (RFC 3339, UTC). `started_at` is the stream time of the event that started it.

    Raises DecisionFailed: BadWait.
    """
    if (until := spec.get("until")) is not None:
        return _format(_parse_time(until))
    return _format(datetime.fromisoformat(started_at) + timedelta(seconds=_parse_seconds(spec.get("for"))))


def _parse_time(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("it has no offset")
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise DecisionFailed(
            "BadWait", f"{value!r} is no time; write it as 2026-01-31T12:00:00Z, with its offset"
        ) from None


def _parse_seconds(value: Any) -> float:
    if isinstance(value, str):
        if re.fullmatch(DURATION_PATTERN, value) and len(value) <= 32:
            seconds: float = parse_duration(value)
        elif (found := _SECONDS.fullmatch(value)) is not None:
            seconds = float(found[1])
        else:
            seconds = -1
        if 0 <= seconds <= MAX_DURATION_S:
            return seconds
    raise DecisionFailed(
        "BadWait", f"{value!r} is no duration to wait for; write it as 90s, 10m or 1h30m, at most {_LONGEST}"
    )


def _format(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
