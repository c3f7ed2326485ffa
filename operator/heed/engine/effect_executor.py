"""Performs effects after their commit, and retries each until it is made or refused for good.

Everything here may happen twice: names derive from the decision, so a second time changes nothing. What was made is
handed back to the loop, whose next commit strikes it from what the ledger owes. A start is given up once its attempt is
over (it ended, was cancelled, is past its deadline): later it would find nothing of the first one, and start a second.
Starts and ends are known by `names.attempt_id`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from heed import names
from heed.api.status import OutboxMessage, PendingTask
from heed.core.due.due_events import deadline_end
from heed.core.due.due_times import DueTime
from heed.core.effects import AgentRef, CancelTask, Effect, Publish, StartTask, TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import UNRESTRICTED, Permissions
from heed.core.schema.job_spec import explain_no_job
from heed.core.tasks.job_contract import REASON_INVALID
from heed.core.tasks.kinds import LEDGER_KINDS, LLM
from heed.core.tasks.losses import LOSSES
from heed.core.tasks.slots import is_idle
from heed.core.tasks.work import end_event, end_subject, shrink_end, work_of, work_problem
from heed.engine.observer import Observer
from heed.engine.ports import EventBus, TaskRunner
from heed.engine.published_results import add_published_result
from heed.engine.tool_results import add_tool_results
from heed.errors import POLICY_VIOLATION, HeedError, MalformedEvent, TaskRefused
from heed.util.aio import stop
from heed.util.backoff import Backoff
from heed.util.clock import now, timestamp

log = logging.getLogger("heed.agent")
RETRY_BACKOFF = Backoff(first_s=0.1, last_s=5.0)
MAX_CONCURRENT_STARTS = 16
T = TypeVar("T")


def is_over(deadline: str) -> bool:
    """Whether a time of the ledger (RFC 3339) has passed."""
    return datetime.fromisoformat(deadline).astimezone(UTC) <= now()


def _attempt_id(task_id: str, record: PendingTask) -> str:
    return names.attempt_id(task_id, record.attempt)


def _may_run(record: PendingTask) -> bool:
    """Whether there may be something of a task's attempt to remove: none was made of one that waits for its start."""
    return record.kind not in LEDGER_KINDS and not is_idle(record)


@dataclass(frozen=True, slots=True)
class TaskStart:
    """A task start in flight. `over` is set when it must not be retried."""

    making: "asyncio.Task[None]"
    over: asyncio.Event


