"""What a finished Job's pods say: which container of which pod ended it, and whose result counts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from heed import names
from heed.core.effects import TaskEnd
from heed.kube.jobs.outcome import answering_index, parse_intervals, task_end
from heed.kube.jobs.pod_outcome import PodEnd, pod_end

BACKOFF = {
    "type": "Failed",
    "status": "True",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
    "lastTransitionTime": "2026-11-01T12:10:00Z",
}
COMPLETE = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-01T12:10:00Z"}
Object = dict[str, Any]


def clock_time(minute: int, second: int = 0) -> str:
    return f"2026-11-01T12:{minute:02}:{second:02}Z"


def counted_job(**spec: Any) -> Object:
    pod: Object = {"restartPolicy": "Never", "containers": [{"name": "main"}, {"name": "logs"}]}
    pod |= spec.pop("pod", {})
    return {
        "metadata": {"name": "a-1", "uid": "job-1", "creationTimestamp": clock_time(0)},
        "spec": {"template": {"metadata": {"labels": {names.LABEL_TASK_ID: "a-1"}}, "spec": pod}, **spec},
        "status": {},
    }


def ended(name: str, code: int, minute: int, message: str = "", reason: str | None = None) -> Object:
    """A container's status: it has ended."""
    said = {"reason": reason or ("Error" if code else "Completed"), "finishedAt": clock_time(minute)}
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": message, **said}}}


def pod_with_statuses(*containers: Object, phase: str = "Failed", **more: Any) -> Object:
    """A pod whose containers have these statuses, and init containers those of `init`."""
    status = {"phase": phase, "containerStatuses": list(containers), **more.get("status", {})}
    status["initContainerStatuses"] = more.get("init", [])
    metadata = {"name": "a-1-x", "creationTimestamp": clock_time(0), **more.get("metadata", {})}
    return {"metadata": metadata, "spec": {"containers": [], **more.get("spec", {})}, "status": status}


def indexed(index: int, *containers: Object, **more: Any) -> Object:
    labels = {"labels": {"batch.kubernetes.io/job-completion-index": str(index)}, "name": f"a-1-{index}-x"}
    return pod_with_statuses(*containers, metadata=labels | more.pop("metadata", {}), **more)


def disrupted(reason: str, message: str, minute: int) -> Object:
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [{**target, "lastTransitionTime": clock_time(minute)}]}


def end_of(job: Object, *pods: Object, condition: Object = BACKOFF) -> TaskEnd:
    """How a Job ended, in whatever order its pods are listed."""
    shuffled = random.sample(pods, len(pods))
    ends = [end for pod in shuffled if (end := pod_end(pod, "main")) is not None]
    return task_end(job, condition, ends)


def told(end: TaskEnd) -> tuple[str | None, str | None, int | None, str | None]:
    return end.cause, end.container, end.exit_code, end.message


# -- which container -----------------------------------------------------------------------------------------------


def test_a_container_that_fails_says_why_itself() -> None:
    end = end_of(counted_job(), pod_with_statuses(ended("main", 3, 1, "no such tide\n"), ended("logs", 0, 2)))

    assert (end.completed, end.reason, end.pod) == (False, "BackoffLimitExceeded", "a-1-x")
    assert told(end) == ("Error", "main", 3, "no such tide")


def test_one_that_says_nothing_is_named_beside_the_jobs_own_words() -> None:
    end = end_of(counted_job(), pod_with_statuses(ended("main", 3, 1)))

    assert (
        end.message == 'container "main" ended with exit code 3; Job has reached the specified backoff limit'
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"resources": {"limits": {"memory": "64Mi"}}}, "its limit is 64Mi"),
        ({}, "it has no limit of its own: those of its pod or node count"),
    ],
)
def test_one_that_ran_out_of_memory_is_said_to_have(spec: Object, words: str) -> None:
    pod = pod_with_statuses(
        ended("main", 137, 1, reason="OOMKilled"), spec={"containers": [{"name": "main", **spec}]}
    )

    end = end_of(counted_job(), pod)

    why = f'container "main" ran out of memory ({words}); Job has reached the specified backoff limit'
    assert told(end) == ("OOMKilled", "main", 137, why)


