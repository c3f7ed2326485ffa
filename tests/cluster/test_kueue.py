"""Jobs in a queue of the real Kueue, where it is built (`make kueue`): of `job` tasks, and of `resource` tasks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from heed.kube.jobs.manifest import QUEUE_LABEL
from tests.builders.events import data_of
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.kueue.run import built, kueue, queue
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.stories import RESEARCHER
from tests.statuses import totals

pytestmark = pytest.mark.cluster
EXAMPLE = Path(__file__).parents[2] / "examples/resources/job.yaml"
AGENT, QUEUE = "queued", "reports"  # of the example
WANTED = "com.example.report.wanted"


@pytest.fixture(scope="module", autouse=True)
def kueue_program() -> Path:
    """Before anything is started: without Kueue there is nothing to see."""
    return built()


@pytest.fixture(scope="module")
def running_kueue(
    kueue_program: Path, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Kueue at work, for all tests of this file."""
    with kueue(control_plane, tmp_path_factory.mktemp("kueue")):
        yield


def queued(name: str) -> dict[str, Any]:
    """The researcher, whose Jobs need a CPU each and wait in a queue."""
    manifest = copy.deepcopy(RESEARCHER)
    job = manifest["spec"]["tasks"]["research"]["job"]
    job["metadata"] = {"labels": {QUEUE_LABEL: name}}
    job["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    return manifest


def test_kueue_lets_jobs_run_one_after_the_other(stage: Stage, pods: PodPhases, running_kueue: None) -> None:
    # Given room for one Job, and two tasks
    queue(stage.plane, stage.namespace, "team-a", 1)
    stage.apply(queued("team-a"))
    stage.ask()
    stage.ask("q-2", correlation="c-2")

    # Then Kueue admits one of them, and Heed leaves the other where it is
    stage.until(lambda s: totals(s).get("tasksStarted") == 2)
    (first,) = eventually(lambda: queued_jobs(stage, suspended=False), what="an admitted Job")
    (second,) = queued_jobs(stage, suspended=True)

    # When the first one is done, the second one has its turn
    pods.succeed(stage.namespace, first["metadata"]["name"], '{"answer": "1"}')
    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    (admitted,) = eventually(lambda: queued_jobs(stage, suspended=False), what="the second Job, admitted")
    assert admitted["metadata"]["uid"] == second["metadata"]["uid"]
    pods.succeed(stage.namespace, second["metadata"]["name"], '{"answer": "2"}')
    stage.until(lambda s: totals(s).get("tasksCompleted") == 2)


def want(stage: Stage, name: str) -> None:
    """Ask for a report, in a session of its own."""
    event = Event(
        name,
        "/test",
        WANTED,
        {"name": name},
        datacontenttype="application/json",
        extensions={"correlationid": name},
    )
    stage.broker.publish(names.event_subject(stage.namespace, WANTED), event)


def told(stage: Stage, type_: str) -> list[dict[str, Any]]:
    """The data of what the Agent was told of its tasks' ends, of one type."""
    subject = names.inbox_subject(stage.namespace, AGENT, type_)
    return [data_of(event) for event in stage.broker.events(subject)]


def until_progress(stage: Stage, job: dict[str, Any], **wanted: Any) -> None:
    """Wait until the task of a Job has said so of its progress."""
    task = job["metadata"]["labels"][names.LABEL_TASK_ID]
    subject = names.task_subject(stage.namespace, AGENT, task, names.TASK_PROGRESS)
    eventually(
        lambda: wanted in [data_of(item) for item in stage.broker.events(subject)],
        what=f"progress {wanted}",
    )


def queued_jobs(stage: Stage, *, suspended: bool) -> list[dict[str, Any]]:
    """The Jobs that have not ended, and wait or do not."""

    def has_ended(job: dict[str, Any]) -> bool:
        conditions = (job.get("status") or {}).get("conditions") or []
        return any(item["type"] in ("Complete", "Failed") for item in conditions)

    return [item for item in stage.jobs() if not has_ended(item) and item["spec"]["suspend"] is suspended]


def test_a_resource_task_waits_in_the_queue_and_ends_as_its_job_does(
    stage: Stage, pods: PodPhases, running_kueue: None
) -> None:
    # Given the example, whose Jobs are suspended, and a queue with room for one of them
    queue(stage.plane, stage.namespace, QUEUE, 1)
    stage.plane.kubectl("apply", "-n", stage.namespace, "-f", str(EXAMPLE))
    want(stage, "sales")
    want(stage, "stock")

    # Then Kueue admits one, and the task of the other one has started and waits
    stage.until(lambda s: totals(s).get("tasksStarted") == 2, AGENT)
    (first,) = eventually(lambda: queued_jobs(stage, suspended=False), what="an admitted Job")
    (second,) = queued_jobs(stage, suspended=True)
    workloads = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{stage.namespace}/workloads"
    admitted = {
        owner["uid"]: (item.get("status") or {}).get("admission") is not None
        for item in stage.plane.admin.get(workloads)["items"]
        for owner in item["metadata"]["ownerReferences"]
    }
    assert admitted == {first["metadata"]["uid"]: True, second["metadata"]["uid"]: False}

    until_progress(stage, first, suspended=False, active=1)
    until_progress(stage, second, suspended=True, active=0)

    # When the first one completes, its task does, and the second one has its turn
    pods.succeed(stage.namespace, first["metadata"]["name"], "")
    stage.until(lambda s: totals(s).get("tasksCompleted") == 1, AGENT)
    (next_,) = eventually(lambda: queued_jobs(stage, suspended=False), what="the second Job, admitted")
    assert next_["metadata"]["uid"] == second["metadata"]["uid"]
    until_progress(stage, second, suspended=False, active=1)

    # And where it fails, so does its task
    pods.fail(stage.namespace, second["metadata"]["name"])
    stage.until(lambda s: totals(s).get("tasksFailed") == 1, AGENT)

    (completed,), (failed,) = told(stage, names.TASK_COMPLETED), told(stage, names.TASK_FAILED)
    assert set(completed["result"]) == {"completionTime"}
    assert failed["reason"] == "BackoffLimitExceeded"
