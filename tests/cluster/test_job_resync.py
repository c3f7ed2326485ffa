"""Pending tasks and their Jobs: what was missed is found, and what is not lost is not called so."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from heed import names
from heed.kube.client import client
from heed.kube.client.client import ApiError, jobs_path
from heed.kube.jobs import search
from heed.kube.jobs.runner import JobRunner
from heed.util.backoff import Backoff
from tests.builders.agents import ref
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.stories import RESEARCHER, with_handler
from tests.cluster.watchless import Watchless, true
from tests.statuses import totals
from tests.unit.owners import Owner

pytestmark = pytest.mark.cluster
ORPHAN = "job without a pending task"


# --- tasks without a Job -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_job_deleted_in_a_gap_of_the_watch_is_found_lost_by_the_sweep(
    watchless: Watchless, everywhere: bool
) -> None:
    await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    await watchless.api.delete(jobs_path(watchless.namespace, job["metadata"]["name"]))
    await watchless.no_jobs()

    await watchless.fleet.sweep(None if everywhere else watchless.namespace)

    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"


async def test_a_sweep_finds_nothing_wrong_where_nothing_is_wrong(
    watchless: Watchless, caplog: pytest.LogCaptureFixture
) -> None:
    await watchless.create()
    await watchless.ask("q-1")
    for number in range(3):
        await watchless.ask(f"n-{number}", f"c-{number}x")
        await watchless.fleet.sweep(watchless.namespace)

    await watchless.status(lambda s: totals(s).get("tasksStarted") == 4)
    await watchless.fleet.sweep(watchless.namespace)

    assert "tasksFailed" not in totals((await watchless.agent())["status"])
    assert ORPHAN not in caplog.text


async def test_more_jobs_than_a_page_holds(watchless: Watchless, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    await watchless.create()
    for number in range(5):
        await watchless.ask(f"q-{number}", f"c-{number}")
    await watchless.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"] * 5)

    await watchless.fleet.sweep(watchless.namespace)

    assert len(await watchless.jobs()) == 5
    assert "tasksFailed" not in totals((await watchless.agent())["status"])


@pytest.mark.parametrize("label", [names.LABEL_TASK_ID, names.LABEL_AGENT])
async def test_a_job_whose_label_someone_took_away_is_not_lost(
    watchless: Watchless, pods: PodPhases, label: str
) -> None:
    # Given
    body = await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    name = job["metadata"]["name"]

    # When the label goes (to the watch, a Job without it is deleted), a sweep looks, and the loop starts over
    await watchless.api.merge(jobs_path(watchless.namespace, name), {"metadata": {"labels": {label: None}}})
    watchless.fleet.observe_job(job, deleted=True)
    await watchless.fleet.sweep(watchless.namespace)
    again = copy.deepcopy(body)
    again["metadata"]["generation"] += 1
    watchless.fleet.observe(again)
    await watchless.running(2)
    await watchless.ask("q-2", "c-2")
    await watchless.status(lambda s: "c-2" in s["sessions"])

    # Then nobody thinks it lost, and its end is found by a later sweep
    assert "tasksFailed" not in totals((await watchless.agent())["status"])
    await finish(watchless, pods, name)
    await watchless.fleet.sweep(watchless.namespace)
    status = await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"


async def test_a_job_that_another_owner_has_under_the_name_is_a_lost_one(watchless: Watchless) -> None:
    # Given a Job that someone replaced by one of the same name
    await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    path = jobs_path(watchless.namespace, job["metadata"]["name"])
    await watchless.api.delete(path)
    await watchless.no_jobs()
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example"}]}
    theirs = {"metadata": {"name": job["metadata"]["name"]}, "spec": {"template": {"spec": pod}}}
    await watchless.api.create(jobs_path(watchless.namespace), theirs)

    await watchless.fleet.sweep(watchless.namespace)

    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"
    assert len(await watchless.jobs()) == 1


async def test_a_job_is_not_called_lost_by_an_api_server_that_does_not_say_so(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a Job that the watch shows as deleted while nobody can say whether it is there
    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(0.05, 60.0))
    await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    api, path = watchless.fleet._api, jobs_path(watchless.namespace, job["metadata"]["name"])
    get = api.get

    async def refusing(asked: str, query: Any = None) -> Any:
        if asked == path:
            raise ApiError(503, "no")
        return await get(asked, query)

    monkeypatch.setattr(api, "get", refusing)
    watchless.fleet.observe_job(job, deleted=True)
    await watchless.until(lambda: true(caplog.text.count("cannot read a job") >= 3), "several tries")
    assert "tasksFailed" not in totals((await watchless.agent())["status"])

    # When it can, and the Job is gone indeed
    await watchless.api.delete(path)
    await watchless.no_jobs()
    monkeypatch.setattr(api, "get", get)

    # Then
    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"


async def test_a_job_of_another_namespace_ends_no_task_though_it_names_the_owner(
    watchless: Watchless, pods: PodPhases
) -> None:
    # Given a finished Job elsewhere that claims to be an Agent's, and stays though it belongs to nobody there
    await watchless.create()
    await watchless.ask("q-1")
    metadata = (await watchless.started())["metadata"]
    other, name = f"{watchless.namespace}-else", metadata["name"]
    await watchless.api.create("/api/v1/namespaces", {"metadata": {"name": other}})
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example"}]}
    template = {"metadata": {"labels": metadata["labels"]}, "spec": pod}
    claims = {"name": name, "labels": metadata["labels"], "finalizers": ["example.com/stay"]}
    await watchless.api.create(jobs_path(other), {"metadata": claims, "spec": {"template": template}})
    await asyncio.to_thread(pods.succeed, other, name, '{"answer": "forged"}')
    path = jobs_path(other, name)

    async def complete() -> bool:
        return "completionTime" in (await watchless.api.get(path)).body["status"]

    await watchless.until(complete, "the end of the Job")
    await watchless.api.merge(path, {"metadata": {"ownerReferences": metadata["ownerReferences"]}})

    # When all Jobs are looked at
    await watchless.fleet.sweep(None)

    # Then the task's own Job is what ends it
    await finish(watchless, pods, name)
    await watchless.fleet.sweep(None)
    status = await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"
    await watchless.api.merge(path, {"metadata": {"finalizers": None}})
    await watchless.api.delete(f"/api/v1/namespaces/{other}")


# --- Jobs that are over ------------------------------------------------------------------------------------------


async def test_a_finished_job_stays_as_long_as_its_end_is_not_in_the_ledger(
    watchless: Watchless, pods: PodPhases, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Job that is kept no longer than need be, and a ledger that does not move
    monkeypatch.setattr("heed.kube.jobs.runner.RETRY_DELAY_S", 0.05)
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["tasks"]["research"]["retention"] = "0s"
    body = await watchless.create(manifest)
    await watchless.ask("q-1")
    job = await watchless.started()
    await watchless.fleet.close()
    done = await finish(watchless, pods, job["metadata"]["name"])
    looked: list[str] = []
    waiting = True

    def waits(task_id: str) -> bool:
        looked.append(task_id)
        return waiting

    runner = JobRunner(watchless.api, ref(body), Owner(waits))

    # When it is seen, again and again
    for _ in range(3):
        runner.observe(done)
    await watchless.until(lambda: true(len(looked) >= 5), "looks at the ledger")
    assert len(await watchless.jobs()) == 1

    # Then it goes with the ledger's word
    waiting = False
    await watchless.no_jobs()
    runner.close()


def test_a_cancelled_job_ends_once_and_as_cancelled(stage: Stage) -> None:
    """With the real watch, which shows the deletion that the operator made itself."""
    stage.apply(
        with_handler(name="cancel", type="com.example.question.asked", when="has(state.topic)",
                     cancel=[{"task": "research"}])
    )  # fmt: skip
    stage.ask("q-1")
    stage.until_job()
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))

    stage.ask("q-2")

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1 and not s["outbox"])
    assert status["recentTasks"][0]["reason"] == "Cancelled"
    assert "stale" not in totals(status)
    assert stage.jobs() == []


def test_a_job_that_loses_its_label_before_the_eyes_of_the_watch_is_not_lost(
    stage: Stage, pods: PodPhases
) -> None:
    # Given
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    job = stage.until_job()
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))

    # When, with a later event that says that the watch has gone on
    name = job["metadata"]["name"]
    stage.plane.kubectl("label", "job", name, "-n", stage.namespace, f"{names.LABEL_AGENT}-")
    stage.ask("q-2", correlation="c-2")
    stage.until(lambda s: [task["phase"] for task in s["pendingTasks"].values()] == ["Started", "Started"])
    second = next(item for item in stage.jobs() if item["metadata"]["name"] != name)
    pods.succeed(stage.namespace, second["metadata"]["name"], '{"answer": "42"}')

    # Then
    status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    assert "tasksFailed" not in totals(status)
    assert len(status["pendingTasks"]) == 1


async def finish(watchless: Watchless, pods: PodPhases, name: str) -> dict[str, Any]:
    """The Job as it is when it has come to its end."""
    await asyncio.to_thread(pods.succeed, watchless.namespace, name, '{"answer": "the moon"}')

    found: dict[str, Any] = await watchless.until(lambda: watchless.finished(name), "the Job's end")
    return found
