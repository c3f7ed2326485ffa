"""What tests of a replica share: a clock that stands still, and a leadership that is as a test says."""

from __future__ import annotations

from typing import Any


class Clock:
    """Stands in for the module `time`; a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Led:
    """A leadership that is as a test says, of a replica that is never told to lead."""

    def __init__(self, *, active: bool = True, wrong: str | None = None) -> None:
        self.active, self.wrong = active, wrong

    def holds(self) -> bool:
        return self.active

    def missing(self) -> str | None:
        return self.wrong

    async def lead(self, work: Any) -> None:
        raise AssertionError("this replica is not to lead")
