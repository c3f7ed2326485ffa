"""Job templates on a real API server: what it would drop, what it would refuse, and whose fields these are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from heed.core.schema.job_fields import FIELDS, VERSION
from tests import jobfields
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster


def with_job(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The researcher with another job."""
    manifest = copy.deepcopy(RESEARCHER)
    change(manifest["spec"]["tasks"]["research"]["job"])
    return manifest


def ready(status: dict[str, Any]) -> dict[str, Any]:
    """The condition Ready."""
    found: dict[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    return found


def test_the_fields_are_those_that_the_api_server_publishes(control_plane: ControlPlane) -> None:
    """Those of the release that they are made from may be more; none is missing, none has another type."""
    document = control_plane.admin.get("/openapi/v3/apis/batch/v1")
    published = jobfields.fields_of(document["components"]["schemas"], "io.k8s.api.batch.v1.JobSpec")

    assert set(published) <= set(FIELDS)
    for name, fields in published.items():
        assert {**FIELDS[name], **fields} == FIELDS[name], name
    minor = control_plane.admin.get("/version")["minor"]
    assert f"1.{minor}" != VERSION or published == FIELDS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda job: job.update(backofflimit=job.pop("backoffLimit")),
            'spec.tasks.research.job.backofflimit: there is no such field; did you mean "backoffLimit"?',
        ),
        (
            lambda job: job["template"]["spec"]["containers"][0].update(env={"A": "1"}),
            "spec.tasks.research.job.template.spec.containers[0].env: is a map, not a list",
        ),
        (
            lambda job: job.update(activeDeadlineSeconds="300"),
            "spec.tasks.research.job.activeDeadlineSeconds: is a string",
        ),
    ],
)
def test_a_template_that_can_never_be_a_job_is_told_in_ready(
    stage: Stage, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    stage.apply(with_job(change))

    status = stage.until(ready)

    assert ready(status)["reason"] == "Invalid"
    assert said in ready(status)["message"]


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.update(frobnicate=True),
        lambda job: job.update(activeDeadlineSeconds="${input.topic}"),
        lambda job: job.update(metadata={"labels": "${[input.topic].map(x, dyn(x))[0]}"}),
        lambda job: job["template"]["spec"]["containers"][0].update(command="${input}"),
        lambda job: job.update(metadata={"labels": {"a": "${input.topic + '!'}"}}),
    ],
    ids=[
        "a field that nobody knows",
        "text as deadline",
        "text as labels",
        "a map as command",
        "a bad label",
    ],
)
def test_what_is_no_job_once_it_is_rendered_fails_its_task_at_once(
    stage: Stage, change: Callable[[dict[str, Any]], Any]
) -> None:
    stage.apply(with_job(change))

    stage.ask()

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1 and ready(s)["status"])
    assert status["recentTasks"][0]["reason"] == "InvalidJob"
    assert ready(status)["status"] == "True"
    assert stage.jobs() == []
    log = stage.operator.log.read_text()
    assert "effect failed" not in log
    assert "EffectsStuck" not in log


def test_an_indexed_job_of_an_agent_and_a_task_with_long_names_gets_its_pods(
    stage: Stage, pods: PodPhases
) -> None:
    # Given names of which nothing could be left for an index, were they taken whole
    agent, task = "customer-support-escalation-coordinator", "summarise-conversation"
    manifest = with_job(lambda job: job.update(completionMode="Indexed", completions=2, parallelism=2))
    manifest["metadata"]["name"] = agent
    manifest["spec"]["tasks"] = {task: manifest["spec"]["tasks"]["research"]}
    manifest["spec"]["handlers"][0]["start"][0]["task"] = task
    manifest["spec"]["handlers"][1]["when"] = f'task.name == "{task}"'
    stage.apply(manifest)

    # When
    stage.ask()

    # Then
    status = stage.until(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"], agent)
    assert not totals(status).get("tasksFailed")
    (job,) = (item["metadata"]["name"] for item in stage.jobs())
    made = eventually(
        lambda: {name for pod in pods.of_job(stage.namespace, job) if (name := pod["metadata"]["name"])},
        PATIENCE,
        what="pods",
    )
    assert all(name.rpartition("-")[0] in (f"{job}-0", f"{job}-1") for name in made)
