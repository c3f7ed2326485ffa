"""Labels and annotations of the Job itself: what policies ask for, and what queues read."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from heed import names
from heed.kube.client.client import jobs_path
from heed.kube.jobs.manifest import QUEUE_LABEL
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.denying import denying
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.queueing import QUEUE, admit, suspending
from tests.cluster.stories import RESEARCHER
from tests.cluster.test_denials import JOB, TEAM
from tests.cluster.watchless import Watchless
from tests.statuses import totals

pytestmark = pytest.mark.cluster


def labelled(**metadata: dict[str, str]) -> dict[str, Any]:
    """The researcher of a team, with this metadata for its Jobs."""
    manifest = copy.deepcopy(RESEARCHER)
    manifest["metadata"]["labels"] = {"team": "lighthouse", "app.kubernetes.io/instance": "shop"}
    manifest["spec"]["tasks"]["research"]["job"]["metadata"] = metadata
    return manifest


async def test_a_policy_that_demands_a_label_of_jobs_gets_it(
    control_plane: ControlPlane, watchless: Watchless
) -> None:
    # Given a policy that demands a team, and an Agent that passes its own on
    manifest = labelled(labels={"team": "${agent.labels['team']}"}, annotations={"cost": "${input.topic}"})
    probe = ("POST", jobs_path(watchless.namespace), JOB)
    with denying(control_plane.admin, watchless.namespace, "batch/jobs", TEAM, probe):
        # When
        await watchless.create(manifest)
        await watchless.ask("q-1")
        await watchless.started()

        # Then the Job has it, and nothing else of the Agent's
        (job,) = await watchless.jobs()
        metadata = job["metadata"]
        assert metadata["labels"]["team"] == "lighthouse"
        assert metadata["annotations"]["cost"]
        assert "app.kubernetes.io/instance" not in metadata["labels"]
        assert "team" not in job["spec"]["template"]["metadata"]["labels"]


def test_a_job_that_a_queue_suspends_is_the_queues_to_resume(stage: Stage, pods: PodPhases) -> None:
    with suspending(stage.plane, stage.namespace):
        # Given a Job that waits in a queue
        stage.apply(labelled(labels={QUEUE_LABEL: QUEUE}))
        stage.ask()
        job = stage.until_job()
        stage.until(lambda s: [task for task in s["pendingTasks"].values() if task["phase"] == "Started"])
        assert job["spec"]["suspend"] is True

        # When Heed dies and looks again, and the queue admits, preempts and admits the Job
        stage.operator.kill()
        stage.operator.start()
        stage.ask("q-2", correlation="c-2")
        stage.until(
            lambda s: [task["phase"] for task in s["pendingTasks"].values()] == ["Started", "Started"]
        )
        assert [item["spec"]["suspend"] for item in stage.jobs()] == [True, True]
        admit(stage.plane, job)
        pods.wait_for_pod(stage.namespace, job["metadata"]["name"])
        admit(stage.plane, job, runs=False)
        pods.wait_until_gone(stage.namespace, job["metadata"]["name"])
        admit(stage.plane, job)
        pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "42"}')

        # Then it is one task, which completes; the other one still waits
        status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
        assert totals(status)["tasksStarted"] == 2
        (waiting,) = [item for item in stage.jobs() if item["metadata"]["uid"] != job["metadata"]["uid"]]
        assert waiting["spec"]["suspend"] is True
        assert waiting["metadata"]["labels"][names.LABEL_AGENT] == "researcher"
