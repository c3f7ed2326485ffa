"""Jobs as manifests: what an author's spec may not say of a Job's end, when a Job is over, and how long it is kept."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from heed import names
from heed.core.effects import TaskWork
from heed.kube.jobs.manifest import (
    delete_after,
    finished_condition,
    is_at_work,
    is_watched,
    job_manifest,
    owner_name,
    owner_uid,
    task_id,
)
from tests.builders.tasks import job_spec, task_work

MADE, ENDED = "2026-11-01T12:00:00Z", "2026-11-01T13:00:00Z"
POD = job_spec()["template"]


def work_of(**spec: Any) -> TaskWork:
    """A task with these fields in its JobSpec."""
    return task_work(job_spec(**spec))


def condition(type_: str, status: str = "True", at: str | None = ENDED) -> dict[str, Any]:
    return {"type": type_, "status": status} | ({} if at is None else {"lastTransitionTime": at})


def job_with(*conditions: dict[str, Any], retention: str | None = "60", **metadata: Any) -> dict[str, Any]:
    annotations = {} if retention is None else {names.ANNOTATION_RETENTION: retention}
    metadata = {"name": "a-1", "creationTimestamp": MADE, "annotations": annotations, **metadata}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": list(conditions)}}


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


# ── what a Job is ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metadata", "watched"),
    [
        ({"labels": {names.LABEL_AGENT: "a"}}, True),
        ({"labels": {"a": "b"}}, False),
        ({"labels": None}, False),
        ({}, False),
    ],
)
def test_a_job_is_watched_by_the_label_of_its_agent(metadata: dict[str, Any], watched: bool) -> None:
    assert is_watched({"metadata": metadata}) is watched


# ── what an author may not say ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ttl", [0, 1, 86_400])
def test_no_ttl_of_the_author_removes_a_job_before_its_end_was_heard(ttl: int) -> None:
    tried = work_of(ttlSecondsAfterFinished=ttl)

    assert "ttlSecondsAfterFinished" not in job_manifest(tried)["spec"]
    assert tried.spec["ttlSecondsAfterFinished"] == ttl  # the next try renders from the same


@pytest.mark.parametrize(
    ("timeout", "limit", "expected"), [(None, None, None), (None, 7, 7), (9, None, 9), (9, 7, 7), (5, 7, 5)]
)
def test_of_the_tasks_timeout_and_the_authors_limit_the_shorter_one_counts(
    timeout: int | None, limit: int | None, expected: int | None
) -> None:
    spec = {} if limit is None else {"activeDeadlineSeconds": limit}

    made = job_manifest(replace(work_of(**spec), timeout=timeout))

    assert made["spec"].get("activeDeadlineSeconds") == expected


# ── whether it is over ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("type_", ["Complete", "Failed"])
def test_only_a_condition_that_is_true_ends_a_job(type_: str) -> None:
    over = condition(type_)

    assert finished_condition(job_with(over)) == over
    for status in ("False", "Unknown"):
        assert finished_condition(job_with(condition(type_, status))) is None
        assert is_at_work(job_with(condition(type_, status)))


@pytest.mark.parametrize("type_", ["Suspended", "FailureTarget", "SuccessCriteriaMet"])
def test_a_job_that_is_about_to_end_or_waits_is_not_over(type_: str) -> None:
    assert finished_condition(job_with(condition(type_))) is None


def test_the_condition_that_ended_a_job_is_found_behind_others() -> None:
    over = condition("Failed")

    assert (
        finished_condition(job_with(condition("Complete", "False"), condition("FailureTarget"), over)) == over
    )


def test_a_job_that_is_over_or_being_deleted_is_not_at_work() -> None:
    assert is_at_work(job_with())
    assert not is_at_work(job_with(condition("Complete")))
    assert not is_at_work(job_with(deletionTimestamp=ENDED))


# ── how long it is kept ─────────────────────────────────────────────────────────────────────────────────────────────


def test_retention_counts_from_the_end_of_a_job() -> None:
    assert delete_after(job_with(condition("Complete"))) == seconds(ENDED) + 60
    assert (
        delete_after(job_with(condition("Suspended", "False", MADE), condition("Failed")))
        == seconds(ENDED) + 60
    )


def test_where_no_end_has_a_time_it_counts_from_the_beginning() -> None:
    assert delete_after(job_with(condition("Complete", at=None))) == seconds(MADE) + 60


@pytest.mark.parametrize("written", [None, "", "soon", "-1", "1.5", "1e3", "99999999999"])
def test_a_retention_that_is_none_is_an_hour(written: str | None) -> None:
    assert delete_after(job_with(condition("Complete"), retention=written)) == seconds(ENDED) + 3600


def test_no_retention_at_all_can_be_asked_for() -> None:
    assert delete_after(job_with(condition("Complete"), retention="0")) == seconds(ENDED)


def test_the_retention_of_a_task_is_written_on_its_job_whatever_its_author_says() -> None:
    theirs = {"annotations": {names.ANNOTATION_RETENTION: "9", "example.com/mine": "yes"}}

    annotations = job_manifest(replace(work_of(metadata=theirs), retention=60))["metadata"]["annotations"]

    assert annotations == {names.ANNOTATION_RETENTION: "60", "example.com/mine": "yes"}


# ── whose it is ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "labels", "found"),
    [
        ({"metadata": {"labels": {names.LABEL_TASK_ID: "t-1"}}}, {names.LABEL_TASK_ID: "t-2"}, "t-1"),
        ({"metadata": {"labels": None}}, {names.LABEL_TASK_ID: "t-2"}, "t-2"),
        ({"metadata": None}, {names.LABEL_TASK_ID: 3}, "3"),
        (None, None, ""),
    ],
)
def test_a_job_says_which_task_it_is(template: Any, labels: Any, found: str) -> None:
    job = {**job_with(labels=labels), "spec": {"template": template}}

    assert task_id(job) == found
    assert task_id({**job, "spec": None}) == str((labels or {}).get(names.LABEL_TASK_ID, ""))


def test_a_job_belongs_to_the_agent_that_controls_it() -> None:
    agent = {"kind": "Agent", "controller": True, "name": "researcher", "uid": "uid-1"}
    other = {"kind": "Other", "controller": True, "name": "other", "uid": "uid-2"}
    friend = {"kind": "Agent", "name": "friend", "uid": "uid-3"}

    for owners, uid, name in (
        (None, None, ""),
        ([other, friend], None, ""),
        ([other, friend, agent], "uid-1", "researcher"),
    ):
        job = job_with(ownerReferences=owners)
        assert (owner_uid(job), owner_name(job)) == (uid, name)