class EffectExecutor:
    """Performs the effects of one Agent, from one load of the ledger to the next."""

    def __init__(
        self,
        agent: AgentRef,
        bus: EventBus,
        runner: TaskRunner,
        observer: Observer,
        permissions: Permissions = UNRESTRICTED,
    ) -> None:
        self.settled, self._permissions = asyncio.Event(), permissions
        self._agent, self._bus, self._runner, self._observer = agent, bus, runner, observer
        self._done: list[Effect] = []
        self._ends: set[str] = set()
        self._starts: dict[str, TaskStart] = {}
        self._over: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Semaphore(MAX_CONCURRENT_STARTS)
        self._freed = asyncio.Event()

    def perform(self, effects: Iterable[Effect], *, again: bool = False) -> None:
        """Start performing effects, in order. `again`: an earlier pass, or process, may have made them already."""
        for effect in effects:
            if isinstance(effect, StartTask):
                over = asyncio.Event()
                making = self._spawn(self._retry_until_made(effect, again, over))
                self._starts[_attempt_id(effect.id, effect.record)] = TaskStart(making, over)
            else:
                _ = self._spawn(self._retry_until_made(effect, again))

    def update_ledger(self, ledger: Ledger) -> None:
        """Take note of a new ledger: give up starts that it owes no more."""
        for attempt_id in self._starts:
            task_id, attempt = names.split_attempt(attempt_id)
            record = ledger.pending_tasks.get(task_id)
            if record is None or record.phase != "Owed" or record.attempt != attempt:
                self._give_up(attempt_id)

    def start_reporting(self, record: PendingTask, end: TaskEnd) -> None:
        """Start publishing the end of a pending task, or of its attempt, once. Gives up its start."""
        attempt_id = _attempt_id(end.task_id, record)
        if end.reason in LOSSES and record.deadline is not None and is_over(record.deadline):
            due = DueTime(record.deadline, "deadline", end.task_id, attempt=record.attempt)
            self.start_expiring(due, record)  # who removed it may not have lived to say why
        elif attempt_id not in self._ends:
            self._ends.add(attempt_id)
            if record.phase == "Owed":
                self._give_up(attempt_id)
            # A start in flight may recreate what was lost meanwhile.
            recreated = end.reason in LOSSES and attempt_id in self._starts
            _ = self._spawn(
                self._persist(
                    "publish the end of a task", lambda attempt: self._end(record, end, recreated=recreated)
                )
            )

    def start_expiring(self, due: DueTime, record: PendingTask) -> None:
        """Start ending a task, or an attempt, whose deadline has passed; its failed event follows."""
        attempt_id = _attempt_id(due.key, record)
        if attempt_id not in self._ends:
            self._ends.add(attempt_id)
            self._give_up(attempt_id)
            _ = self._spawn(
                self._persist("end a task at its deadline", lambda attempt: self._expire(due, record))
            )

    def start_publishing(self, make: Callable[[], Event | None]) -> None:
        """Start publishing an event to the Agent's own inbox, until it is stored.

        Each attempt makes it, as one that comes late may be another one; None: nothing is due any more.
        """
        _ = self._spawn(self._persist("publish what is due", lambda attempt: self._publish_due(make())))

    def take_settled(self) -> list[Effect]:
        """The effects made since the last call."""
        done, self._done = self._done, []
        self.settled.clear()
        return done

    def has_room(self, limit: int) -> bool:
        """Whether fewer than `limit` messages are in flight.

        Starts of tasks do not count: a quota may hold them up until tasks end, and a loop that reads no further would
        never hear of that. They are bounded by the status that has to remember them.
        """
        return len(self._running) - len(self._starts) < limit

    async def wait_for_room(self, limit: int, patience: float) -> bool:
        """Wait until fewer than `limit` messages are in flight.

        False where that takes longer than `patience` seconds and some were made, which may be struck off meanwhile.
        """
        while not self.has_room(limit):
            self._freed.clear()
            try:
                async with asyncio.timeout(patience if self._done else None):
                    await self._freed.wait()
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Stop. The ledger still owes what was in flight."""
        await asyncio.gather(*(stop(task) for task in list(self._running)))

    def _spawn(self, making: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(making)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._freed.set()

    async def _retry_until_made(self, effect: Effect, again: bool, over: asyncio.Event | None = None) -> None:
        what = type(effect).__name__
        made = await self._persist(what, lambda attempt: self._make(effect, again or attempt > 0), over)
        if over is not None and isinstance(effect, StartTask):
            self._starts.pop(_attempt_id(effect.id, effect.record), None)
        if made:
            self._observer.performed(self._agent, effect)
            self._done.append(effect)
            self._freed.set()
            self.settled.set()

    async def _make(self, effect: Effect, again: bool) -> bool:
        """Make an effect. Returns False where it is too late: the ledger owes it until the task's end is decided."""
        match effect:
            case Publish():
                self._check_own(effect.owed)
                await self._bus.publish_owed(effect.id, effect.owed, look_first=again)
            case StartTask():
                return await self._start(effect, again)
            case CancelTask():
                await self._cancel(effect)
        return True

    async def _start(self, effect: StartTask, again: bool) -> bool:
        attempt_id = _attempt_id(effect.id, effect.record)
        try:
            async with self._starting:
                if attempt_id in self._over:
                    return False
                work = work_of(self._agent, effect.id, effect.record)
                await self._check_possible(work)
                await self._check_allowed(work)
                if work.kind == LLM:
                    work = await add_tool_results(self._bus, work)
                await self._runner.start(work, look_first=again)
        except TaskRefused as error:
            end = TaskEnd(
                effect.id,
                names.digest("refused", attempt_id),
                timestamp(),
                False,
                reason=error.reason,
                message=error.message,
                attempt=effect.record.attempt,
            )
            await self._publish_end(effect.record, end)
        return True

    def _check_own(self, owed: OutboxMessage) -> None:
        """Raise MalformedEvent for a message on subjects of others, which a writer of the status may have put there."""
        if not names.is_left_by(owed.subject, self._agent.namespace, self._agent.name):
            remedy = "somebody wrote the status; take it out of there"
            raise MalformedEvent(
                f"status.outbox has a message for {owed.subject}, not {self._agent}'s; {remedy}"
            )

    async def _check_possible(self, work: TaskWork) -> None:
        """Raise TaskRefused for a task that no cluster can run."""
        if work.kind == "job" and (why := explain_no_job(work)) is not None:
            await self._runner.cancel(work.attempt_id)  # an earlier release may have started it
            raise TaskRefused(REASON_INVALID, why)

    async def _check_allowed(self, work: TaskWork) -> None:
        """Raise TaskRefused for a task decided before a policy that forbids it."""
        allowed = self._permissions
        refused = (
            allowed.kind_problem(work.kind)
            or work_problem(allowed, work.kind, work.spec)
            or allowed.publishing_problem(work.publish or ())
        )
        if refused is not None:
            # The process that decided it may have started it, and crashed before committing that.
            await self._runner.cancel(work.attempt_id)
            raise TaskRefused(POLICY_VIOLATION, refused)

    async def _cancel(self, effect: CancelTask) -> None:
        attempt_id = names.attempt_id(effect.id, effect.attempt)
        self._ends.add(attempt_id)
        if effect.record is None or _may_run(effect.record):
            await self._remove(attempt_id)
        if effect.record is not None:
            end = TaskEnd(
                effect.id, names.digest("cancelled", effect.id), timestamp(), False, reason="Cancelled"
            )
            await self._publish_end(effect.record, end)

    async def _expire(self, due: DueTime, record: PendingTask) -> None:
        if _may_run(record):
            await self._remove(_attempt_id(due.key, record))
        await self._publish_end(record, deadline_end(due, timestamp()))

    async def _publish_due(self, event: Event | None) -> None:
        if event is None:
            return
        subject = names.inbox_subject(self._agent.namespace, self._agent.name, event.type)
        await self._bus.publish(subject, event)

    async def _remove(self, attempt_id: str) -> None:
        self._give_up(attempt_id)
        await self._wait_for_starts(attempt_id)
        await self._runner.cancel(attempt_id)

    async def _end(self, record: PendingTask, end: TaskEnd, *, recreated: bool) -> None:
        attempt_id = _attempt_id(end.task_id, record)
        await self._wait_for_starts(attempt_id)
        if recreated:
            await self._runner.cancel(attempt_id)
        await self._publish_end(record, end)

    def _give_up(self, attempt_id: str) -> None:
        """Stop retrying a start; a request in flight is finished."""
        self._over.add(attempt_id)
        if (start := self._starts.get(attempt_id)) is not None:
            start.over.set()

    async def _wait_for_starts(self, attempt_id: str) -> None:
        """Wait until no request to start is in flight, as it could succeed after the cancellation."""
        if (start := self._starts.get(attempt_id)) is not None:
            await asyncio.wait({start.making})

    async def _publish_end(self, record: PendingTask, end: TaskEnd) -> None:
        end = await add_published_result(self._bus, self._agent, end)
        event = end_event(self._agent, record, end)
        try:
            await self._bus.publish(end_subject(self._agent, event), event)
        except MalformedEvent as error:  # it ended, whatever the broker thinks of its result
            record, end = shrink_end(record, end, str(error))
            event = end_event(self._agent, record, end)
            await self._bus.publish(end_subject(self._agent, event), event)
        self._observer.reported(self._agent, end)

    async def _persist(
        self, what: str, attempt: Callable[[int], Awaitable[T]], over: asyncio.Event | None = None
    ) -> T | None:
        """The result of the first attempt that succeeds, retried with backoff; None where `over` is set first."""
        tries = 0
        while over is None or not over.is_set():
            try:
                return await attempt(tries)
            except Exception as error:  # a bug, too: an effect must not vanish with it
                if not isinstance(error, HeedError):
                    log.exception("effect failed", extra={"agent": str(self._agent), "effect": what})
                tries += 1
                delay = RETRY_BACKOFF.delay(tries)
                self._observer.troubled(self._agent, what, error, delay)
            await _pause(delay, over)
        return None


async def _pause(delay: float, over: asyncio.Event | None) -> None:
    """Sleep until a delay has passed or `over` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await (over or asyncio.Event()).wait()
