"""A queue as Kueue is one: admission suspends what names it, and only it lets that run. Blocking."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from heed.kube.jobs.manifest import QUEUE_LABEL
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.patience import PATIENCE

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
QUEUE = "team-a"
PROBE: dict[str, Any] = {
    "metadata": {"name": "probe", "labels": {QUEUE_LABEL: QUEUE}},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
}
_numbers = itertools.count(1)


@contextmanager
def suspending(plane: ControlPlane, namespace: str) -> Iterator[None]:
    """A MutatingAdmissionPolicy that suspends Jobs with a queue, from when it is in force."""
    name = f"queue-{next(_numbers)}-{namespace}"
    plane.admin.post(f"{ADMISSION}/mutatingadmissionpolicies", _policy(name))
    plane.admin.post(f"{ADMISSION}/mutatingadmissionpolicybindings", _binding(name, namespace))
    try:
        path = f"{jobs(namespace)}?dryRun=All"
        eventually(
            lambda: plane.admin.post(path, PROBE)["spec"].get("suspend"), PATIENCE, what="a queue in force"
        )
        yield
    finally:
        plane.admin.delete(f"{ADMISSION}/mutatingadmissionpolicybindings/{name}")
        plane.admin.delete(f"{ADMISSION}/mutatingadmissionpolicies/{name}")


def admit(plane: ControlPlane, job: dict[str, Any], *, runs: bool = True) -> dict[str, Any]:
    """What Kueue does with a Job that it admits, and with one that it preempts."""
    metadata = job["metadata"]
    path = f"{jobs(metadata['namespace'])}/{metadata['name']}"
    patched: dict[str, Any] = plane.admin.patch(path, {"spec": {"suspend": not runs}})
    return patched


def jobs(namespace: str) -> str:
    """The path of a namespace's Jobs."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _policy(name: str) -> dict[str, Any]:
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}
    queued = f"'{QUEUE_LABEL}' in object.metadata.?labels.orValue({{}})"
    suspended = {"expression": "Object{spec: Object.spec{suspend: true}}"}
    return {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "queued", "expression": queued}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": suspended}],
        },
    }


def _binding(name: str, namespace: str) -> dict[str, Any]:
    there = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": {"namespaceSelector": there}},
    }
