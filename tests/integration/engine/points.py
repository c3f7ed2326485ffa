"""Named points of a life at which things go wrong: the ports again, with a door before and after each call.

    load  open  fetch  resume  commit  start  cancel  emit  letter  end

`before <call>` is passed before it goes out, `after <call>` once it has had its effect.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from heed.api.status import OutboxMessage
from heed.bus.jetstream import JetStreamBus
from heed.core.effects import TaskWork
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import Ledger
from heed.engine.ports import LedgerStore, Reader, StoredLedger, TaskRunner

Trap = Callable[[str], Awaitable[None]]
POINTS = [
    f"{when} {call}"
    for call in ["commit", "start", "cancel", "emit", "letter", "end"]
    for when in ("before", "after")
]
EFFECTS = [point for point in POINTS if point.startswith("before") and "commit" not in point]


class Doors:
    """What one life passes through. `passed` is the order of things, `ledgers` are the commits, `sizes` their bytes.

    A trap is told of every point; it may raise, wait or count.
    """

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.ledgers: list[Ledger] = []
        self.sizes: list[int] = []
        self.dead = asyncio.Event()
        self.traps: list[Trap] = []
        self._counts: Counter[str] = Counter()

    async def at(self, point: str) -> None:
        """Pass a point, if it lets one pass."""
        if self.dead.is_set():
            await asyncio.Event().wait()  # the dead do nothing more
        self.passed.append(point)
        self._counts[point] += 1
        for trap in self.traps:
            await trap(point)

    def die(self, point: str, time: int = 1) -> None:
        """As if by SIGKILL: nothing more is done once a point was come to so often."""

        async def trap(name: str) -> None:
            if name == point and self._counts[point] == time:
                self.dead.set()
                await asyncio.Event().wait()

        self.traps.append(trap)

    def hold(self, points: Sequence[str]) -> None:
        """Nobody comes past any of these."""

        async def trap(name: str) -> None:
            if name in points:
                await asyncio.Event().wait()

        self.traps.append(trap)

    def wait(self, point: str, event: asyncio.Event) -> None:
        """Nobody comes past it before the event."""

        async def trap(name: str) -> None:
            if name == point:
                await event.wait()

        self.traps.append(trap)

    def fail(self, point: str, error: Exception, times: int = 1) -> None:
        """The first so many times, an error comes instead of an answer."""

        async def trap(name: str) -> None:
            if name == point and self._counts[point] <= times:
                raise error

        self.traps.append(trap)

    def fail_next(self, point: str, error: Exception) -> None:
        """The next time, an error comes instead of an answer."""
        self.fail(point, error, self._counts[point] + 1)

    def count(self, point: str) -> int:
        """How often it was passed."""
        return self._counts[point]


class Store:
    """A LedgerStore behind doors."""

    def __init__(self, store: LedgerStore, doors: Doors) -> None:
        self._store, self._doors = store, doors

    async def load(self) -> StoredLedger:
        await self._doors.at("before load")
        return await self._store.load()

    async def commit(self, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        await self._doors.at("before commit")
        stored = await self._store.commit(base, ledger)
        self._doors.ledgers.append(ledger)
        self._doors.sizes.append(stored.size)
        await self._doors.at("after commit")
        return stored


class Bus:
    """An EventBus behind doors."""

    def __init__(self, bus: JetStreamBus, doors: Doors) -> None:
        self._bus, self._doors = bus, doors

    async def open(
        self, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> Reader:
        await self._doors.at("before open")
        return await self._bus.open(subjects, after, since, created)

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> Sequence[Received | None]:
        await self._doors.at("before fetch")
        return await self._bus.fetch(sequences, created)

    async def bounds(self) -> tuple[int, int]:
        return await self._bus.bounds()

    async def last(self, subject: str) -> Event | MalformedMessage | None:
        return await self._bus.last(subject)

    async def publish(self, subject: str, event: Event) -> int:
        await self._doors.at("before end")
        sequence = await self._bus.publish(subject, event)
        await self._doors.at("after end")
        return sequence

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        what = "letter" if owed.letter else "emit"
        await self._doors.at(f"before {what}")
        await self._bus.publish_owed(id, owed, look_first=look_first)
        await self._doors.at(f"after {what}")


class Runner:
    """A TaskRunner behind doors."""

    def __init__(self, runner: TaskRunner, doors: Doors) -> None:
        self._runner, self._doors = runner, doors

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        await self._doors.at("before start")
        await self._runner.start(work, look_first=look_first)
        await self._doors.at("after start")

    async def cancel(self, task_id: str) -> None:
        await self._doors.at("before cancel")
        await self._runner.cancel(task_id)
        await self._doors.at("after cancel")

    async def resume(self, task_ids: Sequence[str]) -> None:
        await self._doors.at("before resume")
        await self._runner.resume(task_ids)