def test_the_log_of_one_that_ran_out_of_memory_does_not_hide_that() -> None:
    end = end_of(counted_job(), pod_with_statuses(ended("main", 137, 1, "page 7 of 9", "OOMKilled")))

    assert end.message is not None
    assert end.message.startswith('container "main" ran out of memory')
    assert end.message.endswith(": page 7 of 9")


def test_an_init_container_that_fails_ends_the_pod() -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}
    init = [ended("fetch", 0, 1), ended("clone", 7, 2, "cannot clone repo: auth failed")]

    end = end_of(counted_job(), pod_with_statuses(waiting, init=init))

    assert told(end) == ("Error", "clone", 7, "cannot clone repo: auth failed")


def test_a_native_sidecar_ends_no_pod() -> None:
    init = [ended("proxy", 143, 3, "terminated")]
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}

    end = end_of(counted_job(), pod_with_statuses(ended("main", 2, 2, "out of luck"), init=init, spec=spec))

    assert told(end) == ("Error", "main", 2, "out of luck")


def test_the_answering_container_counts_before_one_that_failed_earlier() -> None:
    end = end_of(
        counted_job(), pod_with_statuses(ended("logs", 1, 1, "no sink"), ended("main", 2, 2, "out of luck"))
    )

    assert told(end) == ("Error", "main", 2, "out of luck")


def test_a_classic_sidecar_that_fails_alone_is_the_one() -> None:
    end = end_of(
        counted_job(), pod_with_statuses(ended("main", 0, 1, '{"answer": 1}'), ended("logs", 1, 2, "no sink"))
    )

    assert told(end) == ("Error", "logs", 1, "no sink")


def test_of_two_sidecars_the_first_to_fail_is_the_one() -> None:
    pod = pod_with_statuses(ended("main", 0, 1), ended("logs", 1, 4, "late"), ended("mesh", 5, 3, "early"))

    assert told(end_of(counted_job(), pod)) == ("Error", "mesh", 5, "early")


def test_a_container_that_is_being_restarted_is_known_by_its_last_end() -> None:
    last = ended("main", 9, 1, "no")["state"]
    status = {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}

    assert told(end_of(counted_job(), pod_with_statuses(status, phase="Running"))) == (
        "Error",
        "main",
        9,
        "no",
    )


def test_a_message_that_no_event_could_carry_is_cleaned() -> None:
    assert end_of(counted_job(), pod_with_statuses(ended("main", 1, 1, "a\0b"))).message == "a\ufffdb"


# -- the pod as a whole --------------------------------------------------------------------------------------------


def test_an_evicted_pod_says_so() -> None:
    words = "The node was low on resource: memory."
    lost = ended("main", 137, 3, reason="ContainerStatusUnknown")
    pod = pod_with_statuses(
        lost, status={"reason": "Evicted", "message": words, **disrupted("TerminationByKubelet", "", 3)}
    )

    end = end_of(counted_job(), pod)

    said = f"pod a-1-x: Evicted: {words}; Job has reached the specified backoff limit"
    assert told(end) == ("Evicted", None, None, said)


def test_a_pod_that_kubelet_never_admitted_says_why() -> None:
    pod = pod_with_statuses(status={"reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"})

    assert told(end_of(counted_job(), pod))[0] == "OutOfcpu"


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "DeletionByTaintManager", "DeletionByPodGC"])
def test_a_pod_that_made_room_or_lost_its_node_says_so(reason: str) -> None:
    pod = pod_with_statuses(
        ended("main", 143, 3, "stopping"), status=disrupted(reason, "somebody else needed it", 2)
    )

    cause, container, code, message = told(end_of(counted_job(), pod))

    assert (cause, container, code) == (reason, "main", 143)
    assert message == f"pod a-1-x: {reason}: somebody else needed it: stopping"


