"""Tasks whose pods never come: the Agent says so and why, with the chart's rights, and takes it back by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.kube.jobs import manifest
from heed.kube.status.loop_health import HealthThresholds
from tests.builders.events import data_of
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import Broker
from tests.cluster.watchless import AGENT, Watchless, watchless_fleet

pytestmark = pytest.mark.cluster
QUICK = HealthThresholds(between=0.2, pods=1.0)
STUCK = "TasksStuck"


@pytest.fixture
async def watchless(
    control_plane: ControlPlane, broker: Broker, namespace: str, operator_kubeconfig: Path
) -> AsyncIterator[Watchless]:
    async with watchless_fleet(
        control_plane.kubeconfig, broker.url, namespace, kubeconfig=operator_kubeconfig, patience=QUICK
    ) as watchless:
        yield watchless


async def begin(watchless: Watchless) -> str:
    """A task that was started, and seen; the name of its Job."""
    await watchless.create()
    await watchless.ask("q-1")
    name = (await watchless.started())["metadata"]["name"]
    await show(watchless, name, "startTime")
    return str(name)


async def show(watchless: Watchless, name: str, member: str, *, over: bool = False) -> None:
    """Let the fleet see a Job once its status has something, and where it is to be over once it is."""

    async def look() -> dict[str, Any] | None:
        job = await watchless.job(name)
        there = (job.get("status") or {}).get(member)
        return job if there and (not over or manifest.finished_condition(job)) else None

    watchless.fleet.observe_job(await watchless.until(look, f"{member} of Job {name}"))


async def told(watchless: Watchless, reason: str) -> dict[str, Any]:
    """The Kubernetes Event with a reason on the Agent."""

    async def look() -> dict[str, Any] | None:
        path = f"/api/v1/namespaces/{watchless.namespace}/events"
        events = await watchless.api.list(
            path, {"fieldSelector": f"involvedObject.kind=Agent,reason={reason}"}
        )
        return events[0] if events else None

    found: dict[str, Any] = await watchless.until(look, f"an Event {reason}")
    return found


async def test_a_namespace_that_refuses_the_pods_is_said_and_over_when_they_run(
    watchless: Watchless, pods: PodPhases
) -> None:
    # Given a namespace that wants security contexts, and a Job that has none
    namespace = f"/api/v1/namespaces/{watchless.namespace}"
    level = "pod-security.kubernetes.io/enforce"
    await watchless.api.merge(namespace, {"metadata": {"labels": {level: "restricted"}}})

    # When its task is started
    name = await begin(watchless)

    # Then the Agent says what keeps it, and goes on being ready for other events
    stuck = await watchless.condition("True", "FailedCreate", STUCK)
    assert stuck["message"].startswith(f"Job {name} has no pod that runs: Error creating: pods ")
    assert 'violates PodSecurity "restricted:latest"' in stuck["message"]
    assert stuck["message"].endswith(
        "give the containers the securityContext that the namespace's Pod Security level wants"
    )
    await watchless.condition("True", "Subscribed")
    event = await told(watchless, "FailedCreate")
    assert (event["type"], event["involvedObject"]["name"]) == ("Warning", AGENT)
    (sight,) = watchless.fleet.snapshots()
    assert sight.stuck == 1

    # And when the pod is let in and runs, it takes that back
    await watchless.api.merge(namespace, {"metadata": {"labels": {level: None}}})
    pods.start(watchless.namespace, name)
    await show(watchless, name, "ready")
    await watchless.condition("False", "TasksRun", STUCK)
    assert (await told(watchless, "TasksRun"))["type"] == "Normal"
    (sight,) = watchless.fleet.snapshots()
    assert sight.stuck == 0


async def test_a_quota_on_pods_is_said(watchless: Watchless) -> None:
    # Given no room for pods
    quota = f"/api/v1/namespaces/{watchless.namespace}/resourcequotas"
    await watchless.api.create(quota, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})

    async def counted() -> bool:
        return "used" in (await watchless.api.get(f"{quota}/none")).body.get("status", {})

    await watchless.until(counted, "a quota that is kept")

    await begin(watchless)

    stuck = await watchless.condition("True", "FailedCreate", STUCK)
    assert "exceeded quota: none" in stuck["message"]
    assert "raise the quota on pods" in stuck["message"]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (
            "ImagePullBackOff",
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
                ]
            },
        ),
        (
            "CreateContainerConfigError",
            {"containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError"}}}]},
        ),
        ("Unschedulable", {}),
    ],
)
async def test_what_a_pod_waits_for_is_said_until_its_task_ends(
    watchless: Watchless, pods: PodPhases, reason: str, status: dict[str, Any]
) -> None:
    # Given a task whose pod waits
    name = await begin(watchless)
    scheduled = {"type": "PodScheduled", "status": str(bool(status)), "reason": reason if not status else ""}
    main = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    containers = [main | item for item in status.get("containerStatuses", [])]
    pods.report(
        pods.wait_for_pod(watchless.namespace, name), conditions=[scheduled], containerStatuses=containers
    )

    # Then that is said
    await watchless.condition("True", reason, STUCK)

    # And when a person gives up on it, the task has failed, and nothing is stuck
    job = await watchless.job(name)
    await watchless.api.delete(f"/apis/batch/v1/namespaces/{watchless.namespace}/jobs/{name}")
    await watchless.no_jobs()
    watchless.fleet.observe_job(job, deleted=True)
    await watchless.condition("False", "TasksRun", STUCK)


async def test_a_deadline_says_what_kept_the_task_until_then(watchless: Watchless, pods: PodPhases) -> None:
    # Given a task that is stuck
    name = await begin(watchless)
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    main = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    scheduled = {"type": "PodScheduled", "status": "True"}
    pod = pods.wait_for_pod(watchless.namespace, name)
    pods.report(pod, conditions=[scheduled], containerStatuses=[main | waiting])
    await watchless.condition("True", "ImagePullBackOff", STUCK)

    # When its Job's time is over
    path = f"/apis/batch/v1/namespaces/{watchless.namespace}/jobs/{name}"
    await watchless.api.merge(path, {"spec": {"activeDeadlineSeconds": 1}})
    await show(watchless, name, "conditions", over=True)

    # Then its end says so, although the pod is gone
    await watchless.status(lambda s: (s.get("totals") or {}).get("tasksFailed") == 1)
    event = await watchless.bus.last(names.inbox_subject(watchless.namespace, AGENT, names.TASK_FAILED))
    data = data_of(event)
    assert (data["reason"], data["cause"]) == ("DeadlineExceeded", "ImagePullBackOff")
    assert 'container "main": not found' in data["message"]
