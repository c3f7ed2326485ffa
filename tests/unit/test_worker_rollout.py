"""What is said of workers, from their Deployment, their pods, and what the API server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.client.client import ApiError
from heed.kube.status.worker_condition import WorkerState
from heed.kube.workers.rollout import explain_refusal, is_complete, judge_rollout

TEMPLATE = {"metadata": {"annotations": {"heed.dev/worker-template": "t-2"}}}


def deployment(
    replicas: int | None = 2, observed: int = 3, conditions: Any = (), **counts: int
) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": TEMPLATE}
    if replicas is not None:
        spec["replicas"] = replicas
    names = {"all": "replicas", "updated": "updatedReplicas", "available": "availableReplicas"}
    status = {names[name]: count for name, count in counts.items() if count}
    return {
        "metadata": {"name": "a-worker", "generation": 3},
        "spec": spec,
        "status": {**status, "observedGeneration": observed, "conditions": list(conditions)},
    }


def pod(
    reason: str | None, template: str = "t-2", *, ready: bool = False, deleted: bool = False
) -> dict[str, Any]:
    metadata = {"name": "a-worker-1", "annotations": {"heed.dev/worker-template": template}}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    waiting = {"waiting": {"reason": reason, "message": "no such image"}} if reason else {"running": {}}
    return {
        "metadata": metadata,
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(ready)},
            ],
            "containerStatuses": [{"name": "worker", "state": waiting}],
        },
    }


def said(state: WorkerState) -> tuple[str, str]:
    return state.status, state.reason


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (deployment(all=2, updated=2, available=2), True),
        (deployment(replicas=None, all=1, updated=1, available=1), True),
        (deployment(replicas=0), True),
        (deployment(all=2, updated=2, available=2, observed=2), False),
        (deployment(all=2, updated=2, available=1), False),
        (deployment(all=2, updated=1, available=2), False),
        (deployment(all=3, updated=2, available=2), False),
        (deployment(), False),
    ],
)
def test_a_rollout_is_complete_when_all_pods_are_new_and_available(
    found: dict[str, Any], complete: bool
) -> None:
    assert is_complete(found) is complete


def test_workers_that_are_there_are_ready() -> None:
    assert said(judge_rollout(deployment(all=2, updated=2, available=2), [])) == ("True", "Available")


def test_none_are_wanted_of_one_that_is_scaled_to_zero() -> None:
    assert said(judge_rollout(deployment(replicas=0), [])) == ("False", "ScaledToZero")


def test_pods_that_are_being_made_are_progress() -> None:
    state = judge_rollout(deployment(all=2, updated=2), [pod("ContainerCreating")])

    assert said(state) == ("False", "Progressing")
    assert "older template" not in state.message
    assert "older template" in judge_rollout(deployment(all=2, updated=1, available=1), []).message


def test_what_keeps_a_new_pod_is_the_reason() -> None:
    state = judge_rollout(deployment(all=3, updated=1, available=2), [pod("ErrImagePull")])

    assert said(state) == ("False", "ImagePullBackOff")
    assert "a-worker-1" in state.message
    assert state.message.endswith("pods of an older template go on")


@pytest.mark.parametrize(
    "other",
    [
        pod("ErrImagePull", "t-1"),
        pod("ErrImagePull", deleted=True),
        pod("ErrImagePull", ready=True),
    ],
)
def test_what_keeps_other_pods_is_none(other: dict[str, Any]) -> None:
    assert said(judge_rollout(deployment(all=2, updated=1), [other])) == ("False", "Progressing")


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}, "FailedCreate"),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
            "ProgressDeadlineExceeded",
        ),
        ({"type": "ReplicaFailure", "status": "False", "reason": "FailedCreate"}, "Progressing"),
        ({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}, "Progressing"),
    ],
)
def test_pods_that_cannot_be_made_are_the_reason(condition: dict[str, str], reason: str) -> None:
    assert said(judge_rollout(deployment(all=1, conditions=[condition]), [])) == ("False", reason)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ApiError(403, "deployments.apps is forbidden: User may not list"), "workers.enabled=true"),
        (ApiError(422, 'Deployment "x" is invalid: image: Required value'), "spec.worker.template"),
        (ApiError(403, "exceeded quota: small"), "raise the quota"),
    ],
)
def test_a_refusal_comes_with_what_to_do(error: ApiError, remedy: str) -> None:
    state = explain_refusal(error)

    assert state is not None
    assert said(state) == ("False", "Refused")
    assert remedy in state.message


@pytest.mark.parametrize("status", [0, 404, 409, 429, 500, 503])
def test_an_api_server_that_does_not_answer_now_refuses_nothing(status: int) -> None:
    assert explain_refusal(ApiError(status, "not now")) is None
