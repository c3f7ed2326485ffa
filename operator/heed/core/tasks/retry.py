"""Retries of tasks: which failures are followed by another attempt, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from heed import names
from heed.api.fields import parse_duration
from heed.api.task import RetrySpec
from heed.errors import POLICY_VIOLATION

FINAL_REASONS: Final = frozenset(
    ("Cancelled", POLICY_VIOLATION, "UnsupportedKind", "ClusterScoped", "UnsupportedLocally", "NoCommand")
)  # another attempt would end alike, or is not wanted
_INVALID: Final = "Invalid"  # begins the reasons of what can never be started as it is
_DIGITS: Final = 2**32


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is attempted, how long after a failure, in seconds, and after which failures (none: any)."""

    attempts: int
    initial: int
    factor: float
    longest: int
    jitter: float
    reasons: frozenset[str]

    @classmethod
    def of(cls, spec: RetrySpec) -> "RetryPolicy":
        """From the manifest."""
        backoff = spec.backoff
        return cls(
            attempts=spec.attempts,
            initial=parse_duration(backoff.initial),
            factor=backoff.factor,
            longest=parse_duration(backoff.max),
            jitter=backoff.jitter,
            reasons=frozenset(spec.reasons),
        )

    def covers(self, reason: str, cause: str | None) -> bool:
        """Whether a failure is followed by another attempt, as long as there are any."""
        if is_final(reason):
            return False
        return not self.reasons or reason in self.reasons or cause in self.reasons

    def delay(self, task_id: str, failed: int) -> float:
        """Seconds between the end of the attempt `failed` and the next one.

        The jitter shortens it by up to its share. It derives from the names: the same in every process.
        """
        longest = min(self.initial * self.factor ** (failed - 1), self.longest)
        share = int(names.digest("jitter", task_id, failed, size=4), 16) / _DIGITS
        return longest * (1 - self.jitter * share)


def is_final(reason: str) -> bool:
    """Whether no attempt follows a failure for this reason, whatever a manifest says."""
    return reason in FINAL_REASONS or reason.startswith(_INVALID)


def add_delay(time: str, seconds: float) -> str:
    """An RFC 3339 time so many seconds later, in the stream's own form."""
    return (datetime.fromisoformat(time) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_between(start: str, end: str) -> float:
    """The seconds from one RFC 3339 time to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
