"""Jobs that lose the label which the watch asks for, while they run: looked for by name until they are over."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from heed import names
from heed.kube.client.client import ApiResponse, jobs_path
from heed.kube.jobs import search
from heed.util.backoff import Backoff
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import (
    Broker,
)
from tests.cluster.stories import RESEARCHER, with_handler
from tests.cluster.watchless import Watchless, true, watchless_fleet
from tests.statuses import totals

pytestmark = pytest.mark.cluster
NO_LABEL = {"metadata": {"labels": {names.LABEL_AGENT: None}}}


@pytest.fixture
async def watchless(
    control_plane: ControlPlane, broker: Broker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watchless]:
    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(0.05, 60.0))
    async with watchless_fleet(control_plane.kubeconfig, broker.url, namespace) as watchless:
        yield watchless


async def running(watchless: Watchless, manifest: dict[str, Any] = RESEARCHER) -> tuple[dict[str, Any], str]:
    """A Job that runs, and its path."""
    await watchless.create(manifest)
    await watchless.ask("q-1")
    job = await watchless.started()
    return job, jobs_path(watchless.namespace, job["metadata"]["name"])


async def unwatched(watchless: Watchless, job: dict[str, Any], path: str) -> None:
    """Someone takes the label away, upon which the watch shows the Job as deleted; it is looked for."""
    await watchless.api.merge(path, NO_LABEL)
    looks = looks_for(watchless, path)
    watchless.fleet.observe_job(job, deleted=True)
    await watchless.until(lambda: true(len(looks) >= 3), "several looks")
    assert under_way(watchless) == [job["metadata"]["labels"][names.LABEL_TASK_ID]]


def looks_for(watchless: Watchless, path: str) -> list[str]:
    """Grows with every look of the fleet for one object."""
    api, get, looks = watchless.fleet._api, watchless.fleet._api.get, list[str]()

    async def counted(asked: str, query: Mapping[str, str] | None = None) -> ApiResponse:
        if asked == path:
            looks.append(asked)
        return await get(asked, query)

    api.get = counted  # type: ignore[assignment,method-assign]
    return looks


def under_way(watchless: Watchless) -> list[str]:
    """The tasks whose Jobs are looked for."""
    running = watchless.fleet._running.values()
    return [task_id for item in running for task_id in item.runner._searches._searches]


async def test_its_result_is_heard_of_without_a_resync(watchless: Watchless, pods: PodPhases) -> None:
    job, path = await running(watchless)
    await unwatched(watchless, job, path)
    assert "tasksFailed" not in totals((await watchless.agent())["status"])

    await asyncio.to_thread(
        pods.succeed, watchless.namespace, job["metadata"]["name"], '{"answer": "the moon"}'
    )

    status = await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"
    await watchless.until(lambda: true(not under_way(watchless)), "the end of the search")


async def test_one_that_was_unwatched_before_the_operator_came_is_looked_for(
    watchless: Watchless, pods: PodPhases
) -> None:
    # Given a Job without the label, which a loop that starts over is not told of
    body = await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    name = job["metadata"]["name"]
    await watchless.api.merge(jobs_path(watchless.namespace, name), NO_LABEL)
    again = copy.deepcopy(body)
    again["metadata"]["generation"] += 1
    watchless.fleet.observe(again)
    await watchless.running(2)
    await watchless.until(lambda: true(bool(under_way(watchless))), "a search")

    # When
    await asyncio.to_thread(pods.succeed, watchless.namespace, name, '{"answer": "the moon"}')

    # Then
    status = await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"


async def test_one_that_is_deleted_then_is_lost(watchless: Watchless) -> None:
    job, path = await running(watchless)
    await unwatched(watchless, job, path)

    await watchless.api.delete(path)

    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"
    await watchless.until(lambda: true(not under_way(watchless)), "the end of the search")


@pytest.mark.parametrize("taken_away", [False, True])
async def test_one_that_has_its_label_is_the_watchs_again(watchless: Watchless, taken_away: bool) -> None:
    job, path = await running(watchless)
    if taken_away:
        await unwatched(watchless, job, path)
        await watchless.api.merge(
            path, {"metadata": {"labels": {names.LABEL_AGENT: job["metadata"]["labels"][names.LABEL_AGENT]}}}
        )
    else:
        looks = looks_for(watchless, path)
        watchless.fleet.observe_job(job, deleted=True)
        await watchless.until(lambda: true(bool(looks)), "a look")

    await watchless.until(lambda: true(not under_way(watchless)), "the end of the search")

    status = (await watchless.agent())["status"]
    assert [task["phase"] for task in status["pendingTasks"].values()] == ["Started"]


async def test_one_that_nobody_waits_for_is_looked_for_no_more(watchless: Watchless) -> None:
    over = with_handler(name="over", type="com.example.question.asked", when="event.id == 'q-2'", end=True)
    job, path = await running(watchless, over)
    await unwatched(watchless, job, path)

    await watchless.ask("q-2")

    await watchless.no_jobs()
    await watchless.until(lambda: true(not under_way(watchless)), "the end of the search")
    assert "tasksFailed" not in totals((await watchless.agent())["status"])


async def test_the_end_of_the_loop_ends_the_search(watchless: Watchless) -> None:
    job, path = await running(watchless)
    await unwatched(watchless, job, path)
    (runner,) = [item.runner for item in watchless.fleet._running.values()]

    await watchless.fleet.close()

    await watchless.until(lambda: true(not runner._searches._searches), "the end of the search")
