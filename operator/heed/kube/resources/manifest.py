"""Builds and reads the objects of resource tasks. Pure."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from heed import names
from heed.core.effects import AgentRef, TaskWork
from heed.kube.client.task_metadata import (
    author_keys,
    controller_uid,
    owner_reference,
    parse_attempt,
    parse_retention_s,
    task_labels,
)

KEEP: Final = "keep"  # as a retention

Body = Mapping[str, Any]


def object_manifest(work: TaskWork, deletion: str) -> dict[str, Any]:
    """The object of a task: the author's rendered template with the name, labels and owner that Heed gives it."""
    body: dict[str, Any] = copy.deepcopy(work.spec["template"])
    given = body.get("metadata") or {}
    retention = {"Keep": KEEP, "Immediately": "0"}.get(deletion, str(work.retention))
    body["metadata"] = {
        "name": object_name(work.agent, work.attempt_id),
        "namespace": work.agent.namespace,
        "labels": {**author_keys(given.get("labels")), **task_labels(work, names.LABEL_RESOURCE_OF)},
        "annotations": {**author_keys(given.get("annotations")), names.ANNOTATION_RETENTION: retention},
        "ownerReferences": [owner_reference(work.agent)],
    }
    return body


def object_name(agent: AgentRef, attempt_id: str) -> str:
    """The name of the object of an attempt, as a Job of it would have it."""
    return names.job_name(agent.name, attempt_id)


def owner_uid(body: Body) -> str:
    """The uid of the Agent that an object belongs to; empty where it belongs to none."""
    return controller_uid(body) or ""


def is_of(body: Body, agent: AgentRef, attempt_id: str) -> bool:
    """Whether an object was created for an attempt of an Agent's task. Labels may be gone, and copied to others."""
    return owner_uid(body) == agent.uid and body["metadata"]["name"] == object_name(agent, attempt_id)


def attempt_of(body: Body, agent: AgentRef) -> str | None:
    """The attempt of an Agent's task that an object says it is of, if that can be."""
    labels = body["metadata"].get("labels") or {}
    task_id, number = labels.get(names.LABEL_TASK_ID), labels.get(names.LABEL_ATTEMPT)
    if (
        not (isinstance(task_id, str) and isinstance(number, str))
        or (attempt := parse_attempt(number)) is None
    ):
        return None
    found = names.attempt_id(task_id, attempt)
    return found if is_of(body, agent, found) else None


def is_watched(body: Body) -> bool:
    """Whether an object has the label that watches and lists select by, which users can remove."""
    return names.LABEL_RESOURCE_OF in (body["metadata"].get("labels") or {})


def delete_after(body: Body) -> float | None:
    """When (seconds since the epoch) the retention is over of an object that no task waits for; None: never.

    It counts from the last write: one that is over is written no more.
    """
    metadata = body["metadata"]
    retention = (metadata.get("annotations") or {}).get(names.ANNOTATION_RETENTION, "")
    if retention == KEEP:
        return None
    written = [item.get("time") for item in metadata.get("managedFields") or ()]
    latest = max(filter(None, (metadata.get("creationTimestamp"), *written)))
    return datetime.fromisoformat(latest).astimezone(UTC).timestamp() + parse_retention_s(retention)
