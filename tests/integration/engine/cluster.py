"""What plays the cluster: Jobs that outlive the processes which ordered them, and count how often they were made."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from heed import names
from heed.core.effects import TaskEnd, TaskWork
from heed.errors import TaskRefused

Report = Callable[[TaskEnd], object]
AT = "2026-11-01T12:00:00Z"


class Jobs:
    """All Jobs there are, by the id of their attempt.

    An input {finish: result} ends a Job by itself, {refuse: …} has it refused, {fail: n} has the first n attempts fail.
    """

    def __init__(self) -> None:
        self.running: dict[str, TaskWork] = {}
        self.ended: dict[str, TaskEnd] = {}
        self.made: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.watchers: list[Report] = []
        self.most = 0  # that ran at once

    def create(self, work: TaskWork) -> None:
        """As `kubectl create`: one that is there is left alone."""
        wish = work.document["input"] or {}
        if "refuse" in wish:
            raise TaskRefused("Refused", "no such image")
        attempt_id = work.attempt_id
        if attempt_id in self.running or attempt_id in self.ended:
            return
        self.made[attempt_id] += 1
        self.running[attempt_id] = work
        self.most = max(self.most, len(self.running))
        loop = asyncio.get_running_loop()
        if work.attempt <= wish.get("fail", 0):
            loop.call_soon(self.finish, attempt_id, None, "JobFailed")
        elif "finish" in wish:
            loop.call_soon(self.finish, attempt_id, wish["finish"])

    def finish(self, attempt_id: str, result: object = None, reason: str | None = None) -> None:
        """A Job comes to its end, and whoever watches is told."""
        if self.running.pop(attempt_id, None) is not None:
            task_id, attempt = names.split_attempt(attempt_id)
            end = TaskEnd(
                task_id, names.digest("run", attempt_id), AT, reason is None, result, reason, attempt=attempt
            )
            self.ended[attempt_id] = end
            for watcher in tuple(self.watchers):
                watcher(end)

    def delete(self, task_id: str) -> None:
        """Fine where there is none."""
        self.cancelled |= {task_id} & self.there
        self.running.pop(task_id, None)
        self.ended.pop(task_id, None)

    @property
    def there(self) -> set[str]:
        """The Jobs that exist."""
        return {*self.running, *self.ended}


class JobsRunner:
    """Implements `ports.TaskRunner` on Jobs, for one life of one operator."""

    def __init__(self, jobs: Jobs, report: Report) -> None:
        self.jobs, self.report = jobs, report

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Create the Job."""
        self.jobs.create(work)

    async def cancel(self, task_id: str) -> None:
        """Delete the Job."""
        self.jobs.delete(task_id)

    async def resume(self, task_ids: Sequence[str]) -> None:
        """Tell of all that ended; what is not there is lost."""
        for end in tuple(self.jobs.ended.values()):
            self.report(end)
        for task_id in set(task_ids) - self.jobs.there:
            id_, attempt = names.split_attempt(task_id)
            end_id = names.digest("lost", task_id)
            self.report(TaskEnd(id_, end_id, AT, False, reason="JobLost", attempt=attempt))
