"""A broker in memory: one stream, read by everybody as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from heed.api.status import OutboxMessage
from heed.core.codec.cloudevents_json import parse_event
from heed.core.events import Event, Received
from heed.errors import BusUnavailable, ReaderLost
from tests.builders.agents import ASKED
from tests.builders.events import at, received

CREATED = "2026-11-01T00:00:00Z"


class MemoryBus:
    """Implements `ports.EventBus`. What was published is in `sent`, by subject."""

    def __init__(self) -> None:
        self.messages: list[Received] = []
        self.sent: list[tuple[str, Event]] = []
        self.opened: list[tuple[tuple[str, ...], int, str]] = []
        self.away = self.lost = False  # the broker; readers
        self.limits: tuple[int, int] | None = None
        self.news = asyncio.Event()

    def come(self, type_: str = ASKED, data: Any = None, **extensions: Any) -> None:
        """An event for everybody."""
        self.add(received(len(self.messages) + 1, type_, data, **extensions))

    def add(self, message: Received) -> None:
        self.messages.append(message)
        self.news.set()

    async def open(
        self, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> MemoryReader:
        self.opened.append((tuple(subjects), after, since))
        self._check()
        return MemoryReader(self, after)

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> list[Received | None]:
        return [self.messages[sequence - 1] for sequence in sequences]

    async def bounds(self) -> tuple[int, int]:
        self._check()
        return self.limits or (1, len(self.messages))

    async def last(self, subject: str) -> Event | None:
        return None

    async def publish(self, subject: str, event: Event) -> int:
        self._check()
        self.sent.append((subject, event))
        sequence = len(self.messages) + 1
        self.add(Received(sequence, at(sequence), subject, event))
        return sequence

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        self._check()
        self.sent.append((owed.subject, parse_event((owed.event or "").encode(), "no event")))

    def _check(self) -> None:
        if self.away:
            raise BusUnavailable("no broker")


class MemoryReader:
    """Implements `ports.Reader`."""

    def __init__(self, bus: MemoryBus, after: int) -> None:
        self._bus, self._at = bus, after
        self.floor, self.created = after, CREATED

    @property
    def pending(self) -> int:
        return len(self._bus.messages) - self._at

    async def read(self, limit: int, timeout: float) -> Sequence[Received]:
        while len(self._bus.messages) <= self._at:
            self._bus.news.clear()
            await self._bus.news.wait()
        found = self._bus.messages[self._at : self._at + limit]
        self._at += len(found)
        return found

    def release(self, sequence: int) -> None:
        """Nothing is held."""

    async def reached(self) -> int:
        if self._bus.lost:
            raise ReaderLost("a gap")
        return len(self._bus.messages)

    async def close(self) -> None:
        """Nothing is open."""
