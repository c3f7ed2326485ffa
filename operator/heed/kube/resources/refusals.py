"""Refusals of the objects of resource tasks: which are final, and what helps. Pure."""

from heed.core.tasks.resource import REASON_FORBIDDEN, REASON_INVALID, REASON_KIND_UNKNOWN, ObjectKind
from heed.errors import TaskRefused
from heed.kube.client.client import ApiError
from heed.kube.client.refusals import find_denial, is_quota
from heed.kube.resources.kinds import ServedKind


def refuse_object(task: str, served: ServedKind, error: ApiError) -> TaskRefused | None:
    """The TaskRefused for a final refusal; None for a transient one: quota, conflict, server load.

    A missing right is final here, other than for Jobs: it is the chart's opt-in that was not made.
    """
    path = f"spec.tasks.{task}.resource"
    if error.status == 429 or error.status >= 500 or is_quota(error):
        return None
    if (refuser := find_denial(error)) is not None:
        why = refuser.why or "without a reason"
        return TaskRefused(REASON_INVALID, f"{path}: refused by {refuser}: {why}")
    if error.status == 403:
        return TaskRefused(REASON_FORBIDDEN, f"{path}: {error.message}; {opt_in(served)}")
    return TaskRefused(REASON_INVALID, f"{path}: {error.message}") if error.status in (400, 422) else None


def not_opted_in(task: str, served: ServedKind) -> TaskRefused:
    """The TaskRefused for a kind that the operator may not watch."""
    message = f"the operator may not watch {served.resource}; {opt_in(served)}"
    return TaskRefused(REASON_FORBIDDEN, f"spec.tasks.{task}.resource: {message}")


def opt_in(served: ServedKind) -> str:
    """The remedy where the operator has no rights on a kind."""
    entry = f'{{group: "{served.kind.group}", resources: [{served.plural}]}}'
    return f"to let the operator work with {served.resource}, add {entry} to tasks.resources of the chart"


def explain_unserved(kind: ObjectKind) -> TaskRefused:
    """The refusal of a kind that the API server does not serve."""
    message = (
        f"the API server does not serve {kind} any more, or not yet; install its CustomResourceDefinition"
    )
    return TaskRefused(REASON_KIND_UNKNOWN, message)
