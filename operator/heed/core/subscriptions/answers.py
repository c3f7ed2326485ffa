"""What a sink's answer means, and when an event is tried again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from heed.api.fields import parse_duration
from heed.api.subscription import DeliveryBackoff

Verdict = Literal["delivered", "again", "refused"]
MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_POWER: Final = 64
# What may pass once the sink, its route or its credentials are mended.
PASSING_STATUSES: Final = frozenset((401, 403, 404, 407, 408, 409, 421, 423, 425, 429))


def judge_status(status: int) -> Verdict:
    """What an HTTP status says of an event: delivered (2xx), to be tried again, or refused for good.

    A redirect is not followed, and refused: the sink's URL is wrong.
    """
    if 200 <= status < 300:
        return "delivered"
    if status >= 500 or status in PASSING_STATUSES:
        return "again"
    return "refused"


def retry_delay(backoff: DeliveryBackoff, attempt: int, chance: float) -> float:
    """Seconds to wait after the `attempt`th failed attempt (from 1); `chance` in [0, 1) shortens it."""
    initial, most = parse_duration(backoff.initial), parse_duration(backoff.max)
    delay = min(initial * backoff.factor ** min(attempt - 1, _MAX_POWER), float(most))
    return delay * (1 - backoff.jitter * chance)


def read_retry_after(value: str | None, now: datetime) -> float:
    """Seconds that a Retry-After asks for, MAX_RETRY_AFTER_S at most; 0 without one, or one that makes no sense."""
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
