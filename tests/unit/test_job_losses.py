"""What a runner does with Jobs that are nobody's, and looks at pods that fail, are in vain, or come too late."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest

from heed.core.effects import AgentRef
from heed.kube.client.client import KubeApi
from heed.kube.jobs.pods import JobPodReader
from heed.kube.jobs.runner import JobRunner
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer, Object
from tests.unit.owners import Owner

AGENT = AgentRef("demo", "researcher", "uid-1")
PODS = "/api/v1/namespaces/demo/pods"
LOSING: Object = {
    "metadata": {"name": "a-1", "uid": "job-1"},
    "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
    "status": {"terminating": 1},
}


def add_pod(server: ApiServer, name: str, code: int) -> None:
    ended = {"exitCode": code, "reason": "Error", "message": "no", "finishedAt": "2026-11-01T12:10:00Z"}
    server.add(
        f"{PODS}/{name}",
        metadata={"labels": {"batch.kubernetes.io/controller-uid": "job-1"}},
        status={"phase": "Failed", "containerStatuses": [{"name": "main", "state": {"terminated": ended}}]},
    )


async def test_pods_are_asked_for_by_their_job(server: ApiServer) -> None:
    add_pod(server, "first", 3)

    (end,) = await JobPodReader(server.connect(KubeApi), AGENT).read_ends(LOSING)

    assert (end.pod, end.exit_code, end.container) == ("first", 3, "main")
    assert [(method, unquote(asked)) for method, asked in server.asked] == [
        ("GET", f"{PODS}?labelSelector=batch.kubernetes.io/controller-uid=job-1&limit=500")
    ]


async def test_a_look_that_fails_only_says_less(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "heed.jobs")
    pods = JobPodReader(server.connect(KubeApi), AGENT)
    server.refuse = lambda method, path: 403

    pods.note_job(LOSING)
    await until(lambda: not pods._looks)

    (record,) = [item for item in caplog.records if item.name == "heed.jobs"]
    assert (record.levelname, record.getMessage()) == ("DEBUG", "cannot list pods")
    assert (record.agent, record.error) == (str(AGENT), "403: no 403")  # type: ignore[attr-defined]
    server.refuse = lambda method, path: None
    assert await pods.read_ends(LOSING) == []


async def test_the_ends_of_a_finished_job_are_asked_for_until_there_is_an_answer(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("heed.kube.jobs.pods.RETRY_DELAY_S", 0.001)
    add_pod(server, "first", 3)
    pods = JobPodReader(server.connect(KubeApi), AGENT)
    server.refuse = lambda method, path: 500 if len(server.asked) < 3 else None

    (end,) = await pods.read_ends(LOSING)

    assert end.pod == "first"
    said = [(r.levelname, r.getMessage(), r.error) for r in caplog.records]  # type: ignore[attr-defined]
    assert said == [("WARNING", "cannot read pods", "500: no 500")] * 2


async def test_each_loss_is_looked_at_once(server: ApiServer) -> None:
    pods = JobPodReader(server.connect(KubeApi), AGENT)
    for _ in range(2):
        pods.note_job(LOSING)
        pods.note_job(LOSING)
        await until(lambda: not pods._looks)
    assert len(server.asked) == 1

    pods.note_job({**LOSING, "status": {"terminating": 2}})
    await until(lambda: not pods._looks)
    assert len(server.asked) == 2


@pytest.mark.parametrize("end", ["forget", "close"])
async def test_a_look_ends_with_its_job_or_its_runner(server: ApiServer, end: str) -> None:
    pods = JobPodReader(server.connect(KubeApi), AGENT)
    server.open.clear()
    pods.note_job(LOSING)
    (look,) = pods._looks.values()
    await until(lambda: len(server.asked) == 1)

    pods.forget("another")
    assert not look.cancelling()
    if end == "forget":
        pods.forget("job-1")
    else:
        pods.close()

    await asyncio.wait({look}, timeout=SOON)
    assert look.cancelled()


async def test_the_end_of_a_job_waits_for_a_look_that_is_under_way(server: ApiServer) -> None:
    add_pod(server, "first", 3)
    pods = JobPodReader(server.connect(KubeApi), AGENT)
    server.open.clear()
    pods.note_job(LOSING)
    await until(lambda: len(server.asked) == 1)

    ending = asyncio.create_task(pods.read_ends(LOSING))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(server.asked) == 1
    server.open.set()

    assert [item.pod for item in await ending] == ["first"]
    assert len(server.asked) == 2


def test_a_job_that_no_task_waits_for_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    api: Any = None
    orphans: set[str] = set()
    runner = JobRunner(api, AGENT, Owner(), orphans=orphans)

    for _ in range(2):
        runner.report_orphan(LOSING)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "job without a pending task")
    assert (record.agent, record.job, record.uid) == (str(AGENT), "a-1", "job-1")  # type: ignore[attr-defined]
    assert record.remedy == "if it is of no use: kubectl delete job -n demo a-1"  # type: ignore[attr-defined]
    assert orphans == {"job-1"}
