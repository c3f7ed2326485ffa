"""Builds and reads the manifests of Jobs. Pure."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from heed import names
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import TaskWork
from heed.core.tasks.job_contract import (
    TERMINATION_LOG,
    broker_environment,
    task_document_json,
    task_environment,
)
from heed.kube.client.task_metadata import (
    author_keys,
    controller_uid,
    owner_reference,
    parse_attempt,
    parse_retention_s,
    task_labels,
)

TASK_VOLUME: Final = "heed-task"
TASK_MOUNT: Final = {"name": TASK_VOLUME, "mountPath": "/heed", "readOnly": True}
CREDENTIALS_KEY: Final = "nats.creds"
NATS_VOLUME: Final = "heed-nats"
NATS_MOUNT: Final = {"name": NATS_VOLUME, "mountPath": "/heed-nats", "readOnly": True}
CREDENTIALS_FILE: Final = f"/heed-nats/{CREDENTIALS_KEY}"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"


def job_manifest(work: TaskWork, access: TaskCredentials | None = None) -> dict[str, Any]:
    """Build the Job of a task: the author's rendered spec with what the Job contract adds.

    One that needs credentials is suspended, and marked, until they are there.
    """
    access = access or TaskCredentials()
    spec = copy.deepcopy(work.spec)
    own = spec.pop("metadata", None) or {}
    annotations = {**author_keys(own.get("annotations")), names.ANNOTATION_RETENTION: str(work.retention)}
    if work.publish is not None:
        annotations[names.ANNOTATION_PUBLISHES] = "true"
    if needs_credentials(work, access):
        annotations[names.ANNOTATION_SUSPENDED] = "credentials"
        spec["suspend"] = True
    spec.pop("ttlSecondsAfterFinished", None)  # a completion must not be lost to a TTL while no operator runs
    if work.timeout is not None:
        limit = spec.get("activeDeadlineSeconds")
        spec["activeDeadlineSeconds"] = work.timeout if limit is None else min(work.timeout, limit)
    labels = task_labels(work, names.LABEL_AGENT)
    template = _mapping(spec, "template")
    metadata = _mapping(template, "metadata")
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        names.ANNOTATION_TASK: task_document_json(work),
    }
    _complete_pod(_mapping(template, "spec"), work, access)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(work.agent.name, work.attempt_id),
            "namespace": work.agent.namespace,
            "labels": {**author_keys(own.get("labels")), **labels},
            "annotations": annotations,
            "ownerReferences": [owner_reference(work.agent)],
        },
        "spec": spec,
    }


def needs_credentials(work: TaskWork, access: TaskCredentials) -> bool:
    """Whether a task's Job needs a Secret before it may run."""
    return work.publish is not None and access.signer is not None


def awaits_credentials(job: Mapping[str, Any]) -> bool:
    """Whether Heed created a Job suspended, and its Secret may not exist yet."""
    return names.ANNOTATION_SUSPENDED in (job["metadata"].get("annotations") or {})


def secret_manifest(job: Mapping[str, Any], credentials: str) -> dict[str, Any]:
    """The Secret with a Job's credentials, owned by the Job."""
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": {names.LABEL_TASK_ID: task_id(job)},
            "ownerReferences": [owner],
        },
        "immutable": True,
        "stringData": {CREDENTIALS_KEY: credentials},
    }


def secret_name(job: str) -> str:
    """The name of the Secret of a Job."""
    return f"{job}-nats"


