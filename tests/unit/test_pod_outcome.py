"""How one pod ended, member by member; which one of a Job's pods counts is told in test_job_outcome."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.jobs.pod_outcome import PodEnd, pod_end

INDEX = "batch.kubernetes.io/job-completion-index"
MADE = "2026-11-01T12:00:00Z"


def clock_time(minute: int) -> str:
    return f"2026-11-01T12:{minute:02}:00Z"


def container_status(name: str, at_: int | None = None, where: str = "state", **ended: Any) -> dict[str, Any]:
    """A container's status; without anything it still runs."""
    if at_ is not None:
        ended["finishedAt"] = clock_time(at_)
    return {"name": name, where: {"terminated": ended} if ended else {"running": {}}}


def pod_with_statuses(phase: str, *statuses: dict[str, Any], **status: Any) -> dict[str, Any]:
    metadata = {"name": "p-1", "creationTimestamp": MADE, **status.pop("metadata", {})}
    spec = status.pop("spec", {})
    return {
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": phase, "containerStatuses": list(statuses), **status},
    }


def condition(type_: str, minute: int, status: str = "True", **more: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "lastTransitionTime": clock_time(minute), **more}


CHANGED = [condition("Ready", 4), {"type": "Odd", "status": "True"}, condition("Initialized", 2)]


@pytest.mark.parametrize(
    ("statuses", "conditions", "expected"),
    [
        (
            [container_status("main", 3, exitCode=0), container_status("logs", 9, exitCode=0)],
            CHANGED,
            clock_time(3),
        ),
        (
            [
                container_status("main", exitCode=0),
                container_status("logs", 9, exitCode=1),
                container_status("a", 8),
            ],
            CHANGED,
            clock_time(9),
        ),
        ([container_status("main", exitCode=0), container_status("logs")], CHANGED, clock_time(4)),
        ([], None, MADE),
    ],
)
def test_a_pod_that_succeeded_did_so_when_its_answering_container_ended_as_far_as_is_known(
    statuses: list[dict[str, Any]], conditions: Any, expected: str
) -> None:
    code = 0 if statuses else None

    found = pod_end(pod_with_statuses("Succeeded", *statuses, conditions=conditions), "main")

    assert found == PodEnd("p-1", expected, succeeded=True, container="main", exit_code=code)


def test_the_answer_of_a_pod_is_what_its_container_left() -> None:
    ended = container_status("main", 3, exitCode=0, message='{"answer": 42}')

    found = pod_end(pod_with_statuses("Succeeded", container_status("logs", 2, message="no"), ended), "main")

    assert found == PodEnd(
        "p-1", clock_time(3), succeeded=True, container="main", exit_code=0, text='{"answer": 42}'
    )


@pytest.mark.parametrize(
    ("metadata", "index"),
    [
        ({"labels": {INDEX: "3"}, "annotations": {INDEX: "4"}}, 3),
        ({"labels": None, "annotations": {INDEX: "4"}}, 4),
        ({"labels": {INDEX: "x"}}, None),
        ({"annotations": None}, None),
    ],
)
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_of_an_indexed_job_says_its_index(
    metadata: dict[str, Any], index: int | None, phase: str
) -> None:
    found = pod_end(
        pod_with_statuses(phase, container_status("main", 3, exitCode=1), metadata=metadata), "main"
    )

    assert found is not None and found.index == index


def failed(at_: str, cause: str, why: str, **more: Any) -> PodEnd:
    return PodEnd("p-1", at_, succeeded=False, cause=cause, why=why, **more)


