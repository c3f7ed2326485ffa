"""What the Deployment of an Agent's workers says of them, with what its pods say where some are not there. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from heed import names
from heed.kube.client.client import ApiError
from heed.kube.client.refusals import find_denial, is_quota
from heed.kube.jobs.pod_delays import pod_delay
from heed.kube.status.ready import is_true
from heed.kube.status.worker_condition import WorkerState

Body = Mapping[str, Any]
SCALED_TO_ZERO: Final = "ScaledToZero"
POD_READY: Final = "Ready"  # a condition of pods


def is_complete(deployment: Body) -> bool:
    """Whether all pods are of the latest template, and available."""
    status, wanted = deployment.get("status") or {}, _replicas(deployment)
    counts = {status.get(name) or 0 for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {wanted} and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]


def judge_rollout(deployment: Body, pods: Iterable[Body]) -> WorkerState:
    """The state of workers."""
    name = deployment["metadata"]["name"]
    if is_complete(deployment):
        if not _replicas(deployment):
            message = f"Deployment {name} has no replicas: events wait until it is scaled up"
            return WorkerState("False", SCALED_TO_ZERO, message)
        return WorkerState("True", "Available", f"all pods of Deployment {name} are available")
    status = deployment.get("status") or {}
    if (found := _find_delay(deployment, pods) or _refused_pods(deployment)) is not None:
        older = "; pods of an older template go on" if status.get("availableReplicas") else ""
        reason, message = found
        return WorkerState("False", reason, f"{message}{older}")
    older = " those of an older template go on meanwhile;" if status.get("availableReplicas") else ""
    message = (
        f"pods of Deployment {name} are being made;{older} see `kubectl rollout status deployment/{name}`"
    )
    return WorkerState("False", "Progressing", message)


def explain_refusal(error: ApiError) -> WorkerState | None:
    """The state of workers whose Deployment the API server refuses; None where it only does not answer now."""
    if error.is_unanswered or error.status in (404, 409, 429):
        return None
    remedy = "see the message; the template is at spec.worker.template"
    if (refuser := find_denial(error)) is not None:
        remedy = f"change {refuser}, or the template"
    elif is_quota(error):
        remedy = "raise the quota"
    elif error.status == 403:
        remedy = (
            "let the operator keep Deployments: set workers.enabled=true in the values of its chart, "
            "or run workers yourself without spec.worker.template"
        )
    return WorkerState("False", "Refused", f"{error}; {remedy}")


def is_of_template(pod: Body, deployment: Body) -> bool:
    """Whether a pod is of a Deployment's latest template."""
    template = deployment["spec"]["template"].get("metadata") or {}
    said, wanted = (
        (item.get("annotations") or {}).get(names.ANNOTATION_TEMPLATE) for item in (pod["metadata"], template)
    )
    return said == wanted and "deletionTimestamp" not in pod["metadata"]


def _find_delay(deployment: Body, pods: Iterable[Body]) -> tuple[str, str] | None:
    """Why a pod of the latest template does not get ready, where that will not pass by itself."""
    for pod in pods:
        if is_of_template(pod, deployment) and not is_true(pod, POD_READY):
            delay = pod_delay(pod)
            if delay is not None and not delay.passing:
                advice = f"; {delay.advice}" if delay.advice else ""
                return delay.reason, f"{delay.message}{advice}"
    return None


def _refused_pods(deployment: Body) -> tuple[str, str] | None:
    """Why pods cannot be created, or that it takes longer than the Deployment's progressDeadlineSeconds."""
    for item in (deployment.get("status") or {}).get("conditions") or ():
        if item["type"] == "ReplicaFailure" and item["status"] == "True":
            return str(item.get("reason") or "FailedCreate"), str(item.get("message") or "")
        if item["type"] == "Progressing" and item["status"] == "False":
            return str(item.get("reason") or "Unavailable"), str(item.get("message") or "")
    return None


def _replicas(deployment: Body) -> int:
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)
