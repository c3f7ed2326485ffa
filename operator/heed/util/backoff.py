"""Backoff: how long to wait before something is tried again."""

import random
from dataclasses import dataclass
from typing import Final

_MAX_DOUBLINGS: Final = 64  # more than any two delays are apart, and less than a float holds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with a cap: each delay is twice the one before.

    `jitter` is the share of a delay, from 0 to 1, up to which chance shortens it, so that many who failed together do
    not come back together.
    """

    first_s: float
    last_s: float
    jitter: float = 0.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait before an attempt. The first one has number 0, and waits for nothing."""
        if attempt <= 0:
            return 0.0
        delay = min(self.first_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS), self.last_s)
        return delay * random.uniform(1 - self.jitter, 1) if self.jitter else delay
