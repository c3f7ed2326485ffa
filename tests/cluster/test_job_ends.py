"""How tasks end, told from their pods by the operator with the chart's rights. Pods are played, the rest is real."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from heed import names
from tests.builders.events import data_of
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT, Watchless, true
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster


ENDED_AT = "2026-11-01T12:00:00Z"
LIMITED = {"resources": {"limits": {"memory": "64Mi"}}}


def failure(stage: Stage) -> dict[str, Any]:
    """What the Agent was told of its failed task."""
    stage.until(lambda s: totals(s).get("tasksFailed") == 1)
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, AGENT, names.TASK_FAILED))
    told = data_of(event)
    assert told.pop("attempt") == 1
    return told


def begin(stage: Stage, pod: dict[str, Any] | None = None, **spec: Any) -> str:
    """The researcher, with this in its pod and Job, is asked; the name of its Job."""
    manifest = copy.deepcopy(RESEARCHER)
    job = manifest["spec"]["tasks"]["research"]["job"]
    job |= spec
    job["template"]["spec"] |= pod or {}
    stage.apply(manifest)
    stage.ask()
    return str(stage.until_job()["metadata"]["name"])


def state(name: str, code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    """A container that ended."""
    ended = {"exitCode": code, "reason": reason, "message": message, "finishedAt": ENDED_AT}
    return {
        "name": name,
        "image": "i",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }


def test_a_container_that_ran_out_of_memory_is_told_as_such(stage: Stage, pods: PodPhases) -> None:
    name = begin(stage, {"containers": [{"name": "main", "image": "i", **LIMITED}]})
    pod = pods.wait_for_pod(stage.namespace, name)

    pods.report(pod, phase="Failed", containerStatuses=[state("main", 137, reason="OOMKilled")])

    assert failure(stage) == {
        "task": "research",
        "reason": "BackoffLimitExceeded",
        "cause": "OOMKilled",
        "container": "main",
        "exitCode": 137,
        "pod": pod["metadata"]["name"],
        "message": 'container "main" ran out of memory (its limit is 64Mi); '
        "Job has reached the specified backoff limit",
    }


def test_an_init_container_that_fails_is_told_with_its_own_words(stage: Stage, pods: PodPhases) -> None:
    name = begin(stage, {"initContainers": [{"name": "clone", "image": "i"}]})
    pod = pods.wait_for_pod(stage.namespace, name)

    waiting = {**state("main", 0), "state": {"waiting": {"reason": "PodInitializing"}}}
    init = state("clone", 7, "cannot clone repo: auth failed")
    pods.report(pod, phase="Failed", containerStatuses=[waiting], initContainerStatuses=[init])

    told = failure(stage)
    assert (told["cause"], told["container"], told["exitCode"]) == ("Error", "clone", 7)
    assert told["message"] == "cannot clone repo: auth failed"


async def test_a_pod_that_made_room_for_another_is_told_of_although_it_is_gone(
    watchless: Watchless, pods: PodPhases
) -> None:
    # Given a pod that runs on a node
    await watchless.create()
    await watchless.ask("q-1")
    name = (await watchless.started())["metadata"]["name"]
    pods.bind(pods.wait_for_pod(watchless.namespace, name))
    pod = pods.start(watchless.namespace, name)

    # When the scheduler preempts it, which marks and deletes it, and the Job says that it loses a pod
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    mark = {**target, "message": "preempting", "lastTransitionTime": ENDED_AT}
    pods.report(pod, conditions=[*pod["status"]["conditions"], mark])
    pods.delete(pod)
    watchless.fleet.observe_job(
        await watchless.until(lambda: job_with(watchless, name, "terminating"), "its loss")
    )
    (running,) = watchless.fleet._running.values()
    await watchless.until(lambda: true(bool(running.runner._pods._lost)), "a look at it")

    # And the kubelet ends it, and it is gone before the Job has failed
    pods.report(pod, phase="Failed", containerStatuses=[state("main", 143)])
    pods.delete(pod, grace=0)
    watchless.fleet.observe_job(
        await watchless.until(lambda: job_with(watchless, name, "conditions"), "its end")
    )
    await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)

    # Then the cause is known all the same
    assert pods.of_job(watchless.namespace, name) == []
    event = await watchless.bus.last(names.inbox_subject(watchless.namespace, AGENT, names.TASK_FAILED))
    assert data_of(event)["cause"] == "PreemptionByScheduler"
    expected = f"pod {pod['metadata']['name']}: PreemptionByScheduler: preempting"
    assert data_of(event)["message"] == f"{expected}; Job has reached the specified backoff limit"


async def job_with(watchless: Watchless, name: str, member: str) -> dict[str, Any] | None:
    """A Job that has something in its status, and where that is conditions has failed."""
    job = await watchless.job(name)
    found = job["status"].get(member)
    failed = member != "conditions" or any(item["type"] == "Failed" for item in found or ())
    return job if found and failed else None


def test_the_result_of_an_indexed_job_is_that_of_its_first_index(stage: Stage, pods: PodPhases) -> None:
    name = begin(stage, completionMode="Indexed", completions=3, parallelism=3)

    def all_there() -> list[dict[str, Any]] | None:
        found = pods.of_job(stage.namespace, name)
        return found if len(found) == 3 else None

    by_index = {
        int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]): pod
        for pod in eventually(all_there, PATIENCE, what="three pods")
    }
    for index in (0, 2, 1):
        answer = state("main", 0, f'{{"answer": "{index}"}}', "Completed")
        pods.report(by_index[index], phase="Succeeded", containerStatuses=[answer])

    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, AGENT, names.TASK_COMPLETED))
    assert event.data == {"task": "research", "result": {"answer": "0"}, "attempt": 1}