def release_patch(work: TaskWork, job: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that resumes a Job whose Secret exists, unless its author or a queue wants it suspended."""
    patch: dict[str, Any] = {"metadata": {"annotations": {names.ANNOTATION_SUSPENDED: None}}}
    return {**patch, **resume_patch(work, job)}


def resume_patch(work: TaskWork, job: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that resumes a Job, unless its author or a queue wants it suspended."""
    waits = work.spec.get("suspend") or is_queued(job)
    return {} if waits else {"spec": {"suspend": False}}


def is_queued(job: Mapping[str, Any]) -> bool:
    """Whether Kueue manages a Job: it has a queue, from its author or by the namespace's default."""
    return bool((job["metadata"].get("labels") or {}).get(QUEUE_LABEL))


def has_started(job: Mapping[str, Any]) -> bool:
    """Whether a pod of a Job is or was ready, and so had all volumes mounted."""
    status = job.get("status") or {}
    return bool(status.get("ready") or status.get("succeeded"))


def _complete_pod(pod: dict[str, Any], work: TaskWork, access: TaskCredentials) -> None:
    """Defaults that are safe, the task file, credentials, and the HEED_* variables of every container."""
    pod.setdefault("restartPolicy", "Never")
    pod.setdefault("automountServiceAccountToken", False)
    field = {
        "path": "task.json",
        "fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_TASK}']"},
    }
    volumes: list[dict[str, Any]] = [{"name": TASK_VOLUME, "downwardAPI": {"items": [field]}}]
    mounts: list[dict[str, Any]] = [TASK_MOUNT]
    if identified := needs_credentials(work, access):
        secret = secret_name(names.job_name(work.agent.name, work.attempt_id))
        volumes.append({"name": NATS_VOLUME, "secret": {"secretName": secret}})
        mounts.append(NATS_MOUNT)
    broker: dict[str, str] = {}
    if work.publish is not None:
        broker = broker_environment(work, access.url, CREDENTIALS_FILE if identified else None)
    pod["volumes"] = [*(pod.get("volumes") or []), *volumes]
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), *mounts]
        variables = task_environment(
            work, result_file=container.get("terminationMessagePath") or TERMINATION_LOG
        )
        variables |= broker
        own = [{"name": name, "value": value.replace("$", "$$")} for name, value in variables.items()]
        container["env"] = [*own, *(container.get("env") or [])]


def _mapping(parent: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    inner: dict[str, Any] = parent[key]
    return inner


def owner_uid(job: Mapping[str, Any]) -> str | None:
    """The uid of the Agent that a Job belongs to."""
    return controller_uid(job)


def owner_name(job: Mapping[str, Any]) -> str:
    """The name of the Agent that a Job belongs to; empty where it belongs to none."""
    owners = job["metadata"].get("ownerReferences") or []
    return next((str(owner["name"]) for owner in owners if owner.get("uid") == owner_uid(job)), "")


def task_id(job: Mapping[str, Any]) -> str:
    """The task id of a Job; empty where it has none.

    Its pod template says so too, and is never changed: anyone may take a label away.
    """
    return _label(job, names.LABEL_TASK_ID)


def attempt(job: Mapping[str, Any]) -> int:
    """Which attempt of its task a Job is; 1 where it does not say so."""
    return parse_attempt(_label(job, names.LABEL_ATTEMPT)) or 1


def attempt_id(job: Mapping[str, Any]) -> str:
    """The `names.attempt_id` of a Job; empty where it has no task id."""
    return names.attempt_id(task_id(job), attempt(job)) if task_id(job) else ""


def _label(job: Mapping[str, Any], name: str) -> str:
    template = ((job.get("spec") or {}).get("template") or {}).get("metadata") or {}
    for metadata in (template, job["metadata"]):
        if found := (metadata.get("labels") or {}).get(name):
            return str(found)
    return ""


def is_watched(job: Mapping[str, Any]) -> bool:
    """Whether a Job has the label that watches and lists select by, which users can remove."""
    return names.LABEL_AGENT in (job["metadata"].get("labels") or {})


def is_at_work(job: Mapping[str, Any]) -> bool:
    """Whether a Job is neither finished nor being deleted."""
    return finished_condition(job) is None and "deletionTimestamp" not in job["metadata"]


def finished_condition(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition Complete or Failed of a finished Job, or None."""
    conditions = (job.get("status") or {}).get("conditions") or []
    over = (
        item for item in conditions if item["type"] in ("Complete", "Failed") and item["status"] == "True"
    )
    return next(over, None)


def delete_after(job: Mapping[str, Any]) -> float:
    """When (seconds since the epoch) a finished Job's retention is over."""
    condition = finished_condition(job)
    at = (condition or {}).get("lastTransitionTime") or job["metadata"]["creationTimestamp"]
    retention = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_RETENTION, "")
    ended = datetime.fromisoformat(at).astimezone(UTC).timestamp()
    return ended + parse_retention_s(retention)
