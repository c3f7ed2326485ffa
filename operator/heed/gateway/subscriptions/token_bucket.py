"""A token bucket: how many requests may come, at once and per second."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """A bucket of `burst` tokens, filled with `rate` of them per second; times are in seconds of one clock."""

    rate: float
    burst: float
    _left: float = field(init=False)
    _at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now: float) -> float:
        """Take a token. Returns 0.0, or where there is none, seconds until there will be one."""
        self._fill(now)
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self.rate

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._at) if self._at != float("-inf") else 0.0
        self._left = min(self.burst, self._left + passed * self.rate)
        self._at = max(now, self._at)
