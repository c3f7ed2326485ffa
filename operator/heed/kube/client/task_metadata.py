"""What Heed writes into the metadata of every object that it creates for a task, and reads there again. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.core.effects import AgentRef, TaskWork

DEFAULT_RETENTION_S: Final = 3600
_SECONDS: Final = re.compile(r"[0-9]{1,10}")  # of an annotation, which anyone may write
_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,2}")


def author_keys(given: Mapping[str, str] | None) -> dict[str, str]:
    """The labels or annotations that an object's author may set: all but Heed's own."""
    return {key: value for key, value in (given or {}).items() if not names.is_own_key(key)}


def task_labels(work: TaskWork, selected_by: str) -> dict[str, str]:
    """The labels of a task's object. `selected_by` is the one with the Agent's name that watches select by."""
    return {
        selected_by: work.agent.name,
        names.LABEL_TASK: work.task,
        names.LABEL_TASK_ID: work.id,
        names.LABEL_ATTEMPT: str(work.attempt),
        names.LABEL_SESSION: names.session_hash(work.session),
    }


def owner_reference(agent: AgentRef) -> dict[str, Any]:
    """The ownerReference by which an object goes with its Agent."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": agent.name,
        "uid": agent.uid,
        "controller": True,
    }


def controller_uid(body: Mapping[str, Any], kind: str = names.KIND) -> str | None:
    """The uid of the Agent that controls an object, or of what else has a kind; None where there is none."""
    owners = body["metadata"].get("ownerReferences") or []
    return next(
        (owner["uid"] for owner in owners if owner.get("kind") == kind and owner.get("controller")),
        None,
    )


def parse_attempt(label: str) -> int | None:
    """The attempt that a label names; None where it names none."""
    return int(label) if _ATTEMPT.fullmatch(label) else None


def parse_retention_s(annotation: str) -> int:
    """The seconds of a retention; the default where the annotation says none."""
    return int(annotation) if _SECONDS.fullmatch(annotation) else DEFAULT_RETENTION_S
