"""The condition WorkerReady among an Agent's conditions."""

from __future__ import annotations

from typing import Any

from heed.kube.status.loop_health import UNDECIDED
from heed.kube.status.ready import WantedConditions, read_status, status_patch
from heed.kube.status.worker_condition import WorkerState, WorkerVerdict

AT = "2026-01-01T12:00:00.000000Z"
THERE = WorkerState("True", "Available", "all are there")
GONE = WorkerState("False", "ImagePullBackOff", "x" * 5000)


def wanted(workers: WorkerVerdict) -> WantedConditions:
    return WantedConditions(1, "True", "Subscribed", "", workers=workers)


def written(workers: WorkerVerdict, before: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {"metadata": {"resourceVersion": "1"}, "status": before or {}}
    patch = status_patch(body, wanted(workers), AT)
    return {**(before or {}), **(patch or {})}


def said(status: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["type"], item["reason"]) for item in status["conditions"]]


def has(status: dict[str, Any], workers: WorkerVerdict) -> bool:
    return read_status({"metadata": {"resourceVersion": "1"}, "status": status}).has(wanted(workers))


def test_it_is_there_as_long_as_there_are_workers() -> None:
    with_workers = written(THERE)

    assert said(written(None)) == [("Ready", "Subscribed")]
    assert said(with_workers) == [("Ready", "Subscribed"), ("WorkerReady", "Available")]
    assert said(written(GONE, with_workers))[1] == ("WorkerReady", "ImagePullBackOff")
    assert said(written(None, with_workers)) == [("Ready", "Subscribed")]


def test_what_is_not_known_yet_changes_nothing() -> None:
    assert written(UNDECIDED, before := written(THERE)) == before
    assert said(written(UNDECIDED)) == [("Ready", "Subscribed")]


def test_nothing_is_written_where_it_is_there() -> None:
    there, gone = written(THERE), written(GONE)

    assert has(there, THERE)
    assert has(gone, GONE)  # whose message was cut
    assert has(there, UNDECIDED)
    assert not has(there, GONE)
    assert not has(there, None)
    assert not has(written(None), THERE)
    assert not has(there, WorkerState("True", "Available", "another message"))