def test_a_container_that_failed_before_its_pod_was_disrupted_is_the_cause() -> None:
    pod = pod_with_statuses(ended("main", 3, 1, "no such tide"), status=disrupted("DeletionByPodGC", "", 2))

    assert told(end_of(counted_job(), pod)) == ("Error", "main", 3, "no such tide")


def test_a_pod_that_is_lost_while_it_runs_is_known_by_its_disruption() -> None:
    running = {"name": "main", "state": {"running": {}}}
    pod = pod_with_statuses(running, phase="Running", status=disrupted("PreemptionByScheduler", "", 2))

    assert told(end_of(counted_job(), pod))[0] == "PreemptionByScheduler"


def test_a_pod_that_runs_has_not_ended() -> None:
    running = {"name": "main", "state": {"running": {}}}

    assert pod_end(pod_with_statuses(running, phase="Running"), "main") is None


def test_a_pod_that_failed_without_any_status_is_told_of() -> None:
    assert told(end_of(counted_job(), pod_with_statuses()))[:3] == ("Failed", None, None)


# -- which pod -----------------------------------------------------------------------------------------------------


def test_the_last_attempt_counts() -> None:
    pods = [
        pod_with_statuses(ended("main", code, code, f"try {code}"), metadata={"name": f"p-{code}"})
        for code in (1, 2, 3)
    ]

    end = end_of(counted_job(), *pods)

    assert (told(end), end.pod) == (("Error", "main", 3, "try 3"), "p-3")


def test_a_pod_that_the_job_stopped_as_it_failed_is_not_the_cause() -> None:
    culprit = pod_with_statuses(ended("main", 3, 2, "no such tide"), metadata={"name": "p-1"})
    dying = {"name": "p-2", "deletionTimestamp": clock_time(3), "deletionGracePeriodSeconds": 30}
    victim = pod_with_statuses(ended("main", 143, 2, "stopping") | {}, metadata=dying)
    victim["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = clock_time(2, 40)

    assert told(end_of(counted_job(), culprit, victim)) == ("Error", "main", 3, "no such tide")
    assert told(end_of(counted_job(), victim)) == ("Error", "main", 143, "stopping")


def test_the_job_of_pods_that_are_gone_says_what_it_can() -> None:
    never, again = end_of(counted_job()), end_of(counted_job(pod={"restartPolicy": "OnFailure"}))

    assert never.message == (
        "Job has reached the specified backoff limit; the pods are gone, and with them why"
    )
    assert again.message is not None
    assert again.message.endswith("restartPolicy OnFailure that fails: use Never to learn more")
    assert (never.cause, never.container, never.exit_code, never.pod) == (None, None, None, None)


def test_a_deadline_needs_no_pod_to_be_understood() -> None:
    late = {
        **BACKOFF,
        "reason": "DeadlineExceeded",
        "message": "Job was active longer than specified deadline",
    }

    assert end_of(counted_job(), condition=late).message == "Job was active longer than specified deadline"


def test_an_index_that_succeeded_in_the_end_is_not_the_cause() -> None:
    job = counted_job(completionMode="Indexed", backoffLimitPerIndex=1)
    job["status"]["completedIndexes"] = "0,2"
    failed = {**BACKOFF, "reason": "FailedIndexes", "message": "Job has failed indexes"}
    first, last = indexed(1, ended("main", 4, 1, "one")), indexed(2, ended("main", 5, 3, "two"))

    end = end_of(job, first, last, indexed(2, ended("main", 0, 4), phase="Succeeded"), condition=failed)

    assert told(end) == ("Error", "main", 4, "one")


# -- results -------------------------------------------------------------------------------------------------------


def test_the_result_is_the_first_containers() -> None:
    pod = pod_with_statuses(
        ended("logs", 0, 2, "shipped"), ended("main", 0, 1, '{"answer": 42}'), phase="Succeeded"
    )

    end = end_of(counted_job(), pod, condition=COMPLETE)

    assert (end.completed, end.result, end.message, end.id) == (True, {"answer": 42}, None, "job-1")
    assert (end.cause, end.container, end.pod) == (None, None, None)


def test_the_result_is_that_of_a_pod_that_succeeded_and_of_the_last_one() -> None:
    pods = [
        pod_with_statuses(ended("main", 0, 1, "1"), phase="Succeeded", metadata={"name": "p-9"}),
        pod_with_statuses(ended("main", 0, 3, "3"), phase="Succeeded", metadata={"name": "p-1"}),
        pod_with_statuses(ended("main", 0, 4, "4"), ended("logs", 1, 5), metadata={"name": "p-2"}),
        pod_with_statuses(ended("main", 1, 6, "6"), metadata={"name": "p-3"}),
    ]

    assert end_of(counted_job(completions=2), *pods, condition=COMPLETE).result == 3


def test_a_container_that_ends_late_makes_no_pods_answer_later() -> None:
    early = pod_with_statuses(
        ended("main", 0, 1, "1"), ended("logs", 0, 9), phase="Succeeded", metadata={"name": "p-9"}
    )
    late = pod_with_statuses(
        ended("main", 0, 3, "3"), ended("logs", 0, 4), phase="Succeeded", metadata={"name": "p-1"}
    )

    assert end_of(counted_job(completions=2), early, late, condition=COMPLETE).result == 3


def test_a_native_sidecar_that_was_stopped_does_not_spoil_the_result() -> None:
    spec = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}
    pod = pod_with_statuses(
        ended("main", 0, 1, "1"), init=[ended("proxy", 137, 2, "x")], phase="Succeeded", spec=spec
    )

    assert end_of(counted_job(), pod, condition=COMPLETE).result == 1


