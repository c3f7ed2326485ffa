"""Attempts as real Jobs: each has a name of its own, and what comes between them changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from tests.builders.events import data_of
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., str]


def persistent(initial: str, **more: Any) -> dict[str, Any]:
    """The researcher, whose task is attempted three times and says which attempt it is."""
    manifest = copy.deepcopy(RESEARCHER)
    task = manifest["spec"]["tasks"]["research"]
    task |= {"retry": {"attempts": 3, "backoff": {"initial": initial, "factor": 1}}, **more}
    task["job"]["backoffLimit"] = 0
    task["job"]["template"].setdefault("metadata", {})["annotations"] = {
        "example.com/try": "${string(task.attempt)}"
    }
    return manifest


def task_of(stage: Stage, phase: str, attempt: int) -> str:
    """The id of the one task, once it is at that attempt in that phase."""

    def there(status: dict[str, Any]) -> bool:
        (task,) = status["pendingTasks"].values()
        return (task["phase"], task.get("attempt", 1)) == (phase, attempt)

    (task_id,) = stage.until(there, what=f"attempt {attempt}, {phase}")["pendingTasks"]
    return str(task_id)


def job_of(stage: Stage, task: str, attempt: int) -> dict[str, Any]:
    """The Job of an attempt, once it is there."""
    name = names.job_name(AGENT, names.attempt_id(task, attempt))
    found = eventually(
        lambda: next((job for job in stage.jobs() if job["metadata"]["name"] == name), None),
        PATIENCE,
        what=f"Job {name}",
    )
    assert isinstance(found, dict)
    return found


def ends(stage: Stage, type_: str) -> list[Event]:
    return stage.broker.events(names.inbox_subject(stage.namespace, AGENT, type_))


def test_each_attempt_is_a_job_of_its_own_and_the_last_end_is_heard(
    stage: Stage, pods: PodPhases, kubectl: Kubectl
) -> None:
    stage.apply(persistent("1s"))
    stage.ask()
    task = task_of(stage, "Started", 1)

    for attempt in (1, 2):
        job = job_of(stage, task, attempt)
        pods.fail(stage.namespace, job["metadata"]["name"], 3)
    last = job_of(stage, task, 3)
    pods.succeed(stage.namespace, last["metadata"]["name"], '{"answer": "the moon"}')

    status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    assert (totals(status)["retried"], totals(status).get("tasksFailed", 0)) == (2, 0)
    assert [data_of(end)["attempt"] for end in ends(stage, names.TASK_FAILED)] == [1, 2]
    assert [data_of(end)["attempt"] for end in ends(stage, names.TASK_COMPLETED)] == [3]
    assert len(stage.answers()) == 1
    selector = f"{names.LABEL_TASK_ID}={task}"
    column = f"-ojsonpath={{.items[*].metadata.labels.{names.LABEL_ATTEMPT.replace('.', chr(92) + '.')}}}"
    shown = kubectl("get", "jobs", "-n", stage.namespace, "-l", selector, column)
    assert sorted(shown.split()) == ["1", "2", "3"]
    tried = last["spec"]["template"]["metadata"]["annotations"]["example.com/try"]
    variables = last["spec"]["template"]["spec"]["containers"][0]["env"]
    assert tried == "3"
    assert {"name": "HEED_ATTEMPT", "value": "3"} in variables


def test_an_operator_that_dies_between_attempts_goes_on_with_the_next(stage: Stage, pods: PodPhases) -> None:
    stage.apply(persistent("3s"))
    stage.ask()
    task = task_of(stage, "Started", 1)
    pods.fail(stage.namespace, job_of(stage, task, 1)["metadata"]["name"])
    task_of(stage, "Retrying", 2)

    stage.operator.kill()
    stage.operator.start()

    second = job_of(stage, task, 2)
    pods.succeed(stage.namespace, second["metadata"]["name"], "{}")
    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    assert len(stage.jobs()) == 2


def test_what_a_person_deletes_between_attempts_is_not_missed_and_while_one_runs_it_is(
    stage: Stage, pods: PodPhases, kubectl: Kubectl
) -> None:
    stage.apply(persistent("2s"))
    stage.ask()
    task = task_of(stage, "Started", 1)
    first = job_of(stage, task, 1)["metadata"]["name"]
    pods.fail(stage.namespace, first)
    task_of(stage, "Retrying", 2)

    kubectl("delete", "job", "-n", stage.namespace, first)
    task_of(stage, "Started", 2)
    kubectl("delete", "job", "-n", stage.namespace, job_of(stage, task, 2)["metadata"]["name"])

    third = job_of(stage, task, 3)
    pods.succeed(stage.namespace, third["metadata"]["name"], "{}")
    status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    assert [data_of(end)["reason"] for end in ends(stage, names.TASK_FAILED)] == [
        "BackoffLimitExceeded",
        "JobLost",
    ]
    assert totals(status)["retried"] == 2


def test_a_failed_attempt_is_deleted_after_its_retention_while_the_next_one_runs(
    stage: Stage, pods: PodPhases
) -> None:
    stage.apply(persistent("1s", retention="0s"))
    stage.ask()
    task = task_of(stage, "Started", 1)
    pods.fail(stage.namespace, job_of(stage, task, 1)["metadata"]["name"])
    second = job_of(stage, task, 2)["metadata"]["name"]

    eventually(
        lambda: [job["metadata"]["name"] for job in stage.jobs()] == [second],
        PATIENCE,
        what="the first attempt's Job to be gone",
    )
    task_of(stage, "Started", 2)


def test_tasks_beyond_the_limit_are_queued_and_shown(stage: Stage, pods: PodPhases, kubectl: Kubectl) -> None:
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["maxConcurrentTasks"] = 1
    stage.apply(manifest)
    for number in range(3):
        stage.ask(f"q-{number}", correlation=f"c-{number}")
    stage.until(lambda s: s["counts"]["queuedTasks"] == 2)
    header, row = kubectl("get", "agent", AGENT, "-n", stage.namespace, "-o", "wide").splitlines()
    assert {name: row[header.index(name) :].split()[0] for name in ("PENDING", "QUEUED")} == {
        "PENDING": "3",
        "QUEUED": "2",
    }

    ended = set[str]()
    for done in (1, 2, 3):
        (name,) = eventually(
            lambda: {job["metadata"]["name"] for job in stage.jobs()} - ended, PATIENCE, what="the next Job"
        )
        assert len(stage.jobs()) == done
        pods.succeed(stage.namespace, name, "{}")
        ended.add(name)
        stage.until(lambda s: totals(s).get("tasksCompleted") == done)  # noqa: B023
