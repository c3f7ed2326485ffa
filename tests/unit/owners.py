"""The owner of a runner's tasks, in place of an Agent's loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from heed.api.status import PendingTask
from heed.core.effects import TaskEnd


class Owner:
    """Waits for the tasks that a test says, for all else, and keeps the ends that it is told."""

    def __init__(
        self,
        waits: Callable[[str], bool] = lambda task_id: True,
        pending: Mapping[str, PendingTask] | None = None,
    ) -> None:
        self._waits, self.pending_tasks = waits, pending
        self.ends: list[TaskEnd] = []

    def waits(self, task_id: str) -> bool:
        return self._waits(task_id)

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end)
        return True
