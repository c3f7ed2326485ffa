"""All runners of an Agent's tasks as one, by kind."""

from collections.abc import Sequence

from heed import names
from heed.core.effects import TaskWork
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.engine.ports import TaskOwner, TaskRunner
from heed.errors import TaskRefused


class TaskRunners:
    """The TaskRunner that passes each task on to the runner of its kind, which the owner's ledger knows."""

    def __init__(self, owner: TaskOwner, runners: dict[str, TaskRunner]) -> None:
        self._owner, self._runners = owner, runners

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Start a task. Raises TaskRefused also where there is no runner of its kind; TaskUnavailable."""
        if (runner := self._runners.get(work.kind)) is None:
            known = ", ".join(sorted(self._runners))
            raise TaskRefused(
                "UnsupportedKind",
                f"spec.tasks.{work.task}: nothing here runs tasks of kind {work.kind}, but of: {known}",
            )
        await runner.start(work, look_first=look_first)

    async def cancel(self, attempt_id: str) -> None:
        """Stop an attempt; where its kind is not known any more, with each runner. Raises TaskUnavailable."""
        kind = self._kind(attempt_id)
        if kind in LEDGER_KINDS:
            return
        for runner in self._runners.values() if kind is None else filter(None, [self._runners.get(kind)]):
            await runner.cancel(attempt_id)

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Let each runner report the ends of its tasks that came meanwhile."""
        for kind, runner in self._runners.items():
            await runner.resume([item for item in attempt_ids if self._kind(item) == kind])

    def _kind(self, attempt_id: str) -> str | None:
        record = (self._owner.pending_tasks or {}).get(names.split_attempt(attempt_id)[0])
        return None if record is None else record.kind
