"""Why a Job has no pod that runs: read from pods as schedulers and kubelets leave them, and from Kubernetes Events."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.poddelays import Delay, event_time, explained, pod_delay

Object = dict[str, Any]
SCHEDULED = {"type": "PodScheduled", "status": "True"}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
FORBIDDEN = 'Error creating: pods "a-1-x" is forbidden: violates PodSecurity "restricted:latest": …'


def a_pod(
    *, conditions: list[Object] | None = None, uid: str = "pod-1", job: str = "job-1", **status: Any
) -> Object:
    return {
        "metadata": {"name": "a-1-x", "uid": uid, "labels": {"batch.kubernetes.io/controller-uid": job}},
        "status": {"phase": "Pending", "conditions": conditions or [SCHEDULED], **status},
    }


def waiting(name: str, reason: str, message: str = "", **more: Any) -> Object:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}, **more}


def warning(kind: str, uid: str, reason: str, message: str, second: int = 0, **more: Any) -> Object:
    about = {"kind": kind, "name": "a-1", "uid": uid}
    at = f"2026-11-01T12:00:{second:02}Z"
    return {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at} | more


NOON = event_time(warning("Job", "", "", ""))


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            a_pod(conditions=[UNSCHEDULABLE]),
            "Unschedulable",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            a_pod(conditions=[{**UNSCHEDULABLE, "reason": "SchedulerError"}]),
            "SchedulerError",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            a_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            "Unschedulable",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            a_pod(containerStatuses=[waiting("main", "ErrImagePull", "not found")]),
            "ImagePullBackOff",
            'pod a-1-x: container "main": not found',
        ),
        (
            a_pod(containerStatuses=[waiting("main", "ImagePullBackOff", "Back-off")]),
            "ImagePullBackOff",
            'pod a-1-x: container "main": Back-off',
        ),
        (
            a_pod(containerStatuses=[waiting("main", "CreateContainerConfigError", 'secret "s" not found')]),
            "CreateContainerConfigError",
            'pod a-1-x: container "main": secret "s" not found',
        ),
        (
            a_pod(
                initContainerStatuses=[
                    waiting(
                        "clone",
                        "CrashLoopBackOff",
                        "back-off 5m0s",
                        lastState={"terminated": {"exitCode": 7, "message": "auth failed\n"}},
                    )
                ],
                containerStatuses=[waiting("main", "PodInitializing")],
            ),
            "CrashLoopBackOff",
            'pod a-1-x: container "clone": ended with exit code 7: auth failed',
        ),
    ],
)  # fmt: skip
def test_a_pod_says_what_keeps_it(pod: Object, reason: str, words: str) -> None:
    assert pod_delay(pod) == Delay(reason, words)


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(containerStatuses=[waiting("main", "ContainerCreating")]),
        a_pod(),
        a_pod(conditions=[{"type": "PodScheduled", "status": "Unknown"}]),
    ],
)
def test_what_may_only_be_slow_is_passing(pod: Object) -> None:
    delay = pod_delay(pod)

    assert delay is not None
    assert delay.passing


def test_an_init_container_at_work_is_no_delay() -> None:
    running = {"name": "fetch", "state": {"running": {}}, "started": False}
    main = waiting("main", "PodInitializing")

    assert pod_delay(a_pod(initContainerStatuses=[running], containerStatuses=[main])) is None


def test_a_native_sidecar_at_work_explains_nothing() -> None:
    sidecar = {"name": "proxy", "state": {"running": {}}, "started": True}
    main = waiting("main", "ErrImagePull", "not found")

    delay = pod_delay(a_pod(initContainerStatuses=[sidecar], containerStatuses=[main]))

    assert delay is not None
    assert delay.reason == "ImagePullBackOff"


def test_a_pod_that_is_held_back_on_purpose_is_no_delay() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}

    assert pod_delay(a_pod(conditions=[gated])) is None


def test_a_reason_that_is_no_word_is_replaced() -> None:
    delay = pod_delay(a_pod(containerStatuses=[waiting("main", "rpc error: x", "why")]))

    assert delay == Delay("PodPending", 'pod a-1-x: container "main": why')


def test_a_job_without_a_pod_is_explained_by_the_latest_warning_about_it() -> None:
    warnings = [
        warning("Job", "job-1", "FailedCreate", FORBIDDEN, second=5),
        warning("Job", "job-1", "FailedCreate", "old", second=3),
        warning("Job", "job-2", "FailedCreate", "another's", second=9),
        warning("Job", "job-1", "BackoffLimitExceeded", "no reason of this kind", second=9),
        warning("Deployment", "job-1", "FailedCreate", "no Job", second=9),
    ]

    found = Delay("FailedCreate", FORBIDDEN)
    assert explained(["job-1"], [], warnings, NOON) == {"job-1": found}
    assert "securityContext" in found.advice


def test_warnings_from_before_the_job_waited_explain_nothing() -> None:
    assert explained(["job-1"], [], [warning("Job", "job-1", "FailedCreate", "x", second=5)], NOON + 10) == {}


def test_a_job_that_got_its_pod_is_not_explained_by_what_was_before() -> None:
    early = [warning("Job", "job-1", "FailedCreate", FORBIDDEN)]
    running = {"name": "fetch", "state": {"running": {}}}

    assert explained(["job-1"], [a_pod(initContainerStatuses=[running])], early, NOON) == {"job-1": None}
    found = explained(["job-1"], [a_pod(containerStatuses=[waiting("main", "ErrImagePull")])], early, NOON)
    assert found["job-1"] == Delay("ImagePullBackOff", 'pod a-1-x: container "main"')


def test_a_pod_that_is_only_slow_is_explained_by_warnings_about_it() -> None:
    pod = a_pod(containerStatuses=[waiting("main", "ContainerCreating")])
    warnings = [warning("Pod", "pod-1", "FailedMount", 'secret "keys" not found')]

    slow = explained(["job-1"], [pod], None, NOON)["job-1"]
    assert slow is not None
    assert slow.passing
    found = Delay("FailedMount", 'pod a-1: secret "keys" not found')
    assert explained(["job-1"], [pod], warnings, NOON) == {"job-1": found}
    assert "mounts" in found.advice


def test_the_time_of_an_event_is_that_of_its_last_sight() -> None:
    series = {"series": {"lastObservedTime": "2026-11-01T12:00:09.000000Z"}}

    assert event_time(warning("Job", "", "", "", second=1, **series)) == NOON + 9
    assert event_time({"eventTime": "2026-11-01T12:00:04.000000Z", "lastTimestamp": None}) == NOON + 4
    assert event_time({}) == 0


@pytest.mark.parametrize(("message", "advice"), [("exceeded quota: small", "quota"), ("nothing known", "")])
def test_advice_fits_the_words(message: str, advice: str) -> None:
    assert advice in Delay("FailedCreate", message).advice
    assert bool(Delay("FailedCreate", message).advice) == bool(advice)