def test_a_result_whose_pod_is_gone_is_said_to_be_lost() -> None:
    end = end_of(counted_job(), condition=COMPLETE)

    assert (end.completed, end.result) == (True, None)
    assert end.message == "the Job completed, but its pod was deleted before its result could be read"


def test_the_result_of_an_indexed_job_is_that_of_its_lowest_index() -> None:
    job = counted_job(completionMode="Indexed", completions=3)
    job["status"]["completedIndexes"] = "0-2"
    pods = [indexed(n, ended("main", 0, 9 - n, str(n)), phase="Succeeded") for n in range(3)]

    assert end_of(job, *pods, condition=COMPLETE).result == 0
    lost = end_of(job, *pods[1:], condition=COMPLETE)
    assert (lost.result, lost.message) == (
        None,
        "the Job completed, but the pod of index 0 was deleted before its result could be read",
    )


@pytest.mark.parametrize(
    ("rules", "completed", "index"),
    [
        ([], "1,3-5", 1),
        ([{"succeededIndexes": "3-4"}], "1,3-5", 3),
        ([{"succeededIndexes": "0"}], "0", 0),
        ([{"succeededIndexes": "0,9"}, {"succeededCount": 2}], "1,3", 1),
        ([{"succeededIndexes": "2-9", "succeededCount": 2}], "0,4,7", 4),
        ([{"succeededIndexes": "0,9"}], "1,3", 1),
        ([{"succeededCount": 3}], "1,3", 1),
        ([{"succeededIndexes": "nonsense"}], "", None),
    ],
)
def test_a_success_policy_names_the_indexes_that_count(
    rules: list[Object], completed: str, index: int | None
) -> None:
    job = counted_job(completionMode="Indexed", successPolicy={"rules": rules})
    job["status"]["completedIndexes"] = completed

    assert answering_index(job) == index


def test_intervals_are_read_as_kubernetes_writes_them() -> None:
    assert parse_intervals("7,1,3-5") == [(1, 1), (3, 5), (7, 7)]
    assert parse_intervals("") == parse_intervals("a-b,-,3-x") == []


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_what_was_seen_of_a_pod_is_a_value() -> None:
    one = pod_end(pod_with_statuses(ended("main", 1, 1)), "main")

    assert isinstance(one, PodEnd)
    assert one == pod_end(pod_with_statuses(ended("main", 1, 1)), "main")
