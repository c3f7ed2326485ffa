"""A rate limiter: a token bucket for each sender, of whom any number may come."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from heed.gateway.refusals import busy

MAX_SENDERS: Final = 10_000  # remembered; who was heard of the longest ago begins with a full bucket again


@dataclass(slots=True)
class _Bucket:
    """What a sender has left, as of a time."""

    left: float
    at: float


class RateLimiter:
    """At most `rate` events per second of one sender, and `burst` at once. A rate of 0 is no limit."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1), clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, sender: str, count: int = 1, *, taken: int = 0) -> None:
        """Count events of a sender. Raises RequestRefused, 429, where they are too many; then none is counted.

        More events than a burst need a full bucket, and leave it in debt: a larger batch could never be sent otherwise,
        and batches would go around the rate. Of these events, `taken` were counted before and are not in `count`.
        """
        if not self._rate or count <= 0:
            return
        wanted, bucket = min(count, self._burst - taken), self._refilled(sender)
        if bucket.left < wanted:
            missing = (
                wanted + taken - bucket.left
            ) / self._rate  # the next request is counted from its begin
            message = f"more than {self._rate} events per second of {sender}; send it again later"
            raise busy(429, "TooManyRequests", message, missing)
        bucket.left -= count

    def _refilled(self, sender: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(sender)
        if bucket is None:
            bucket = self._buckets[sender] = _Bucket(self._burst, now)
            if len(self._buckets) > MAX_SENDERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(sender)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket
