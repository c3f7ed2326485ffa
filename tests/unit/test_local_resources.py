"""Resource tasks under `heed dev`: there is no cluster, and the task says so."""

from __future__ import annotations

import pytest

from heed.errors import TaskRefused
from heed.local.resources import NoCluster
from tests.builders.tasks import task_work


async def test_a_resource_task_fails_with_what_helps() -> None:
    spec = {"template": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}}
    runner = NoCluster()

    await runner.resume(["work-1"])
    with pytest.raises(TaskRefused) as refused:
        await runner.start(task_work(spec, kind="resource"))
    await runner.cancel("work-1")

    assert refused.value.reason == "UnsupportedKind"
    assert refused.value.message == (
        "spec.tasks.work.resource: `heed dev` has no cluster to create a Workflow in; play its controller with "
        "`heed simulate --script FILE` (docs/resources.md), or run the Agent in a cluster"
    )
