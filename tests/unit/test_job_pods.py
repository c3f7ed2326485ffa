"""What is remembered of a Job's pods that went before it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from heed.core.effects import AgentRef
from heed.kube.client.client import KubeApi
from heed.kube.jobs.pods import JobPodReader, count_losses
from tests.integration.waiting import until

JOB = {
    "metadata": {"name": "a-1", "uid": "job-1"},
    "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
}
LOSING = {**JOB, "status": {"terminating": 1}}


class Cluster(KubeApi):
    """The pods of a Job that are there, and how often they were asked for."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods, self.asked = pods, 0

    async def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = ""
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        self.asked += 1
        yield self.pods


def ended_pod(name: str, phase: str, code: int, text: str = "") -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Error", "message": text, "finishedAt": "2026-11-01T12:10:00Z"}
    status = {"phase": phase, "containerStatuses": [{"name": "main", "state": {"terminated": ended}}]}
    return {"metadata": {"name": name, "creationTimestamp": "2026-11-01T12:00:00Z"}, "status": status}


async def remembered(cluster: Cluster) -> JobPodReader:
    """The pods of a Job that was seen as it lost some."""
    pods = JobPodReader(cluster, AgentRef("demo", "researcher", "uid-1"))
    pods.note_job(LOSING)
    await until(lambda: cluster.asked == 1 and not pods._looks)
    return pods


async def test_what_is_read_of_a_pod_at_the_end_counts_more_than_what_was_remembered_of_it() -> None:
    cluster = Cluster(ended_pod("first", "Failed", 1), ended_pod("second", "Running", 2))
    pods = await remembered(cluster)
    cluster.pods = (ended_pod("second", "Failed", 3),)

    assert {end.pod: end.exit_code for end in await pods.read_ends(JOB)} == {"first": 1, "second": 3}


async def test_a_pod_that_succeeded_counts_only_while_it_is_there() -> None:
    cluster = Cluster(ended_pod("first", "Failed", 1), ended_pod("second", "Succeeded", 0, "done"))
    pods = await remembered(cluster)
    assert {end.pod for end in await pods.read_ends(JOB)} == {"first", "second"}
    cluster.pods = ()

    assert {end.pod for end in await pods.read_ends(JOB)} == {"first"}


async def test_a_job_that_is_gone_leaves_nothing_behind() -> None:
    cluster = Cluster(ended_pod("first", "Failed", 1))
    pods = await remembered(cluster)
    cluster.pods = ()

    pods.forget("job-1")

    assert await pods.read_ends(JOB) == []
    pods.note_job(LOSING)
    await until(lambda: cluster.asked == 3)


def pod_condition(type_: str, status: str = "True") -> dict[str, str]:
    return {"type": type_, "status": status}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, None),
        ({}, None),
        ({"active": 1, "ready": 1, "terminating": 0}, None),
        ({"terminating": 2, "conditions": None}, (False, 2)),
        ({"conditions": [pod_condition("FailureTarget")]}, (True, 0)),
        (
            {"conditions": [pod_condition("Suspended"), pod_condition("FailureTarget")], "terminating": 3},
            (True, 3),
        ),
        ({"conditions": [pod_condition("FailureTarget", "False")]}, None),
        ({"conditions": [pod_condition("FailureTarget", "Unknown")]}, None),
        ({"terminating": 1, "conditions": [pod_condition("SuccessCriteriaMet")]}, None),
        ({"terminating": 1, "conditions": [pod_condition("SuccessCriteriaMet", "False")]}, (False, 1)),
    ],
)
def test_a_job_that_loses_pods_is_known(status: Any, expected: Any) -> None:
    assert count_losses({"metadata": {"uid": "job-1"}, "status": status}) == expected
    deleted = {"uid": "job-1", "deletionTimestamp": "2026-11-01T12:00:00Z"}
    assert count_losses({"metadata": deleted, "status": status}) is None