FULL = "The node was low on resource: memory."
DISRUPTED = condition("DisruptionTarget", 5, reason="PreemptionByScheduler", message="made room")
LIMITED = {"containers": [{"name": "main", "resources": {"limits": {"memory": "1Gi"}}}, {"name": "logs"}]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (  # its own words are enough
            pod_with_statuses(
                "Failed", container_status("main", 3, exitCode=7, reason="Error", message=" no such file \n")
            ),
            failed(clock_time(3), "Error", "", container="main", exit_code=7, text="no such file"),
        ),
        (  # no words, no reason, no time
            pod_with_statuses("Failed", container_status("main", exitCode=7)),
            failed("", "Error", 'container "main" ended with exit code 7', container="main", exit_code=7),
        ),
        (  # restarted, and known by its last end
            pod_with_statuses(
                "Running", container_status("main", 3, "lastState", exitCode=2, reason="Error")
            ),
            failed(
                clock_time(3),
                "Error",
                'container "main" ended with exit code 2',
                container="main",
                exit_code=2,
            ),
        ),
        (
            pod_with_statuses(
                "Failed", container_status("main", 3, exitCode=137, reason="OOMKilled"), spec=LIMITED
            ),
            failed(
                clock_time(3),
                "OOMKilled",
                'container "main" ran out of memory (its limit is 1Gi)',
                container="main",
                exit_code=137,
            ),
        ),
        (
            pod_with_statuses(
                "Failed", container_status("logs", 3, exitCode=137, reason="OOMKilled"), spec=LIMITED
            ),
            failed(
                clock_time(3),
                "OOMKilled",
                'container "logs" ran out of memory (it has no limit of its own: those of its pod or node count)',
                container="logs",
                exit_code=137,
            ),
        ),
        (
            pod_with_statuses(
                "Failed", container_status("main", 3, exitCode=137), reason="Evicted", message=FULL
            ),
            failed(clock_time(3), "Evicted", f"pod p-1: Evicted: {FULL}", container="main", exit_code=137),
        ),
        (
            pod_with_statuses("Failed", reason="NodeLost", conditions=CHANGED),
            failed(clock_time(4), "NodeLost", "pod p-1: NodeLost"),
        ),
        (
            pod_with_statuses("Running", container_status("main"), conditions=[DISRUPTED]),
            failed(clock_time(5), "PreemptionByScheduler", "pod p-1: PreemptionByScheduler: made room"),
        ),
        (
            pod_with_statuses("Running", conditions=[{"type": "DisruptionTarget", "status": "True"}]),
            failed("", "DisruptionTarget", "pod p-1: DisruptionTarget"),
        ),
        (  # the exit code of a container that was lost is made up
            pod_with_statuses(
                "Failed",
                container_status("main", 3, exitCode=137, reason="ContainerStatusUnknown"),
                conditions=[DISRUPTED],
            ),
            failed(clock_time(5), "PreemptionByScheduler", "pod p-1: PreemptionByScheduler: made room"),
        ),
        (
            pod_with_statuses("Failed", conditions=None),
            failed(MADE, "Failed", "pod p-1 failed without a word"),
        ),
        (pod_with_statuses("Running", container_status("main")), None),
        (pod_with_statuses("Running", conditions=[{**DISRUPTED, "status": "False"}]), None),
        ({"metadata": {"name": "p-1"}}, None),
    ],
)
def test_the_end_of_a_pod(given: dict[str, Any], expected: PodEnd | None) -> None:
    assert pod_end(given, "main") == expected


@pytest.mark.parametrize(
    ("deadline", "grace", "ended", "deleted"),
    [(5, 60, 4, True), (5, 59, 4, False), (5, None, 5, True), (5, None, 4, False), (None, 60, 4, False)],
)
def test_a_container_that_ended_after_its_deletion_was_asked_for_did_so_for_that(
    deadline: int | None, grace: int | None, ended: int, deleted: bool
) -> None:
    metadata: dict[str, Any] = {} if deadline is None else {"deletionTimestamp": clock_time(deadline)}
    metadata |= {} if grace is None else {"deletionGracePeriodSeconds": grace}

    found = pod_end(
        pod_with_statuses("Failed", container_status("main", ended, exitCode=143), metadata=metadata), "main"
    )

    assert found is not None and found.deleted is deleted
    disrupted = pod_with_statuses(
        "Failed", container_status("main", ended, exitCode=143), metadata=metadata, conditions=[DISRUPTED]
    )
    found = pod_end(disrupted, "main")
    assert found is not None and not found.deleted
