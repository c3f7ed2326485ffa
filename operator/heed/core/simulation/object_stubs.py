"""Plays the controllers of resource tasks: what CEL makes of a sequence of objects that a stub gives. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.cel.expression import ExpressionError
from heed.core.effects import TaskEnd, TaskWork
from heed.core.tasks.resource import REASON_EXPRESSION, Progress, ResourceTarget, failed_end


def play_objects(
    record: PendingTask, work: TaskWork, objects: Sequence[Mapping[str, Any]], at: str
) -> Iterator[Progress | TaskEnd]:
    """What is said of a task as its object becomes each of these in turn; they are merged into what was created.

    Progress that does not change is not said again. Nothing comes after the end; there may be none.
    """
    try:
        target = ResourceTarget(record.target or "", f"spec.tasks.{work.task}.resource")
    except ExpressionError as error:
        yield failed_end(work.attempt_id, names.digest("target", work.id), at, REASON_EXPRESSION, str(error))
        return
    said: str | None = None
    for version, given in enumerate(objects, 1):
        judged = target.judge(work.attempt_id, _merged(_created(work, version, at), given), at)
        if isinstance(judged, TaskEnd):
            yield judged
            return
        if judged is not None and judged.value != said:
            said = judged.value
            yield judged


def _created(work: TaskWork, version: int, at: str) -> dict[str, Any]:
    """The object as the API server would have it."""
    body = dict(work.spec.get("template") or {})
    metadata = {
        **(body.get("metadata") or {}),
        "name": names.job_name(work.agent.name, work.attempt_id),
        "namespace": work.agent.namespace,
        "uid": names.digest("object", work.attempt_id),
        "resourceVersion": str(version),
        "creationTimestamp": at,
    }
    return {**body, "metadata": metadata}


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in given.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(before, value)
        else:
            merged[name] = value
    return merged
