"""Builds and reads the objects of resource tasks. Pure."""

import copy
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from heed import names
from heed.core.effects import AgentRef, TaskWork

KEEP: Final = "keep"  # as a retention
DEFAULT_RETENTION_S: Final = 3600
_SECONDS: Final = re.compile(r"[0-9]{1,10}")  # of an annotation, which anyone may write
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,2}")

Body = Mapping[str, Any]


def object_manifest(work: TaskWork, deletion: str) -> dict[str, Any]:
    """The object of a task: the author's rendered template with the name, labels and owner that Heed gives it."""
    body: dict[str, Any] = copy.deepcopy(work.spec["template"])
    given = body.get("metadata") or {}
    retention = {"Keep": KEEP, "Immediately": "0"}.get(deletion, str(work.retention))
    body["metadata"] = {
        "name": object_name(work.agent, work.attempt_id),
        "namespace": work.agent.namespace,
        "labels": {**_of_author(given.get("labels")), **_labels(work)},
        "annotations": {**_of_author(given.get("annotations")), names.ANNOTATION_RETENTION: retention},
        "ownerReferences": [_owner(work.agent)],
    }
    return body


def object_name(agent: AgentRef, attempt_id: str) -> str:
    """The name of the object of an attempt, as a Job of it would have it."""
    return names.job_name(agent.name, attempt_id)


def owner_uid(body: Body) -> str:
    """The uid of the Agent that an object belongs to; empty where it belongs to none."""
    owners = body["metadata"].get("ownerReferences") or []
    found = (owner["uid"] for owner in owners if owner.get("kind") == names.KIND and owner.get("controller"))
    return str(next(found, ""))


def is_of(body: Body, agent: AgentRef, attempt_id: str) -> bool:
    """Whether an object was created for an attempt of an Agent's task. Labels may be gone, and copied to others."""
    return owner_uid(body) == agent.uid and body["metadata"]["name"] == object_name(agent, attempt_id)


def attempt_of(body: Body, agent: AgentRef) -> str | None:
    """The attempt of an Agent's task that an object says it is of, if that can be."""
    labels = body["metadata"].get("labels") or {}
    task_id, number = labels.get(names.LABEL_TASK_ID), labels.get(names.LABEL_ATTEMPT)
    if not (isinstance(task_id, str) and isinstance(number, str) and _NUMBER.fullmatch(number)):
        return None
    found = names.attempt_id(task_id, int(number))
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
    seconds = int(retention) if _SECONDS.fullmatch(retention) else DEFAULT_RETENTION_S
    written = [item.get("time") for item in metadata.get("managedFields") or ()]
    latest = max(filter(None, (metadata.get("creationTimestamp"), *written)))
    return datetime.fromisoformat(latest).astimezone(UTC).timestamp() + seconds


def _of_author(given: Mapping[str, str] | None) -> dict[str, str]:
    """The labels or annotations that an object's author may set: all but Heed's own."""
    return {key: value for key, value in (given or {}).items() if not names.is_own_key(key)}


def _labels(work: TaskWork) -> dict[str, str]:
    return {
        names.LABEL_RESOURCE_OF: work.agent.name,
        names.LABEL_TASK: work.task,
        names.LABEL_TASK_ID: work.id,
        names.LABEL_ATTEMPT: str(work.attempt),
        names.LABEL_SESSION: names.session_hash(work.session),
    }


def _owner(agent: AgentRef) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": agent.name,
        "uid": agent.uid,
        "controller": True,
    }
