"""Jobs that no pending task waits for: removed where the ledger says why, else left alone and reported once."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from heed.kube.client.client import ApiError, jobs_path
from tests.cluster.stories import with_handler
from tests.cluster.watchless import AGENT, Watchless, true
from tests.statuses import totals

pytestmark = pytest.mark.cluster
ORPHAN = "job without a pending task"


async def test_a_job_that_no_task_waits_for_is_left_alone_and_reported_once(
    watchless: Watchless, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a task whose end someone told in Heed's name, while its Job goes on
    body = await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    name = job["metadata"]["name"]
    await tell_end(watchless, job)
    await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)

    # When it is looked at again and again, also by a loop that starts over
    await watchless.fleet.sweep(watchless.namespace)
    assert caplog.text.count(ORPHAN) == 1
    await watchless.fleet.sweep(watchless.namespace)
    again = copy.deepcopy(body)
    again["metadata"]["generation"] += 1
    watchless.fleet.observe(again)
    await watchless.running(2)
    await watchless.fleet.sweep(watchless.namespace)

    # Then it was reported once, with what to do, and is there
    (record,) = [record for record in caplog.records if record.message == ORPHAN]
    assert record.levelno == logging.WARNING
    assert record.__dict__["job"] == name
    assert f"kubectl delete job -n {watchless.namespace} {name}" in record.__dict__["remedy"]
    assert "deletionTimestamp" not in (await watchless.job(name))["metadata"]


async def test_a_job_that_no_task_waits_for_is_found_at_the_start(
    watchless: Watchless, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    body = await watchless.create()
    await watchless.ask("q-1")
    await tell_end(watchless, await watchless.started())
    await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert ORPHAN not in caplog.text

    # When
    again = copy.deepcopy(body)
    again["metadata"]["generation"] += 1
    watchless.fleet.observe(again)

    # Then
    await watchless.until(lambda: true(ORPHAN in caplog.text), "the report")


async def test_a_job_that_is_being_deleted_is_not_reported(
    watchless: Watchless, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a Job without a task that is deleted, and kept by someone's finalizer
    await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    path = jobs_path(watchless.namespace, job["metadata"]["name"])
    await watchless.api.merge(path, {"metadata": {"finalizers": ["example.com/wait"]}})
    await tell_end(watchless, job)
    await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1)
    await watchless.api.delete(path)

    await watchless.fleet.sweep(watchless.namespace)

    assert ORPHAN not in caplog.text
    await watchless.api.merge(path, {"metadata": {"finalizers": None}})


async def test_a_job_that_the_ledger_is_still_to_cancel_is_not_reported(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a session that ended before its task, whose Job cannot be deleted now
    await watchless.create(
        with_handler(name="over", type="com.example.question.asked", when="has(state.topic) && event.id == 'q-2'",
                     end=True)
    )  # fmt: skip
    await watchless.ask("q-1")
    await watchless.started()
    api, delete = watchless.fleet._api, watchless.fleet._api.delete

    async def refusing(path: str, uid: str | None = None) -> Any:
        raise ApiError(503, "no")

    monkeypatch.setattr(api, "delete", refusing)
    await watchless.ask("q-2")
    await watchless.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Abandoned"])

    # When
    await watchless.fleet.sweep(watchless.namespace)
    assert ORPHAN not in caplog.text

    # Then it goes when it can
    monkeypatch.setattr(api, "delete", delete)
    await watchless.no_jobs()
    await watchless.fleet.sweep(watchless.namespace)
    assert ORPHAN not in caplog.text


async def test_a_job_whose_end_another_than_heed_told_is_removed(
    watchless: Watchless, caplog: pytest.LogCaptureFixture
) -> None:
    await watchless.create()
    await watchless.ask("q-1")

    await tell_end(watchless, await watchless.started(), "/someone")

    await watchless.no_jobs()
    status = await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1 and not s["pendingTasks"])
    assert status["sessions"]["c-1"]["state"]["answer"] == "early"
    await watchless.fleet.sweep(watchless.namespace)
    assert "tasksFailed" not in totals((await watchless.agent())["status"])
    assert ORPHAN not in caplog.text


async def tell_end(watchless: Watchless, job: dict[str, Any], source: str | None = None) -> None:
    """Publish an end of a Job's task, in the name of Heed or of another, as who may write to inboxes can."""
    subject = names.inbox_subject(watchless.namespace, AGENT, names.TASK_COMPLETED)
    task_id = job["metadata"]["labels"][names.LABEL_TASK_ID]
    end = Event(
        "end-1",
        source or names.agent_source(watchless.namespace, AGENT),
        names.TASK_COMPLETED,
        {"result": {"answer": "early"}},
        subject=task_id,
        datacontenttype="application/json",
    )
    await watchless.bus.publish(subject, end)
