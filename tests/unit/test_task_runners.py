"""Runners by kind: each task goes to that of its own."""

from collections.abc import Mapping

import pytest

from heed.api.status import PendingTask
from heed.core.effects import TaskEnd, TaskWork
from heed.engine.task_runners import TaskRunners
from heed.errors import TaskRefused
from tests.unit.inmemory import AGENT, Runner, pending


class Owner:
    """The owner of some tasks; None before its ledger was read."""

    def __init__(self, tasks: Mapping[str, PendingTask] | None) -> None:
        self.pending_tasks = tasks

    def waits(self, task_id: str) -> bool:
        return True

    def report(self, end: TaskEnd) -> bool:
        return True


TASKS = {"j": pending(), "o": pending(kind="other"), "w": pending(kind="wait"), "x": pending(kind="unknown")}


def work(kind: str) -> TaskWork:
    """Work of a kind."""
    return TaskWork(AGENT, "t", "bake", kind, "s", {}, {}, None, 0)


class Kinds:
    """Two runners behind one."""

    def __init__(self, tasks: Mapping[str, PendingTask] | None = TASKS) -> None:
        self.jobs, self.others = Runner(), Runner()
        self.all = TaskRunners(Owner(tasks), {"job": self.jobs, "other": self.others})


async def test_a_task_is_started_by_the_runner_of_its_kind() -> None:
    kinds = Kinds()

    await kinds.all.start(work("other"), look_first=True)

    assert kinds.jobs.started == []
    assert kinds.others.started == [(work("other"), True)]


async def test_a_kind_without_a_runner_is_refused_with_those_there_are() -> None:
    with pytest.raises(TaskRefused) as refused:
        await Kinds().all.start(work("approval"))

    assert refused.value.reason == "UnsupportedKind"
    assert refused.value.message == (
        "spec.tasks.bake: nothing here runs tasks of kind approval, but of: job, other"
    )


@pytest.mark.parametrize(("task", "jobs", "others"), [("j", 1, 0), ("o", 0, 1), ("w", 0, 0), ("x", 0, 0)])
async def test_a_task_is_stopped_by_the_runner_of_its_kind(task: str, jobs: int, others: int) -> None:
    kinds = Kinds()

    await kinds.all.cancel(task)

    assert (len(kinds.jobs.happened), len(kinds.others.happened)) == (jobs, others)


@pytest.mark.parametrize("tasks", [None, {}])
async def test_one_that_the_ledger_does_not_know_is_stopped_by_all(
    tasks: Mapping[str, PendingTask] | None,
) -> None:
    kinds = Kinds(tasks)

    await kinds.all.cancel("t")

    assert kinds.jobs.happened == kinds.others.happened == [("cancel", "t")]


async def test_each_runner_resumes_its_own() -> None:
    kinds = Kinds()

    await kinds.all.resume(list(TASKS))

    assert (kinds.jobs.resumed, kinds.others.resumed) == ([["j"]], [["o"]])
