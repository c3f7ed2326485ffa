"""Deadlines of tasks, derived from the ledger alone, so that they hold over restarts.

A Job has a deadline of its own, and knows better how it ended: so a task that was started gets a little longer here.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from heed.api.status import PendingTask
from heed.core.ledger.ledger import Ledger
from heed.engine.effect_executor import EffectExecutor
from heed.util.clock import unix_time

END_GRACE_S = 10.0  # seconds for a started task's own end to arrive, also after the operator was away
IDLE_CHECK_INTERVAL_S = 60.0  # seconds between looks for idle sessions while events wait for their room
SHORTEST, LONGEST = 0.5, 86400.0  # seconds of a timer


class TaskDeadlines:
    """One timer for all deadlines of an Agent, for one run of its loop."""

    def __init__(self, executor: EffectExecutor) -> None:
        self._executor, self._since = executor, unix_time()
        self._timer: asyncio.TimerHandle | None = None

    def update_ledger(self, ledger: Ledger) -> None:
        """Take note of a new ledger: end tasks past their deadline, and set the timer for the next one."""
        self.stop()
        if not (ledger.pending_tasks or ledger.waiting.places):
            return
        now = unix_time()
        for task_id, record in due_tasks(ledger, now, self._since):
            self._executor.start_expiring(task_id, record)
        if (at := next_deadline(ledger, now, self._since)) is not None:
            delay = min(max(at - now, SHORTEST), LONGEST)
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring, ledger)

    def stop(self) -> None:
        """Stop the timer until the next `update_ledger`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self, ledger: Ledger) -> None:
        self.update_ledger(ledger)
        if ledger.waiting.places:
            self._executor.settled.set()  # sessions may be idle by now, and make room


def due_tasks(ledger: Ledger, now: float, since: float) -> Iterator[tuple[str, PendingTask]]:
    """The tasks whose deadline has passed. `now`, and `since` when the loop started, are in seconds since the epoch."""
    for task_id, record in ledger.pending_tasks.items():
        if (at := _ends_at(record, since)) is not None and at <= now:
            yield task_id, record


def next_deadline(ledger: Ledger, now: float, since: float) -> float | None:
    """When the timer rings next (seconds since the epoch): at a deadline, or to look for idle sessions. None: never."""
    ends = (_ends_at(record, since) for record in ledger.pending_tasks.values())
    times = [at for at in ends if at is not None and at > now]
    if ledger.waiting.places:
        times.append(now + IDLE_CHECK_INTERVAL_S)
    return min(times, default=None)


def _ends_at(record: PendingTask, since: float) -> float | None:
    if record.deadline is None or record.phase not in ("Owed", "Started"):
        return None
    deadline = datetime.fromisoformat(record.deadline).astimezone(UTC).timestamp()
    return deadline if record.phase == "Owed" else max(deadline, since) + END_GRACE_S
