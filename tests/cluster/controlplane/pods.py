"""The part that a kubelet plays in a Job's life, played through the API alone.

There is no node: pods stay unscheduled, and a test says how each one ends. All the rest (Job conditions, finalizers,
retries, deletion) is done by the real controllers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.cluster.controlplane.api import Api
from tests.cluster.controlplane.waiting import eventually
from tests.patience import PATIENCE


class PodPhases:
    """Blocking; from async tests call through `asyncio.to_thread`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def wait_for_pod(self, namespace: str, job_name: str) -> dict[str, Any]:
        """The Job's pod that is not finished and not being deleted, once there is one."""
        return eventually(
            lambda: next((pod for pod in self.of_job(namespace, job_name) if _alive(pod)), None),
            PATIENCE,
            what=f"an unfinished pod of Job {namespace}/{job_name}",
        )

    def wait_until_gone(self, namespace: str, job_name: str) -> None:
        """No pod of the Job is there any more, as its controller sees to it where the Job is suspended."""
        eventually(
            lambda: not self.of_job(namespace, job_name),
            PATIENCE,
            what=f"the end of the pods of Job {namespace}/{job_name}",
        )

    def of_job(self, namespace: str, job_name: str) -> list[dict[str, Any]]:
        """All pods the Job has now."""
        path = f"{_pods(namespace)}?labelSelector=batch.kubernetes.io/job-name={job_name}"
        pods: list[dict[str, Any]] = self._api.get(path)["items"]
        return pods

    def start(self, namespace: str, job_name: str) -> dict[str, Any]:
        """The pod runs and is ready."""
        pod = self.wait_for_pod(namespace, job_name)
        running = {"running": {"startedAt": _now()}}
        return self._report(pod, "Running", dict.fromkeys(_containers(pod), running))

    def succeed(
        self, namespace: str, job_name: str, termination_message: str = "", container: str = "main"
    ) -> dict[str, Any]:
        """The pod ends with exit code 0 and leaves `termination_message`."""
        return self._finish(namespace, job_name, "Succeeded", 0, termination_message, container)

    def fail(
        self,
        namespace: str,
        job_name: str,
        exit_code: int = 1,
        termination_message: str = "",
        container: str = "main",
    ) -> dict[str, Any]:
        """The pod ends because `container` ended with `exit_code`; whether the Job retries is the Job's business."""
        if exit_code == 0:
            raise ValueError("a container that fails has an exit code other than 0")
        return self._finish(namespace, job_name, "Failed", exit_code, termination_message, container)

    def report(self, pod: dict[str, Any], **status: Any) -> dict[str, Any]:
        """The pod has these members of its status, as a kubelet or a scheduler would write them."""
        metadata = pod["metadata"]
        path = f"{_pods(metadata['namespace'])}/{metadata['name']}/status"
        updated: dict[str, Any] = self._api.patch(path, {"status": status})
        return updated

    def bind(self, pod: dict[str, Any], node: str = "somewhere") -> None:
        """The pod has a node, which no kubelet looks after; so a deletion waits for the end of its containers."""
        metadata = pod["metadata"]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"metadata": {"name": metadata["name"]}, "target": target}
        self._api.post(f"{_pods(metadata['namespace'])}/{metadata['name']}/binding", binding)

    def delete(self, pod: dict[str, Any], grace: int = 30) -> None:
        """The pod is to go within so many seconds; its Job keeps it until it has counted it."""
        metadata = pod["metadata"]
        self._api.delete(f"{_pods(metadata['namespace'])}/{metadata['name']}", grace=grace)

    def _finish(
        self, namespace: str, job_name: str, phase: str, exit_code: int, message: str, container: str
    ) -> dict[str, Any]:
        pod = self.wait_for_pod(namespace, job_name)
        if container not in _containers(pod):
            raise ValueError(
                f"Job {namespace}/{job_name} has no container {container!r}, only {_containers(pod)}"
            )
        ends = {name: _terminated(pod, 0, "") for name in _containers(pod)}
        return self._report(pod, phase, ends | {container: _terminated(pod, exit_code, message)})

    def _report(self, pod: dict[str, Any], phase: str, states: dict[str, Any]) -> dict[str, Any]:
        return self.report(pod, **_status(pod, phase, states))


def _status(pod: dict[str, Any], phase: str, states: dict[str, Any]) -> dict[str, Any]:
    ready = phase == "Running"
    images = {container["name"]: container["image"] for container in pod["spec"]["containers"]}
    return {
        "phase": phase,
        "startTime": pod["status"].get("startTime", _now()),
        "conditions": [
            _condition("PodScheduled", True),
            _condition("Initialized", True),
            _condition("ContainersReady", ready),
            _condition("Ready", ready),
        ],
        "containerStatuses": [
            {
                "name": name,
                "image": images[name],
                "imageID": "",
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
            }
            for name, state in states.items()
        ],
    }


def _condition(kind: str, holds: bool) -> dict[str, Any]:
    return {"type": kind, "status": str(holds), "lastTransitionTime": _now()}


def _terminated(pod: dict[str, Any], exit_code: int, message: str) -> dict[str, Any]:
    end: dict[str, Any] = {
        "exitCode": exit_code,
        "reason": "Error" if exit_code else "Completed",
        "startedAt": pod["status"].get("startTime", _now()),
        "finishedAt": _now(),
    }
    return {"terminated": end | ({"message": message} if message else {})}


def _alive(pod: dict[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Pending", "Running") and "deletionTimestamp" not in pod["metadata"]


def _containers(pod: dict[str, Any]) -> list[str]:
    return [container["name"] for container in pod["spec"]["containers"]]


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
