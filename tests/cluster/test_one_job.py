"""One task, one Job: whatever the API server answers before it looks a name up, a start finds its own Job."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from heed.kube.client.client import ApiResponse, KubeApi, agent_path, jobs_path
from heed.kube.status.loop_health import HealthThresholds
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import (
    Broker,
)
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT, Watchless, true, watchless_fleet
from tests.statuses import totals

pytestmark = pytest.mark.cluster
QUICK = HealthThresholds(loop=0.5, effects=0.5, between=0.2)
ONE = {"metadata": {"name": "one"}, "spec": {"hard": {"count/jobs.batch": "1"}}}


class Conflicts:
    """Counts the Jobs that were made; right after each of them somebody else writes the Agent."""

    def __init__(self, watchless: Watchless, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self.refused = 0
        self._watchless, self._jobs = watchless, jobs_path(watchless.namespace)
        api: KubeApi = watchless.fleet._api
        self._create = api.create
        monkeypatch.setattr(api, "create", self._creating)

    async def _creating(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        try:
            answer = await self._create(path, body)
        except Exception:
            self.refused += path == self._jobs
            raise
        if path == self._jobs:
            self.made[answer.body["metadata"]["name"]] += 1
            note = {"metadata": {"annotations": {"example.com/jobs": str(self.made.total())}}}
            await self._watchless.api.merge(agent_path(self._watchless.namespace, AGENT), note)
        return answer


@pytest.fixture
async def watchless(control_plane: ControlPlane, broker: Broker, namespace: str) -> AsyncIterator[Watchless]:
    async with watchless_fleet(control_plane.kubeconfig, broker.url, namespace, patience=QUICK) as watchless:
        yield watchless


async def kept(watchless: Watchless, quota: Mapping[str, Any]) -> None:
    """Make a quota, and wait until the controller has counted for it."""
    path = f"/api/v1/namespaces/{watchless.namespace}/resourcequotas"
    await watchless.api.create(path, quota)

    async def counted() -> bool:
        found = (await watchless.api.get(f"{path}/{quota['metadata']['name']}")).body
        return "used" in found.get("status", {})

    await watchless.until(counted, "a quota that is kept")


async def finish(watchless: Watchless, pods: PodPhases, name: str) -> None:
    """The Job comes to its end, and the operator sees it."""
    await asyncio.to_thread(pods.succeed, watchless.namespace, name, '{"answer": "the moon"}')
    watchless.fleet.observe_job(await watchless.until(lambda: watchless.finished(name), "its end"))


def no_start_under_way(watchless: Watchless) -> bool:
    return not any(
        item.loop._executor is None or item.loop._executor._starts
        for item in watchless.fleet._running.values()
    )


@pytest.mark.parametrize("retention", ["0s", "2s"])
async def test_a_full_quota_and_a_conflict_make_no_second_job(
    watchless: Watchless, pods: PodPhases, monkeypatch: pytest.MonkeyPatch, retention: str
) -> None:
    # Given room for one Job, and commits that come second right after a Job was made
    conflicts = Conflicts(watchless, monkeypatch)
    await kept(watchless, ONE)
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["tasks"]["research"]["retention"] = retention
    await watchless.create(manifest)

    # When two tasks are to be started, and one Job after the other has its turn
    await watchless.ask("q-1", "c-1")
    await watchless.ask("q-2", "c-2")
    for done in (1, 2):
        await watchless.until(lambda: true(conflicts.made.total() >= done), f"Job {done}")  # noqa: B023
        assert set(conflicts.made.values()) == {1}, conflicts.made
        (job,) = await watchless.jobs()
        await finish(watchless, pods, job["metadata"]["name"])
        await watchless.status(lambda s: totals(s).get("tasksCompleted") == done)  # noqa: B023

    # Then each of them was made once, also when there is room again
    await watchless.no_jobs()
    await watchless.until(lambda: true(no_start_under_way(watchless)), "the end of every start")
    assert set(conflicts.made.values()) == {1}, conflicts.made
    assert conflicts.made.total() == 2
    assert await watchless.jobs() == []
