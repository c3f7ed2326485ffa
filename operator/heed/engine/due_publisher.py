"""Publishes what is due in one Agent's ledger, when it is due.

A Job has a deadline of its own, and knows better how it ended: so a task that was started gets a little longer here.
"""

from datetime import UTC, datetime
from typing import Final

from heed import names
from heed.core.approval.ends import approval_timed_out
from heed.core.approval.request import KIND
from heed.core.compiler.program import Program
from heed.core.due.due_events import due_event, timer_event, wait_completed
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.ledger.ledger import Ledger
from heed.engine.effect_executor import EffectExecutor
from heed.engine.timer_heap import TimerHeap
from heed.util.clock import timestamp, unix_time

TICKS: Final = ("timer", "timers")  # kinds of due times that a suspended Agent leaves until it is resumed
HOLD_BACK_S: Final = 1.0  # seconds until it is looked again whether an answer is still on its way
MAX_HOLD_BACK_S: Final = 600.0  # seconds that the end of an approval by time waits for such an answer at most
END_GRACE_S: Final = 10.0  # seconds for a started task's own end to arrive, also after the operator was away


class DuePublisher:
    """The due times of one Agent, for one run of its loop. All Agents share the `timers`."""

    def __init__(self, program: Program, executor: EffectExecutor, timers: TimerHeap) -> None:
        self._program, self._executor, self._timers = program, executor, timers
        self._since = unix_time()
        self._ledger = Ledger()
        self._published: set[DueTime] = set()

    def update_ledger(self, ledger: Ledger) -> None:
        """Take note of a new ledger: publish what is due, and set the timer for the next due time."""
        self._ledger = ledger
        self._ring()

    def stop(self) -> None:
        """Publish nothing more until the next `update_ledger`."""
        self._timers.drop(self)

    def _ring(self) -> None:
        now, following = unix_time(), None
        left = TICKS if self._program.suspended else ()
        there = [due for due in list_due_times(self._program, self._ledger) if due.kind not in left]
        self._published &= set(there)
        for due in sorted(there):
            if due in self._published:
                continue
            at = self._rings_at(due)
            if at <= now < at + MAX_HOLD_BACK_S and self._is_held_back(due):
                at = now + HOLD_BACK_S
            if at <= now:
                self._published.add(due)
                self._publish(due)
            elif following is None or at < following:
                following = at
        if following is None:
            self._timers.drop(self)
        else:
            self._timers.set(self, following, self._ring)

    def _is_held_back(self, due: DueTime) -> bool:
        if due.kind not in ("approval", "deadline") or self._ledger.pending_tasks[due.key].kind != KIND:
            return False
        return self._timers.holds_back(self._program.agent, due.key)

    def _rings_at(self, due: DueTime) -> float:
        """When it is acted upon, in seconds since the epoch."""
        at = datetime.fromisoformat(due.at).astimezone(UTC).timestamp()
        return max(at, self._since) + END_GRACE_S if due.grace else at

    def _publish(self, due: DueTime) -> None:
        agent, ledger = self._program.agent, self._ledger
        match due.kind:
            case "deadline" | "attempt":
                self._executor.start_expiring(due, ledger.pending_tasks[due.key])
            case "wait":
                self._executor.start_reporting(
                    ledger.pending_tasks[due.key], wait_completed(due, timestamp())
                )
            case "approval":
                record = ledger.pending_tasks[due.key]
                self._executor.start_reporting(record, approval_timed_out(due.key, record, timestamp()))
            case "timer" | "timers":
                self._executor.start_publishing(lambda: timer_event(self._program, ledger, due, _now(due)))
            case _:
                origin = names.origin(agent.uid, ledger.cursor.created)
                event = due_event(agent, origin, due)
                self._executor.start_publishing(lambda: event)


def _now(due: DueTime) -> datetime:
    """The time, which may have been set back since it was that of something due."""
    return max(datetime.fromtimestamp(unix_time(), UTC), datetime.fromisoformat(due.at))
