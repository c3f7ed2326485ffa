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
    """All Jobs there are. An input {finish: result} ends a Job by itself, {refuse: …} has it refused."""

    def __init__(self) -> None:
        self.running: dict[str, TaskWork] = {}
        self.ended: dict[str, TaskEnd] = {}
        self.made: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.watchers: list[Report] = []

    def create(self, work: TaskWork) -> None:
        """As `kubectl create`: one that is there is left alone."""
        wish = work.document["input"] or {}
        if "refuse" in wish:
            raise TaskRefused("Refused", "no such image")
        if work.id in self.running or work.id in self.ended:
            return
        self.made[work.id] += 1
        self.running[work.id] = work
        if "finish" in wish:
            asyncio.get_running_loop().call_soon(self.finish, work.id, wish["finish"])

    def finish(self, task_id: str, result: object = None) -> None:
        """A Job comes to its end, and whoever watches is told."""
        if self.running.pop(task_id, None) is not None:
            end = TaskEnd(task_id, names.digest("run", task_id), AT, True, result=result)
            self.ended[task_id] = end
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
            self.report(TaskEnd(task_id, names.digest("lost", task_id), AT, False, reason="JobLost"))
