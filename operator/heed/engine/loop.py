"""The loop of one Agent: read a batch, decide, commit once, and only then act.

    follow:   read ──▶ decide ──▶ commit ──▶ perform
    run:      load the ledger, perform what it owes, follow from its cursor; on any doubt, start over
    suspend:  load the ledger, perform what it owes, publish what is due, and read nothing

The ledger's home is the only truth. Whatever goes wrong (a conflict, a gap, a lost consumer, a write whose answer never
came), the loop drops what it holds in memory, loads the ledger and reads again from its cursor.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from heed import names
from heed.api.status import PendingTask
from heed.core.compiler.program import Program
from heed.core.effects import TaskEnd
from heed.core.ledger.ledger import (
    Ledger,
    bind_to_stream,
    list_owed_effects,
    recall_held,
    settle,
    skip_expired,
)
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.tasks.slots import is_idle
from heed.engine.batch import DecisionBatch, effects_still_owed
from heed.engine.batching import DecisionBatcher
from heed.engine.deciders import Deciders
from heed.engine.deferred_queue import DeferredQueue, is_inbox_only
from heed.engine.due_publisher import DuePublisher
from heed.engine.effect_executor import EffectExecutor
from heed.engine.event_rate import EventRateLimiter
from heed.engine.lag import Lag, measure_lag
from heed.engine.observer import Observer
from heed.engine.ports import EventBus, LedgerStore, StoredLedger, TaskRunner
from heed.engine.rate_limit import CommitRate, CommitRateLimiter
from heed.engine.read_buffer import ReadBuffer
from heed.engine.timer_heap import TimerHeap
from heed.errors import CodeUnavailable, HeedError, LedgerConflict, LedgerGone, ReaderLost
from heed.util.aio import stop
from heed.util.backoff import Backoff

log = logging.getLogger("heed.agent")
FLUSH_DELAY_S = 0.25  # seconds that settled effects wait for an event to share their commit
STEADY_AFTER_S = 60.0  # seconds after which a pass counts as one that went well
RESTART_BACKOFF = Backoff(first_s=0.1, last_s=5.0)


def _list_started(ledger: Ledger) -> list[str]:
    """The attempts of pending tasks that have started, and that something runs."""
    tasks = ledger.pending_tasks.items()
    return [
        names.attempt_id(key, task.attempt)
        for key, task in tasks
        if task.phase == "Started" and task.kind not in LEDGER_KINDS and not is_idle(task)
    ]


class AgentLoop:
    """Runs one generation of one Agent until it is stopped or the Agent is gone."""

    def __init__(
        self,
        program: Program,
        store: LedgerStore,
        bus: EventBus,
        observer: Observer,
        *,
        since: str,
        pace: CommitRate | None = None,
        deciders: Deciders | None = None,
        timers: TimerHeap | None = None,
    ) -> None:
        self.program = program
        self._store, self._bus, self._observer = store, bus, observer
        self._since, self._pace = since, pace or CommitRate()
        self._limiter = CommitRateLimiter.of(self._pace.rate, self._pace.burst)
        self._timers = TimerHeap() if timers is None else timers  # an empty one is false
        self._deferred = DeferredQueue(bus, self._pace)
        self._batcher = DecisionBatcher(
            (deciders or Deciders()).of(program),
            self._deferred,
            self._pace,
            EventRateLimiter.of(program.manifest.spec.rate_limit),
        )
        self._limited: bool | None = None  # whether the rate limit holds events back, as observers know it
        self._stored: StoredLedger | None = None
        self._executor: EffectExecutor | None = None
        self._due: DuePublisher | None = None
        self._buffer: ReadBuffer | None = None
        self._batches: tuple[DecisionBatch, ...] = ()
        self._reached = 0
        self._gone = (
            0  # events that the stream dropped from behind the cursor's place, and no ledger counts yet
        )
        self._restarts = 0  # in a row, with nothing committed in between

    @property
    def stored(self) -> StoredLedger | None:
        """The ledger with its version, as last loaded or committed; None before the first load."""
        return self._stored

    @property
    def lag(self) -> Lag | None:
        """The lag; None while the loop has no reader."""
        return measure_lag(self._loaded.ledger, self._batches, self._buffer) if self._buffer else None

    @property
    def limited(self) -> bool:
        """Whether the Agent's rate limit holds events back."""
        return bool(self._limited)

    @property
    def ledger(self) -> Ledger | None:
        """The ledger as last loaded or committed; None before the first load."""
        return self._stored.ledger if self._stored else None

    @property
    def pending_tasks(self) -> Mapping[str, PendingTask] | None:
        """The tasks that the ledger holds; None before the first reading."""
        return self.ledger.pending_tasks if self.ledger else None

    @property
    def _loaded(self) -> StoredLedger:
        assert self._stored is not None, "the ledger is read before anything else"
        return self._stored

    async def run(self, runner: TaskRunner) -> None:
        """Run until the Agent is deleted; `runner` runs its tasks, made with this loop as their owner.

        Cancelling is safe at any point.
        """
        while True:
            began = time.monotonic()
            try:
                await self._resume_and_follow(runner)
            except LedgerGone:
                return
            except Exception as error:
                # Also for a bug of Heed: an Agent that tries again is better than a silent one.
                if not isinstance(error, HeedError):
                    log.exception("agent loop failed", extra={"agent": str(self.program.agent)})
                await self._pause(error, time.monotonic() - began)

    async def _pause(self, error: Exception, lived: float) -> None:
        """Wait before a restart: not at all for an expected one, with backoff where restarts make no progress."""
        if lived > STEADY_AFTER_S:
            self._restarts = 0
        ordinary = isinstance(error, LedgerConflict | ReaderLost)
        self._gone += error.gone if isinstance(error, ReaderLost) else 0
        self._restarts = self._restarts if ordinary else max(self._restarts, 1)
        delay = RESTART_BACKOFF.delay(self._restarts)
        self._observer.troubled(self.program.agent, "start over", error, delay)
        await asyncio.sleep(delay)
        self._restarts += 1

    def waits(self, attempt_id: str) -> bool:
        """Whether an attempt of a task is pending, or may be as the ledger is not loaded yet."""
        if self.ledger is None:
            return True
        task_id, attempt = names.split_attempt(attempt_id)
        record = self.ledger.pending_tasks.get(task_id)
        return record is not None and record.phase != "Abandoned" and record.attempt == attempt

    def report(self, end: TaskEnd) -> bool:
        """Report a task's end. Returns False where that attempt of it is not pending (any more)."""
        attempt_id = names.attempt_id(end.task_id, end.attempt or 1)
        if self.ledger is None or not self.waits(attempt_id):
            return False
        if self._executor is not None:
            self._executor.start_reporting(self.ledger.pending_tasks[end.task_id], end)
        return True

    async def keep_up(self, first: int, last: int) -> None:
        """Advance the cursor of a quiet Agent before the stream, which holds `first` to `last`, drops its position.

        Otherwise the next start could not tell whether events of this Agent were dropped with it. Raises ReaderLost,
        StreamMissing, StreamReplaced, BusUnavailable.
        """
        buffer, executor = self._buffer, self._executor
        if executor is None or self._batcher.ahead or (buffer is None and not self.program.suspended):
            return
        if 0 < self._loaded.ledger.cursor.sequence < first + (last - first) // 4:
            reached = await (buffer.reached() if buffer else self._look_ahead())
            # Otherwise the loop restarts from the ledger meanwhile.
            if self._buffer is buffer and self._executor is executor:
                self._reached = reached
                executor.settled.set()

    async def _look_ahead(self) -> int:
        """A sequence up to which nothing waits for a suspended Agent, found with a reader of its own; 0: none is known.

        Raises as `keep_up`.
        """
        cursor = self._loaded.ledger.cursor
        reader = await self._bus.open(self.program.subjects, cursor.sequence, self._since, cursor.created)
        try:
            return await reader.reached() if reader.floor <= cursor.sequence else 0
        finally:
            await reader.close()

    async def _resume_and_follow(self, runner: TaskRunner) -> None:
        """Load the ledger, resume what it owes, follow the stream. Returns to read other subjects, else raises.

        A suspended Agent has no reader: it follows what becomes of its effects, and nothing else.
        """
        self._stored = await self._store.load()
        ledger = self._loaded.ledger
        self._deferred.reset()
        self._deferred.record_commit(self._loaded.size)
        self._batcher.reset()
        self._batcher.ahead = is_inbox_only(ledger, ahead=False)
        allowed = self.program.permissions
        executor = EffectExecutor(self.program.agent, self._bus, runner, self._observer, allowed)
        due = DuePublisher(self.program, executor, self._timers)
        buffer = None if self.program.suspended else await self._open(ledger)
        try:
            self._executor, self._due, self._buffer = executor, due, buffer
            owed = list_owed_effects(ledger)
            self._observer.resumed(self.program.agent, ledger, owed)
            due.update_ledger(ledger)
            executor.perform(owed, again=True)
            await runner.resume(_list_started(ledger))
            await (self._follow(buffer, executor) if buffer else self._follow_effects(executor))
        finally:
            self._executor, self._due, self._buffer = None, None, None
            self._batches, self._reached = (), 0
            self._batcher.stop()
            due.stop()
            try:
                await executor.close()
            finally:
                if buffer is not None:
                    await buffer.close()

    async def _open(self, ledger: Ledger) -> ReadBuffer:
        """Read from the ledger's cursor on. Raises StreamMissing, StreamReplaced, BusUnavailable."""
        cursor, ahead = ledger.cursor, self._batcher.ahead
        subjects = self.program.inbox if ahead else self.program.subjects
        after = max(cursor.sequence, cursor.inbox or 0) if ahead else cursor.sequence
        return ReadBuffer(await self._bus.open(subjects, after, self._since, cursor.created))

    async def _follow_effects(self, executor: EffectExecutor) -> NoReturn:
        """The loop of a suspended Agent: what was performed leaves the ledger, which changes in no other way."""
        self._note_limit(held=False)
        while True:
            await executor.settled.wait()
            await asyncio.sleep(max(FLUSH_DELAY_S, self._pause_before_commit()))
            written = self._loaded.ledger
            ledger = self._move_cursor(settle(written, executor.take_settled()))
            if ledger is not written:
                await self._commit(ledger, DecisionBatch(ledger))

    async def _follow(self, buffer: ReadBuffer, executor: EffectExecutor) -> None:
        """The loop itself: while one batch is being committed, the next is decided on top of it."""
        written = bind_to_stream(self._loaded.ledger, buffer.created)
        ledger = written if self._batcher.ahead else self._skip_expired(written, buffer.floor)
        batch = DecisionBatch(recall_held(ledger, self.program.generation))
        while is_inbox_only(written, self._batcher.ahead) == self._batcher.ahead:
            self._batches = (batch,)
            if await executor.wait_for_room(self._max_owed(), FLUSH_DELAY_S):
                await self._deferred.fetch(batch)
                await self._wait_for_work(buffer, executor, batch)
                await self._fill_batch(buffer, batch)
            else:
                await asyncio.sleep(self._pause_before_commit())
            ledger = self._advance_without_event(settle(batch.ledger, executor.take_settled()), buffer)
            if ledger is written:
                continue
            following = DecisionBatch(ledger)
            self._batches = (batch, following)
            committing = asyncio.create_task(self._commit(ledger, batch))
            try:
                if executor.has_room(self._max_owed()):
                    await self._fill_next_batch(buffer, following, committing)
                await committing
                buffer.release(ledger, ahead=self._batcher.ahead)
                following.closed = False
            finally:
                await stop(committing)
            executor.perform(effects_still_owed(ledger, batch.decisions))
            written, batch = ledger, following

    def _skip_expired(self, ledger: Ledger, floor: int) -> Ledger:
        """The ledger past what the stream dropped unread, which is counted."""
        moved = skip_expired(ledger, floor, self._gone)
        if moved is not ledger:
            extra = {"agent": str(self.program.agent), "after": ledger.cursor.sequence, "until": floor}
            log.warning(
                "the stream dropped events before they were read", extra={**extra, "gone": self._gone}
            )
        return moved

    def _advance_without_event(self, ledger: Ledger, buffer: ReadBuffer) -> Ledger:
        """The ledger after upkeep that needs no event, such as idle sessions; the same object where nothing changes."""
        return ledger if buffer.unread else self._move_cursor(ledger)

    def _move_cursor(self, ledger: Ledger) -> Ledger:
        """The ledger with its cursor at what `keep_up` found, where that is further on."""
        if self._reached <= ledger.cursor.sequence:
            return ledger
        return replace(ledger, cursor=replace(ledger.cursor, sequence=self._reached))

    def _max_owed(self) -> int:
        """How many messages may be in flight before reading stops (backpressure)."""
        return 1 if self._deferred.is_crowded(self._loaded.ledger) else self._pace.owed

    async def _wait_for_work(
        self, buffer: ReadBuffer, executor: EffectExecutor, batch: DecisionBatch
    ) -> None:
        """Wait for events to decide, or until made effects have waited FLUSH_DELAY_S for an event's commit."""
        while not (self._has_work(buffer, batch) or batch.decisions):
            pause = self._batcher.pause(buffer)
            self._note_limit(held=pause is not None)
            if pause is not None:
                buffer.check()  # what is held back may be read again
            await buffer.wait(wake=executor.settled, timeout=pause)
            if executor.settled.is_set():
                if not self._has_work(buffer, batch):
                    await buffer.wait(timeout=FLUSH_DELAY_S)
                    buffer.take_arrived()
                return

    def _has_work(self, buffer: ReadBuffer, batch: DecisionBatch) -> bool:
        """Whether there is something to decide now. Starts the next read once the last one is done."""
        buffer.take_arrived()
        return self._batcher.has_work(buffer, batch)

    def _note_limit(self, *, held: bool) -> None:
        """Tell observers where it is news that the rate limit holds events back, or that it does not any more."""
        if held is not self._limited:
            self._limited = held
            self._observer.limited(self.program.agent, held)

    async def _fill_batch(self, buffer: ReadBuffer, batch: DecisionBatch) -> None:
        """Decide read events, and those that arrive while the rate limiter holds the commit back."""
        while True:
            while await self._batcher.decide_turn(buffer, batch):
                pass
            delay = self._pause_before_commit()
            if self._batcher.is_full(batch):
                return await asyncio.sleep(delay)
            if not self._has_work(buffer, batch):
                if delay == 0:
                    return None
                pause = self._batcher.pause(buffer)
                await buffer.wait(timeout=delay if pause is None else min(delay, pause))

    async def _fill_next_batch(
        self, buffer: ReadBuffer, batch: DecisionBatch, committing: "asyncio.Task[None]"
    ) -> None:
        """Decide read events while a commit is in flight, which goes on where code is missing for them."""
        while not committing.done():
            arrived = buffer.take_arrived() or self._deferred.next_ready(batch.ledger) is not None
            try:
                if arrived and await self._batcher.decide_turn(buffer, batch):
                    continue
            except CodeUnavailable:
                batch.closed = True  # until the commit is done; then the code is asked again
            if self._batcher.is_full(batch):
                await asyncio.wait({committing})
            else:
                await buffer.wait(until=committing, timeout=self._batcher.pause(buffer))

    def _pause_before_commit(self) -> float:
        """Seconds until the rate limits (this Agent's and the process's) allow the next write."""
        at = time.monotonic()
        shared = self._pace.shared
        return max(self._limiter.delay(at), shared.delay(at) if shared else 0.0)

    async def _commit(self, ledger: Ledger, batch: DecisionBatch) -> None:
        self._deferred.flying, began = batch.growth, time.monotonic()
        self._stored = await self._store.commit(self._loaded, ledger)
        took = time.monotonic() - began
        self._restarts = 0
        if not self._batcher.ahead:  # what is beyond the cursor is counted when it goes on
            self._gone = 0
        self._deferred.record_commit(self._loaded.size)
        for limiter in filter(None, (self._limiter, self._pace.shared)):
            limiter.spend(self._loaded.size, time.monotonic())
        self._observer.committed(self.program.agent, batch.decisions, ledger)
        self._observer.measured(self.program.agent, batch.took, took, self._loaded.size)
        for kept in (self._due, self._executor):
            if kept is not None:
                kept.update_ledger(ledger)
