"""The rate limiter of an Agent's events: a token bucket, counted by the generic cell rate algorithm (ITU-T I.371)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heed import names
from heed.api.agent import RateLimitSpec
from heed.core.decision.model import Decision
from heed.core.events import Event

LIMITED_OUTCOMES: Final = ("handled", "dead_lettered")


@dataclass(slots=True)
class EventRateLimiter:
    """A token bucket that is empty at first: no restart lets more events through than the limit does.

    In any time t at most `burst` + t / `interval` tokens are spent. Times are monotonic, in seconds.
    """

    interval: float  # seconds in which a token comes
    burst: int
    _full_at: float | None = None  # when it will be full

    @classmethod
    def of(cls, limit: RateLimitSpec | None) -> EventRateLimiter | None:
        """The limiter of a manifest; None where it has no limit."""
        return cls(limit.interval_s, limit.at_once) if limit is not None else None

    def start(self, now: float) -> None:
        """Begin, with an empty bucket. No effect on one that has begun."""
        if self._full_at is None:
            self._full_at = now + self.burst * self.interval

    def delay(self, now: float) -> float:
        """Seconds until there is a token."""
        assert self._full_at is not None, "it is started before anything is decided"
        return max(0.0, self._full_at - (self.burst - 1) * self.interval - now)

    def spend(self, now: float) -> None:
        """Take a token."""
        assert self._full_at is not None, "it is started before anything is decided"
        self._full_at = max(now, self._full_at) + self.interval


def is_limited(decision: Decision) -> bool:
    """Whether a decision takes a token: handlers ran for the event, or it is a dead letter.

    What Heed itself says to an Agent takes none: ends of tasks and what is due free what others wait for.
    """
    received = decision.received
    if decision.outcome not in LIMITED_OUTCOMES:
        return False
    of_heed = isinstance(received.event, Event) and names.is_reserved(received.event.type)
    return not (of_heed and names.is_inbox(received.subject) and received.redrive is None)
