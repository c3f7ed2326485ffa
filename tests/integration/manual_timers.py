"""A clock that stands still until it is set, for what the engine does at a time."""

from __future__ import annotations

import time
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta

import pytest

from heed.engine import due_publisher, timer_heap
from heed.engine.timer_heap import Ring, TimerHeap


class ManualTimers(TimerHeap):
    """A heap that rings when it is told to. Its time begins with the real one, as the broker's is that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = time.time()
        self._due: dict[Hashable, tuple[float, Ring]] = {}
        for module in (due_publisher, timer_heap):
            monkeypatch.setattr(module, "unix_time", lambda: self.now)

    def set(self, key: Hashable, at: float, ring: Ring) -> None:
        """Note a time."""
        self._due[key] = (at, ring)

    def drop(self, key: Hashable) -> None:
        """Forget it."""
        self._due.pop(key, None)

    @property
    def time(self) -> datetime:
        """The time."""
        return datetime.fromtimestamp(self.now, UTC)

    def go_to(self, moment: datetime) -> None:
        """Set the clock, and ring for what is due by then."""
        assert moment >= self.time, "time does not go back"
        self.now = moment.timestamp()
        for key in [key for key, (at, _) in self._due.items() if at <= self.now]:
            _, ring = self._due.pop(key)
            ring()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self.go_to(self.time + timedelta(seconds=seconds))
