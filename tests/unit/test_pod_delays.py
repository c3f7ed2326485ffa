"""Why a Job has no pod that runs: read from pods as schedulers and kubelets leave them, and from Kubernetes Events."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.jobs.pod_delays import PodDelay, event_delays, event_time, explain_delays, pod_delay

Object = dict[str, Any]
SCHEDULED = {"type": "PodScheduled", "status": "True"}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
FORBIDDEN = 'Error creating: pods "a-1-x" is forbidden: violates PodSecurity "restricted:latest": …'


def pending_pod(
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
            pending_pod(conditions=[UNSCHEDULABLE]),
            "Unschedulable",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            pending_pod(conditions=[{**UNSCHEDULABLE, "reason": "SchedulerError"}]),
            "SchedulerError",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            pending_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
            "Unschedulable",
            "pod a-1-x: 0/3 nodes",
        ),
        (
            pending_pod(containerStatuses=[waiting("main", "ErrImagePull", "not found")]),
            "ImagePullBackOff",
            'pod a-1-x: container "main": not found',
        ),
        (
            pending_pod(containerStatuses=[waiting("main", "ImagePullBackOff", "Back-off")]),
            "ImagePullBackOff",
            'pod a-1-x: container "main": Back-off',
        ),
        (
            pending_pod(containerStatuses=[waiting("main", "CreateContainerConfigError", 'secret "s" not found')]),
            "CreateContainerConfigError",
            'pod a-1-x: container "main": secret "s" not found',
        ),
        (
            pending_pod(
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
    assert pod_delay(pod) == PodDelay(reason, words)


UNSEEN = PodDelay("Unscheduled", "no scheduler has looked at pod a-1-x", passing=True)
BEGUN = PodDelay("ContainerCreating", "the containers of pod a-1-x are being made", passing=True)


@pytest.mark.parametrize(
    ("pod", "delay"),
    [
        (pending_pod(containerStatuses=[waiting("main", "ContainerCreating")]), BEGUN),
        (pending_pod(containerStatuses=[waiting("main", "PodInitializing"), waiting("logs", "")]), BEGUN),
        (
            pending_pod(
                containerStatuses=[
                    {"name": "main", "state": None},
                    {"name": "logs", "state": {"waiting": None}},
                ]
            ),
            BEGUN,
        ),
        (pending_pod(), BEGUN),
        (pending_pod(conditions=[{"type": "Ready", "status": "False", "reason": "x"}, SCHEDULED]), BEGUN),
        (pending_pod(initContainerStatuses=None, containerStatuses=None), BEGUN),
        (pending_pod(conditions=[{"type": "PodScheduled", "status": "Unknown"}]), UNSEEN),
        (pending_pod(conditions=[{"type": "Ready", "status": "True"}]), UNSEEN),
        ({**pending_pod(), "status": {"conditions": None}}, UNSEEN),
        ({**pending_pod(), "status": None}, UNSEEN),
    ],
)
def test_what_may_only_be_slow_is_passing(pod: Object, delay: PodDelay) -> None:
    assert pod_delay(pod) == delay


ENDED = {"lastState": {"terminated": {"exitCode": 7}}}


@pytest.mark.parametrize(
    ("pod", "delay"),
    [
        (
            pending_pod(conditions=[{"type": "PodScheduled", "status": "False"}]),
            PodDelay("Unschedulable", "pod a-1-x"),
        ),
        (
            pending_pod(containerStatuses=[waiting("main", "CrashLoopBackOff", "back-off", **ENDED)]),
            PodDelay("CrashLoopBackOff", 'pod a-1-x: container "main": ended with exit code 7'),
        ),
        (
            pending_pod(
                containerStatuses=[
                    waiting("main", "CrashLoopBackOff", "back-off", lastState={"terminated": None})
                ]
            ),
            PodDelay("CrashLoopBackOff", 'pod a-1-x: container "main": back-off'),
        ),
        (
            pending_pod(containerStatuses=[{"name": "main", "state": {"waiting": {"reason": "Odd"}}}]),
            PodDelay("Odd", 'pod a-1-x: container "main"'),
        ),
        (
            pending_pod(
                containerStatuses=[waiting("main", "PodInitializing"), waiting("logs", "Odd", "why")]
            ),
            PodDelay("Odd", 'pod a-1-x: container "logs": why'),
        ),
    ],
)
def test_what_is_not_said_is_not_made_up(pod: Object, delay: PodDelay) -> None:
    assert pod_delay(pod) == delay


def test_an_init_container_at_work_is_no_delay() -> None:
    running = {"name": "fetch", "state": {"running": {}}, "started": False}
    main = waiting("main", "PodInitializing")

    assert pod_delay(pending_pod(initContainerStatuses=[running], containerStatuses=[main])) is None


def test_a_native_sidecar_at_work_explains_nothing() -> None:
    sidecar = {"name": "proxy", "state": {"running": {}}, "started": True}
    main = waiting("main", "ErrImagePull", "not found")

    delay = pod_delay(pending_pod(initContainerStatuses=[sidecar], containerStatuses=[main]))

    assert delay is not None
    assert delay.reason == "ImagePullBackOff"


def test_a_pod_that_is_held_back_on_purpose_is_no_delay() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}

    assert pod_delay(pending_pod(conditions=[gated])) is None


def test_a_reason_that_is_no_word_is_replaced() -> None:
    delay = pod_delay(pending_pod(containerStatuses=[waiting("main", "rpc error: x", "why")]))

    assert delay == PodDelay("PodPending", 'pod a-1-x: container "main": why')


def test_a_job_without_a_pod_is_explained_by_the_latest_warning_about_it() -> None:
    warnings = [
        warning("Job", "job-1", "FailedCreate", FORBIDDEN, second=5),
        warning("Job", "job-1", "FailedCreate", "old", second=3),
        warning("Job", "job-2", "FailedCreate", "another's", second=9),
        warning("Job", "job-1", "BackoffLimitExceeded", "no reason of this kind", second=9),
        warning("Deployment", "job-1", "FailedCreate", "no Job", second=9),
    ]

    found = PodDelay("FailedCreate", FORBIDDEN)
    assert explain_delays(["job-1"], [], warnings, NOON) == {"job-1": found}
    assert "securityContext" in found.advice


def test_warnings_from_before_the_job_waited_explain_nothing() -> None:
    assert (
        explain_delays(["job-1"], [], [warning("Job", "job-1", "FailedCreate", "x", second=5)], NOON + 10)
        == {}
    )


def test_a_job_that_got_its_pod_is_not_explained_by_what_was_before() -> None:
    early = [warning("Job", "job-1", "FailedCreate", FORBIDDEN)]
    running = {"name": "fetch", "state": {"running": {}}}

    assert explain_delays(["job-1"], [pending_pod(initContainerStatuses=[running])], early, NOON) == {
        "job-1": None
    }
    found = explain_delays(
        ["job-1"], [pending_pod(containerStatuses=[waiting("main", "ErrImagePull")])], early, NOON
    )
    assert found["job-1"] == PodDelay("ImagePullBackOff", 'pod a-1-x: container "main"')


def test_a_pod_that_is_only_slow_is_explained_by_warnings_about_it() -> None:
    pod = pending_pod(containerStatuses=[waiting("main", "ContainerCreating")])
    warnings = [warning("Pod", "pod-1", "FailedMount", 'secret "keys" not found')]

    slow = explain_delays(["job-1"], [pod], None, NOON)["job-1"]
    assert slow is not None
    assert slow.passing
    found = PodDelay("FailedMount", 'pod a-1: secret "keys" not found')
    assert explain_delays(["job-1"], [pod], warnings, NOON) == {"job-1": found}
    assert "mounts" in found.advice


def test_the_time_of_an_event_is_that_of_its_last_sight() -> None:
    series = {"series": {"lastObservedTime": "2026-11-01T12:00:09.000000Z"}}

    assert event_time(warning("Job", "", "", "", second=1, **series)) == NOON + 9
    assert event_time({"eventTime": "2026-11-01T12:00:04.000000Z", "lastTimestamp": None}) == NOON + 4
    assert event_time({}) == 0


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (warning("Job", "job-1", "FailedCreate", "x"), PodDelay("FailedCreate", "x")),
        (
            {**warning("Job", "job-1", "FailedCreate", "x"), "message": None},
            PodDelay("FailedCreate", "FailedCreate"),
        ),
        (warning("Pod", "job-1", "FailedMount", "x"), PodDelay("FailedMount", "pod a-1: x")),
        (warning("Pod", "job-1", "failed to x", "x"), None),
        (warning("Pod", "job-1", "", "x"), None),
        (warning("Node", "job-1", "FailedCreate", "x"), None),
        ({**warning("Job", "job-1", "FailedCreate", "x"), "involvedObject": None}, None),
        ({**warning("Job", "job-1", "FailedCreate", "x"), "lastTimestamp": None}, None),
    ],
)
def test_of_warnings_those_about_jobs_and_pods_count(event: Object, expected: PodDelay | None) -> None:
    assert event_delays([event], NOON) == ({"job-1": expected} if expected else {})
    assert event_delays([event], NOON + 1) == {}


def test_of_warnings_of_one_time_the_last_one_counts() -> None:
    events = [
        warning("Job", "job-1", "FailedCreate", word, second=second)
        for word, second in (("a", 1), ("b", 1), ("c", 0))
    ]

    assert event_delays(events, NOON) == {"job-1": PodDelay("FailedCreate", "b")}


def test_each_job_has_its_own_explanation() -> None:
    slow, wrong = [waiting("main", "ContainerCreating")], [waiting("main", "ErrImagePull")]
    pods = [
        pending_pod(uid="pod-1", job="job-1", containerStatuses=slow),
        pending_pod(uid="pod-2", job="job-2", containerStatuses=wrong),
        pending_pod(uid="pod-9", job="job-9", containerStatuses=wrong),
        {"metadata": {"name": "nobodys", "uid": "pod-0", "labels": None}},
    ]
    warnings = [
        warning("Pod", "pod-2", "FailedMount", "not asked"),
        warning("Pod", "pod-9", "FailedMount", "another's"),
        warning("Job", "job-3", "FailedCreate", "no quota"),
    ]

    assert explain_delays(["job-1", "job-2", "job-3", "job-4"], pods, warnings, NOON) == {
        "job-1": BEGUN,
        "job-2": PodDelay("ImagePullBackOff", 'pod a-1-x: container "main"'),
        "job-3": PodDelay("FailedCreate", "no quota"),
    }


@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        (
            "FailedCreate",
            "exceeded quota: small",
            "raise the quota on pods, or wait until others' share of it is free",
        ),
        (
            "FailedCreate",
            FORBIDDEN,
            "give the containers the securityContext that the namespace's Pod Security level wants",
        ),
        (
            "ImagePullBackOff",
            "",
            "is the image's name right, and may this namespace pull it (imagePullSecrets)?",
        ),
        ("InvalidImageName", "", "correct the image's name"),
        ("CreateContainerConfigError", "", "make the Secret, ConfigMap or key that the container refers to"),
        (
            "Unschedulable",
            "",
            "give the cluster room, or change what the pod requests, tolerates and selects",
        ),
        ("FailedMount", "", "is there the volume, Secret or ConfigMap that the pod mounts?"),
        ("FailedCreate", "nothing known", ""),
    ],
)
def test_advice_fits_the_words(reason: str, message: str, advice: str) -> None:
    assert PodDelay(reason, message).advice == advice
