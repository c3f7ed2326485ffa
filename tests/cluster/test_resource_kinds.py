"""Resource tasks of real kinds: the definitions are those of the projects, their controllers are played.

A Job as a resource ends as a `job` does; its controller is the real one, and its pods are played.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.core.events import Event
from tests.builders.events import data_of
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage
from tests.cluster.resources.crds import RAY_JOB, TASK_RUN, WORKFLOW, Published, definition_of
from tests.cluster.resources.kinds import Objects, install
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "resources"
WANTED = "com.example.report.wanted"
SUCCEEDED = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"}
STOPPED = {"type": "Succeeded", "status": "False", "reason": "TaskRunImagePullFailed", "message": "no image"}


def told(stage: Stage, agent: str, total: str) -> dict[str, Any]:
    """What the Agent was told of the end of its task."""
    stage.until(lambda s: totals(s).get(total) == 1, agent)
    type_ = names.TASK_COMPLETED if total == "tasksCompleted" else names.TASK_FAILED
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, agent, type_))
    return {name: value for name, value in data_of(event).items() if name not in ("task", "attempt")}


@pytest.mark.parametrize(
    ("file", "crd", "subresource", "running", "done", "end"),
    [
        (
            "workflow",
            WORKFLOW,
            False,
            {"phase": "Running", "progress": "0/1"},
            {"phase": "Succeeded", "progress": "1/1", "finishedAt": "2026-01-01T00:00:00Z"},
            {"result": {"finishedAt": "2026-01-01T00:00:00Z"}},
        ),
        (
            "workflow",
            WORKFLOW,
            False,
            {},
            {"phase": "Error", "message": "no such image"},
            {"reason": "Error", "message": "no such image"},
        ),
        (
            "taskrun",
            TASK_RUN,
            True,
            {"podName": "p", "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}]},
            {
                "podName": "p",
                "conditions": [SUCCEEDED],
                "results": [{"name": "url", "type": "string", "value": "https://x"}],
            },
            {"result": "https://x"},
        ),
        (
            "taskrun",
            TASK_RUN,
            True,
            {},
            {"podName": "", "conditions": [STOPPED]},
            {"reason": "TaskRunImagePullFailed", "message": "no image"},
        ),
        (
            "rayjob",
            RAY_JOB,
            True,
            {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"},
            {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete", "endTime": "2026-01-01T00:00:00Z"},
            {"result": {"endTime": "2026-01-01T00:00:00Z"}},
        ),
        (
            "rayjob",
            RAY_JOB,
            True,
            {"jobDeploymentStatus": "Initializing"},
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "too late"},
            {"reason": "DeadlineExceeded", "message": "too late"},
        ),
    ],
)
def test_examples_end_as_the_kinds_of_other_projects_say(
    stage: Stage,
    file: str,
    crd: Published,
    subresource: bool,
    running: dict[str, Any],
    done: dict[str, Any],
    end: dict[str, Any],
) -> None:
    # Given the real definition, and the example's Agent
    definition = definition_of(crd)
    install(stage.plane, definition)
    manifest = yaml.safe_load((EXAMPLES / f"{file}.yaml").read_text())
    agent, template = manifest["metadata"]["name"], manifest["spec"]["tasks"]["build"]["resource"]["template"]
    objects = Objects(
        stage.plane.admin, stage.namespace, template["apiVersion"], definition["spec"]["names"]["plural"]
    )
    stage.apply(manifest)

    # When an object is made, and its controller says this
    event = Event("r-1", "/test", WANTED, {"name": "sales"}, datacontenttype="application/json")
    stage.broker.publish(names.event_subject(stage.namespace, WANTED), event)
    body = objects.one()
    assert "sales" in str(body["spec"])
    if running:
        objects.report(body, subresource=subresource, **running)
    objects.report(body, subresource=subresource, **done)

    # Then that is the end
    assert told(stage, agent, "tasksCompleted" if "result" in end else "tasksFailed") == end


# --- a Job as a `job` and as a resource ---------------------------------------------------------------------------

AS_RESOURCE = yaml.safe_load((EXAMPLES / "job.yaml").read_text())["spec"]["tasks"]["build"]["resource"]
JOB = {**RESEARCHER["spec"]["tasks"]["research"]["job"]}


def as_job(name: str, **spec: Any) -> dict[str, Any]:
    """The researcher, with these fields in its Job."""
    return researching(name, {"job": {**JOB, **spec}})


def as_resource(name: str, **spec: Any) -> dict[str, Any]:
    """The same as a resource, with the expressions of the example."""
    pod = {**JOB["template"]["spec"], "restartPolicy": "Never"}
    body = {"apiVersion": "batch/v1", "kind": "Job", "spec": {**JOB, "template": {"spec": pod}, **spec}}
    return researching(name, {"resource": {**AS_RESOURCE, "template": body}})


def researching(name: str, task: dict[str, Any]) -> dict[str, Any]:
    given = {**RESEARCHER["spec"], "tasks": {"research": task}}
    return {**RESEARCHER, "metadata": {"name": name}, "spec": given}


def ended_alike(
    stage: Stage, act: Callable[[dict[str, Any]], object], total: str, timeout: str | None = None, **spec: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both Agents are told of their ends after something happened to each Job."""
    manifests = (as_job("plain", **spec), as_resource("resource", **spec))
    for manifest in manifests:
        if timeout is not None:
            manifest["spec"]["tasks"]["research"]["timeout"] = timeout
        stage.apply(manifest)
    stage.ask()
    for job in eventually(
        lambda: stage.jobs() if len(stage.jobs()) == 2 else None, PATIENCE, what="two Jobs"
    ):
        act(job)
    plain, resource = (told(stage, name, total) for name in ("plain", "resource"))
    return plain, resource


def test_a_job_that_succeeds_completes_either_way(stage: Stage, pods: PodPhases) -> None:
    plain, resource = ended_alike(
        stage, lambda job: pods.succeed(stage.namespace, job["metadata"]["name"]), "tasksCompleted"
    )

    assert plain == {}
    assert list(resource["result"]) == ["completionTime"]


def test_a_job_that_fails_has_the_same_reason_either_way(stage: Stage, pods: PodPhases) -> None:
    plain, resource = ended_alike(
        stage, lambda job: pods.fail(stage.namespace, job["metadata"]["name"]), "tasksFailed"
    )

    assert plain["reason"] == resource["reason"] == "BackoffLimitExceeded"
    assert resource["message"] in plain["message"]


@pytest.mark.parametrize(("timeout", "spec"), [("3s", {}), (None, {"activeDeadlineSeconds": 1})])
def test_a_job_that_is_too_late_has_the_same_reason_either_way(
    stage: Stage, timeout: str | None, spec: dict[str, Any]
) -> None:
    plain, resource = ended_alike(stage, lambda job: None, "tasksFailed", timeout, **spec)

    assert plain["reason"] == resource["reason"] == "DeadlineExceeded"


def test_a_job_that_someone_deletes_is_lost_either_way(stage: Stage) -> None:
    path = f"/apis/batch/v1/namespaces/{stage.namespace}/jobs"
    plain, resource = ended_alike(
        stage, lambda job: stage.plane.admin.delete(f"{path}/{job['metadata']['name']}"), "tasksFailed"
    )

    assert (plain["reason"], resource["reason"]) == ("JobLost", "ResourceLost")
    assert plain["message"] == resource["message"]
