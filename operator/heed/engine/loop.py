"""The loop of one Agent: read a batch, decide, commit once, and only then act.

    follow:   read ──▶ decide ──▶ commit ──▶ perform
    run:      load the ledger, perform what it owes, follow from its cursor; on any doubt, start over

The ledger's home is the only truth. Whatever goes wrong (a conflict, a gap, a lost consumer, a write whose answer never
came), the loop drops what it holds in memory, loads the ledger and reads again from its cursor.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from heed.core.decide import Decision, decide
from heed.core.effects import Effect, Publish, StartTask, TaskEnd
from heed.core.ledger import Ledger, owed_effects, settle
from heed.core.program import Program
from heed.engine.inlet import Inlet
from heed.engine.observers import Observer
from heed.engine.pacing import Pace, Pacer
from heed.engine.performing import FIRST_DELAY, LAST_DELAY, Performer
from heed.engine.ports import EventBus, LedgerStore, Stored, TaskRunner
from heed.engine.stopping import stop
from heed.errors import HeedError, LedgerConflict, LedgerGone, ReaderLost

log = logging.getLogger("heed.agent")
FLUSH_AFTER = 0.25  # seconds that settled effects wait for an event to share their commit
TURN = 0.002  # seconds of deciding between two turns of other Agents
STEADY = 60.0  # seconds after which a pass counts as one that went well
ENVELOPE = 512  # about the bytes of a record beside its content


@dataclass(slots=True)
class _Batch:
    """Decisions that one commit will make durable."""

    ledger: Ledger
    decisions: list[Decision] = field(default_factory=list)
    growth: int = 0

    def add(self, decision: Decision) -> None:
        self.ledger = decision.ledger
        self.decisions.append(decision)
        self.growth += _weight(decision)

    def full(self, pace: Pace) -> bool:
        return len(self.decisions) >= pace.batch or self.growth >= pace.growth


def _weight(decision: Decision) -> int:
    """About how many bytes a decision adds to the ledger."""
    size = 200 + decision.state_size
    for effect in decision.effects:
        match effect:
            case StartTask(record=record):
                size += ENVELOPE + len(record.owed or "")
            case Publish(owed=owed):
                size += ENVELOPE + len(owed.event or "")
            case _:
                pass
    return size


def _still_owed(ledger: Ledger, decisions: Sequence[Decision]) -> Iterator[Effect]:
    """The effects of a batch without the starts of tasks that a later decision of the batch ended again."""
    for decision in decisions:
        for effect in decision.effects:
            record = ledger.pending_tasks.get(effect.id)
            if not isinstance(effect, StartTask) or (record is not None and record.phase == "Owed"):
                yield effect


def _started(ledger: Ledger) -> list[str]:
    """The tasks that are known to run, or to have run."""
    return [key for key, task in ledger.pending_tasks.items() if task.phase == "Started"]


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
        self._delay = 0.0

    @property
    def ledger(self) -> Ledger | None:
        """The ledger as last read or committed; None before the first reading."""
        return self._stored.ledger if self._stored else None

    @property
    def _held(self) -> Stored:
        assert self._stored is not None, "the ledger is read before anything else"
        return self._stored

    async def run(self) -> None:
        """Follow the stream until the Agent is gone. Cancel to stop, at any point, without harm."""
        while True:
            began = time.monotonic()
            try:
                await self._resume_and_follow()
            except LedgerGone:
                return
            except Exception as error:
                # Also where the mistake is ours: an Agent that tries again is better than a silent one.
                if not isinstance(error, HeedError):
                    log.exception("agent loop broke", extra={"agent": str(self.program.agent)})
                await self._pause(error, time.monotonic() - began)

    async def _pause(self, error: Exception, lived: float) -> None:
        """Before starting over: not at all where it is part of life, longer and longer where nothing comes of it."""
        if lived > STEADY:
            self._delay = 0.0
        ordinary = isinstance(error, LedgerConflict | ReaderLost)
        delay = self._delay if ordinary else max(self._delay, FIRST_DELAY)
        self._observer.troubled(self.program.agent, "start over", error, delay)
        await asyncio.sleep(delay)
        self._delay = min(max(delay * 2, FIRST_DELAY), LAST_DELAY)

    def waits(self, task_id: str) -> bool:
        """Whether the Agent waits for a task's end; it may, as long as its ledger has not been read."""
        if self.ledger is None:
            return True
        record = self.ledger.pending_tasks.get(task_id)
        return record is not None and record.phase != "Abandoned"

    def report(self, end: TaskEnd) -> bool:
        """Tell the Agent that a task ended. False where it does not wait for that task (any more)."""
        if self.ledger is None or not self.waits(end.task_id):
            return False
        if self._performer is not None:
            self._performer.report(self.ledger.pending_tasks[end.task_id], end)
        return True

    async def resync(self) -> None:
        """Have the runner look for the ends of tasks that nobody told of. Raises TaskUnavailable."""
        if self._performer is not None and (started := _started(self._held.ledger)):
            await self._runner.resume(started)

    async def _resume_and_follow(self) -> None:
        """Everything from the ledger alone. Never returns but by an exception."""
        self._stored = await self._store.load()
        ledger = self._stored.ledger
        performer = Performer(self.program.agent, self._bus, self._runner, self._observer)
        inlet = Inlet(await self._bus.open(self.program.subjects, ledger.cursor.sequence, self._since))
        try:
            self._performer = performer
            owed = owed_effects(ledger)
            self._observer.resumed(self.program.agent, ledger, owed)
            performer.perform(owed, again=True)
            await self._runner.resume(_started(ledger))
            await self._follow(inlet, performer)
        finally:
            self._performer = None
            try:
                await performer.close()
            finally:
                await inlet.close()

    async def _follow(self, inlet: Inlet, performer: Performer) -> None:
        """The loop itself. While one batch is being committed, the next is already decided, on top of it."""
        batch = _Batch(self._held.ledger)
        while True:
            if await performer.room(self._pace.owed, FLUSH_AFTER):
                await self._something_to_do(inlet, performer, batch)
                await self._decide_what_comes(inlet, batch)
            else:
                await asyncio.sleep(self._pacer.delay(time.monotonic()))
            ledger = settle(batch.ledger, performer.take())
            if ledger is self._held.ledger:
                continue
            following = _Batch(ledger)
            committing = asyncio.create_task(self._commit(ledger, batch.decisions))
            try:
                if performer.has_room(self._pace.owed):
                    await self._decide_meanwhile(inlet, following, committing)
                await committing
            finally:
                await stop(committing)
            performer.perform(_still_owed(ledger, batch.decisions))
            batch = following

    async def _something_to_do(self, inlet: Inlet, performer: Performer, batch: _Batch) -> None:
        """Until there are events to decide, or effects have been settled for a while without any event coming."""
        while not (inlet.arrived() or batch.decisions):
            await inlet.wait(wake=performer.settled)
            if performer.settled.is_set():
                await inlet.wait(timeout=FLUSH_AFTER)
                inlet.arrived()
                return

    async def _decide_what_comes(self, inlet: Inlet, batch: _Batch) -> None:
        """Decide what is there, and what still comes while the pacer holds the commit back."""
        while True:
            while self._decide_some(inlet, batch):  # noqa: ASYNC110, the turn is for others
                await asyncio.sleep(0)
            delay = self._pacer.delay(time.monotonic())
            if batch.full(self._pace):
                return await asyncio.sleep(delay)
            if not inlet.arrived():
                if delay == 0:
                    return None
                await inlet.wait(timeout=delay)

    async def _decide_meanwhile(self, inlet: Inlet, batch: _Batch, committing: "asyncio.Task[None]") -> None:
        """Decide what is there until the commit is over."""
        while not committing.done():
            if inlet.arrived() and self._decide_some(inlet, batch):
                await asyncio.sleep(0)
            elif batch.full(self._pace):
                await asyncio.wait({committing})
            else:
                await inlet.wait(until=committing)

    def _decide_some(self, inlet: Inlet, batch: _Batch) -> bool:
        """Decide as many events as may be without holding other Agents up. False where there was nothing to do."""
        if not inlet.unread or batch.full(self._pace):
            return False
        end = time.monotonic() + TURN
        while inlet.unread and not batch.full(self._pace) and time.monotonic() < end:
            batch.add(decide(self.program, batch.ledger, inlet.unread.popleft()))
        return True

    async def _commit(self, ledger: Ledger, decisions: Sequence[Decision]) -> None:
        self._stored = await self._store.commit(self._held, ledger)
        self._delay = 0.0
        self._pacer.spent(self._held.size, time.monotonic())
        self._observer.committed(self.program.agent, decisions, ledger)
