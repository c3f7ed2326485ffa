"""The script of `heed dev`: stubs for tasks that nothing here runs, followed as its file is edited."""

from collections.abc import Callable, Sequence
from pathlib import Path

from heed.core.effects import TaskWork
from heed.core.simulation.steps import Answers, StubbedEnd
from heed.core.simulation.task_stubs import TaskStub, answer_from
from heed.errors import InvalidSettings

ReadStubs = Callable[[Sequence[str]], Sequence[TaskStub]]  # for tasks of these names; raises InvalidSettings


class StubScript:
    """What the file at `path` says of tasks. Counts of a rule begin again when the file is edited."""

    def __init__(self, path: Path, read: ReadStubs) -> None:
        self.path, self._read = path, read
        self._answers: Answers = answer_from(())

    def refresh(self, tasks: Sequence[str]) -> str | None:
        """Read it for tasks of these names. Returns what is wrong with it, if anything: then it counts as it was."""
        try:
            self._answers = answer_from(self._read(tasks))
        except InvalidSettings as error:
            return f"{error}\nthe script counts as it was before"
        return None

    def answer(self, work: TaskWork) -> StubbedEnd | None:
        """What becomes of a task, where a rule fits. Raises InvalidManifest where an expression fails."""
        return self._answers(work)
