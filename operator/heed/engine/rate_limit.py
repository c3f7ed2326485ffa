"""The rate limiter of ledger writes, in bytes: etcd stores the whole object at every write."""

from __future__ import annotations

from dataclasses import dataclass

from heed.settings import Settings


@dataclass(frozen=True, slots=True)
class CommitRate:
    """Limits of one Agent's loop. `rate` is bytes per second, `burst`, `growth` and `budget` are bytes.

    `shared` is what all Agents of the operator may write together.
    """

    rate: int = 512 * 1024
    burst: int = 1024 * 1024
    batch: int = 2000  # most events in one commit
    growth: int = 256 * 1024  # most bytes of owed effects that one commit may add
    owed: int = 2000  # most messages under way before the loop reads no further
    budget: int = 1024 * 1024  # most bytes of the whole object; events that would need more wait
    shared: CommitRateLimiter | None = None

    @classmethod
    def of(cls, settings: Settings) -> CommitRate:
        """The limits of every Agent of a process, with one shared bucket."""
        return cls(
            settings.commit_rate,
            settings.commit_burst,
            settings.batch,
            owed=settings.outbox_limit,
            budget=settings.status_budget,
            shared=CommitRateLimiter.of(settings.operator_commit_rate, settings.operator_commit_burst),
        )


@dataclass(slots=True)
class CommitRateLimiter:
    """A token bucket of bytes that one write may overdraw, so that a quiet Agent's first event commits at once."""

    rate: int
    burst: int
    tokens: float
    updated: float = 0.0

    @classmethod
    def of(cls, rate: int, burst: int) -> CommitRateLimiter:
        """A full bucket."""
        return cls(rate, burst, burst)

    def delay(self, now: float) -> float:
        """Seconds until the next write may go out; `now` is a monotonic time in seconds."""
        self._fill(now)
        return max(0.0, -self.tokens / self.rate)

    def spend(self, size: int, now: float) -> None:
        """Take `size` bytes for a write."""
        self._fill(now)
        self.tokens -= size

    def _fill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.updated) * self.rate)
        self.updated = now
