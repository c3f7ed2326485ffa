"""Jobs in a queue of the real Kueue, where it is built (`make kueue`)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from heed.kube.jobs.manifest import QUEUE_LABEL
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.kueue.run import built, kueue, queue
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.stories import RESEARCHER
from tests.statuses import totals

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def kueue_program() -> Path:
    """Before anything is started: without Kueue there is nothing to see."""
    return built()


def queued(name: str) -> dict[str, Any]:
    """The researcher, whose Jobs need a CPU each and wait in a queue."""
    manifest = copy.deepcopy(RESEARCHER)
    job = manifest["spec"]["tasks"]["research"]["job"]
    job["metadata"] = {"labels": {QUEUE_LABEL: name}}
    job["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    return manifest


def test_kueue_lets_jobs_run_one_after_the_other(stage: Stage, pods: PodPhases, tmp_path: Path) -> None:
    def jobs(suspended: bool) -> list[dict[str, Any]]:
        items = [item for item in stage.jobs() if not (item.get("status") or {}).get("completionTime")]
        return [item for item in items if item["spec"]["suspend"] is suspended]

    with kueue(stage.plane, tmp_path):
        # Given room for one Job, and two tasks
        queue(stage.plane, stage.namespace, "team-a", 1)
        stage.apply(queued("team-a"))
        stage.ask()
        stage.ask("q-2", correlation="c-2")

        # Then Kueue admits one of them, and Heed leaves the other where it is
        stage.until(lambda s: totals(s).get("tasksStarted") == 2)
        (first,) = eventually(lambda: jobs(False), what="an admitted Job")
        (second,) = jobs(True)

        # When the first one is done, the second one has its turn
        pods.succeed(stage.namespace, first["metadata"]["name"], '{"answer": "1"}')
        stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
        (admitted,) = eventually(lambda: jobs(False), what="the second Job, admitted")
        assert admitted["metadata"]["uid"] == second["metadata"]["uid"]
        pods.succeed(stage.namespace, second["metadata"]["name"], '{"answer": "2"}')
        stage.until(lambda s: totals(s).get("tasksCompleted") == 2)
