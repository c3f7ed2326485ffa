"""Admission policies of others deny what Heed wants to write: a task's Job, an Agent's status."""

from __future__ import annotations

import pytest

from heed import names
from heed.kube.client.client import agent_path, jobs_path
from tests.builders.events import data_of
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.denying import denying
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.ruling import ready
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster

POD = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}
JOB = {"metadata": {"name": "probe"}, "spec": {"template": {"spec": POD}}}
TEAM = {"expression": "'team' in object.metadata.?labels.orValue({})", "message": "a Job needs a team"}
FROZEN = {"expression": "false", "message": "statuses are frozen"}


@pytest.mark.parametrize("reason", ["Invalid", "Forbidden"])
def test_a_job_that_a_policy_denies_fails_its_task_and_names_the_policy(stage: Stage, reason: str) -> None:
    # Given a policy that demands a label of Jobs, whatever status it denies with
    api, probe = stage.plane.admin, ("POST", jobs_path(stage.namespace), JOB)
    with denying(api, stage.namespace, "batch/jobs", {**TEAM, "reason": reason}, probe) as policy:
        # When a task is to be started
        stage.apply(RESEARCHER)
        stage.ask()
        stage.until(lambda s: totals(s).get("tasksFailed") == 1)

    # Then it has failed, once, and says who refused it
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, AGENT, names.TASK_FAILED))
    assert data_of(event)["reason"] == "InvalidJob"
    expected = f'refused by ValidatingAdmissionPolicy "{policy}" (binding "{policy}"): a Job needs a team'
    assert data_of(event)["message"] == f"spec.tasks.research.job: {expected}"
    assert stage.jobs() == []


def test_a_status_that_a_policy_denies_is_told_of_where_it_can_be(stage: Stage) -> None:
    # Given an Agent that is well
    stage.apply(RESEARCHER)
    ready(stage, "True", "Subscribed")
    path = agent_path(stage.namespace, AGENT, "status")
    probe = ("PATCH", path, {"status": {"observedGeneration": 1}})

    # When a policy denies its status, and there is something to decide
    with denying(stage.plane.admin, stage.namespace, "heed.dev/agents/status", FROZEN, probe) as policy:
        stage.ask()

        # Then the probe says whose status it is and who refuses it, and the operator is ready for all others
        def said() -> str | None:
            status, text = stage.operator.probe("readyz") or (0, "")
            return text if status == 200 and text.startswith("active; ") else None

        text = eventually(said, PATIENCE, what=f"a detail; log: {stage.operator.log}")
        assert text.startswith(
            f"active; cannot write the status of 1 agent: {stage.namespace}/{AGENT}: 422: "
        )
        assert "statuses are frozen" in text

        # And a Kubernetes Event says so on the Agent, with what could not be said and what to do
        path = f"/api/v1/namespaces/{stage.namespace}/events?fieldSelector=reason=StatusRefused"
        (told, *_) = eventually(lambda: stage.plane.admin.get(path)["items"], PATIENCE, what="an Event")
        assert (told["type"], told["involvedObject"]["name"]) == ("Warning", AGENT)
        assert told["message"].startswith("the condition Ready=False (LedgerRefused: ")
        assert f'change ValidatingAdmissionPolicy "{policy}"' in told["message"]

    # And when the policy is gone, the event is decided, and nothing more is said
    stage.until(lambda s: totals(s).get("tasksStarted") == 1)
    stage.operator.until("active")
    ready(stage, "True", "Subscribed")
