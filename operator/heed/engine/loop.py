"""The loop of one Agent: read a batch, decide, commit once, and only then act.

    follow:   read ──▶ decide ──▶ commit ──▶ perform
    run:      load the ledger, perform what it owes, follow from its cursor; on any doubt, start over

The ledger's home is the only truth. Whatever goes wrong (a conflict, a gap, a lost consumer, a write whose answer never
came), the loop drops what it holds in memory, loads the ledger and reads again from its cursor.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from heed.core.decide import Decision, decide
from heed.core.effects import Effect, StartTask, TaskEnd
from heed.core.events import Received
from heed.core.ledger import Ledger, owed_effects, settle
from heed.core.program import Program
from heed.engine.observers import Observer
from heed.engine.pacing import Pace, Pacer
from heed.engine.performing import FIRST_DELAY, LAST_DELAY, Performer
from heed.engine.ports import EventBus, LedgerStore, Reader, Stored, TaskRunner
from heed.errors import BusUnavailable, LedgerConflict, LedgerGone, LedgerUnavailable, ReaderLost, TaskUnavailable

IDLE = 60.0  # seconds that one read may wait for a message
FLUSH_AFTER = 0.25  # seconds that settled effects wait for an event to share their commit
READ_AT_ONCE = 500
DECIDE_AT_ONCE = 50  # decisions between two turns of other Agents


@dataclass(slots=True)
class _Batch:
    """Decisions that one commit will make durable."""

    ledger: Ledger
    decisions: list[Decision] = field(default_factory=list)
    growth: int = 0

    def add(self, decision: Decision) -> None:
        self.ledger = decision.ledger
        self.decisions.append(decision)
        self.growth += sum(map(_weight, decision.effects))

    def full(self, pace: Pace) -> bool:
        return len(self.decisions) >= pace.batch or self.growth >= pace.growth


def _weight(effect: Effect) -> int:
    """About how many bytes an effect adds to the ledger while it is owed."""
    return 400 + (len(effect.record.owed or "") if isinstance(effect, StartTask) else 500)


class AgentLoop:
    """Runs one generation of one Agent until it is stopped or the Agent is gone."""

    def __init__(
        self,
        program: Program,
        store: LedgerStore,
        bus: EventBus,
        runner: TaskRunner,
        observer: Observer,
        *,
        since: str,
        pace: Pace | None = None,
    ) -> None:
        self.program = program
        self._store, self._bus, self._runner, self._observer = store, bus, runner, observer
        self._since, self._pace = since, pace or Pace()
        self._pacer = Pacer.of(self._pace)
        self._stored: Stored | None = None
        self._performer: Performer | None = None
        self._unread: deque[Received] = deque()

    @property
    def ledger(self) -> Ledger | None:
        """The ledger as last read or committed; None before the first reading."""
        return self._stored.ledger if self._stored else None

    async def run(self) -> None:
        """Follow the stream until the Agent is gone. Cancel to stop, at any point, without harm."""
        delay = FIRST_DELAY
        while True:
            try:
                delay = await self._resume_and_follow(delay)
            except LedgerGone:
                return
            except (LedgerConflict, ReaderLost) as error:
                self._observer.troubled(self.program.agent, "start over", error, 0)
            except (LedgerUnavailable, BusUnavailable, TaskUnavailable) as error:
                self._observer.troubled(self.program.agent, "start over", error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)

    def report(self, end: TaskEnd) -> bool:
        """Tell the Agent that a task ended. False where it does not wait for that task (any more)."""
        record = self.ledger.pending_tasks.get(end.task_id) if self.ledger else None
        if record is None or record.phase == "Abandoned":
            return False
        if self._performer is not None:
            self._performer.report(record, end)
        return True

    async def _resume_and_follow(self, delay: float) -> float:
        """Everything from the ledger alone. Never returns but by an exception; the delay is for the next try."""
        self._stored = await self._store.load()
        self._unread.clear()
        ledger = self._stored.ledger
        performer = Performer(self.program.agent, self._bus, self._runner, self._observer)
        reader = await self._bus.open(self.program.subjects, ledger.cursor.sequence, self._since)
        try:
            self._performer = performer
            owed = owed_effects(ledger)
            self._observer.resumed(self.program.agent, ledger, owed)
            performer.perform(owed, again=True)
            await self._runner.resume([key for key, task in ledger.pending_tasks.items() if task.phase == "Started"])
            await self._follow(reader, performer)
        finally:
            self._performer = None
            await performer.close()
            await reader.close()
        return delay

    async def _follow(self, reader: Reader, performer: Performer) -> None:
        reading = asyncio.ensure_future(reader.read(READ_AT_ONCE, IDLE))
        try:
            while True:
                await performer.room(self._pace.owed)
                reading = await self._wait(reader, reading, performer)
                assert self._stored is not None
                batch = _Batch(self._stored.ledger)
                reading = await self._gather(reader, reading, batch)
                ledger = settle(batch.ledger, performer.take())
                if ledger is not self._stored.ledger:
                    await self._commit(ledger, batch.decisions)
                    performer.perform(effect for decision in batch.decisions for effect in decision.effects)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _wait(
        self, reader: Reader, reading: "asyncio.Future[Sequence[Received]]", performer: Performer
    ) -> "asyncio.Future[Sequence[Received]]":
        """Until there is something to decide, or effects have been settled for a while."""
        while not self._unread:
            settled = asyncio.ensure_future(performer.settled.wait())
            try:
                await asyncio.wait({reading, settled}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                settled.cancel()
            if not reading.done():
                await asyncio.wait({reading}, timeout=FLUSH_AFTER)
            if not reading.done():
                return reading
            reading = self._take(reader, reading)
            if performer.settled.is_set():
                return reading
        return reading

    def _take(
        self, reader: Reader, reading: "asyncio.Future[Sequence[Received]]"
    ) -> "asyncio.Future[Sequence[Received]]":
        """Keep what was read and read on. A read is never cancelled while it may hold messages."""
        self._unread.extend(reading.result())
        return asyncio.ensure_future(reader.read(READ_AT_ONCE, IDLE))

    async def _gather(
        self, reader: Reader, reading: "asyncio.Future[Sequence[Received]]", batch: _Batch
    ) -> "asyncio.Future[Sequence[Received]]":
        """Decide what is there, and what comes while the pacer holds the commit back."""
        while True:
            while self._unread and not batch.full(self._pace):
                batch.add(decide(self.program, batch.ledger, self._unread.popleft()))
                if len(batch.decisions) % DECIDE_AT_ONCE == 0:
                    await asyncio.sleep(0)
            delay = self._pacer.delay(time.monotonic())
            if delay == 0 and not reading.done():
                return reading
            if batch.full(self._pace):
                await asyncio.sleep(delay)
                return reading
            if not reading.done():
                await asyncio.wait({reading}, timeout=delay)
            if reading.done():
                reading = self._take(reader, reading)

    async def _commit(self, ledger: Ledger, decisions: Sequence[Decision]) -> None:
        assert self._stored is not None
        self._stored = await self._store.commit(self._stored, ledger)
        self._pacer.spent(self._stored.size, time.monotonic())
        self._observer.committed(self.program.agent, decisions, ledger)
