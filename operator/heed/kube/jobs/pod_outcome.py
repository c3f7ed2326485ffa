"""The outcome of one pod of a Job: cause, container and message. Pure.

Sources: core/v1 PodStatus and ContainerStatus; the condition DisruptionTarget (KEP-3329) of pods that are preempted,
evicted or lost with their node; sidecars as init containers that restart (KEP-753), which end no pod.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from heed.core.tasks.job_contract import CAUSE_ERROR, clean_text

INDEX_ANNOTATION: Final = "batch.kubernetes.io/job-completion-index"
REASON_UNKNOWN: Final = (
    "ContainerStatusUnknown"  # what kubelet says of a container that it lost, with a made-up exit code
)
REASON_OUT_OF_MEMORY: Final = "OOMKilled"
DISRUPTION_CONDITION: Final = "DisruptionTarget"
Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodEnd:
    """The end of a pod. `cause` is CamelCase, as in Kubernetes; `at` (RFC 3339) orders ends.

    `text` is what its container left as it ended: the answer of one that succeeded. `why` is what there is to say
    beside it. `deleted`: the pod only ended because it was being deleted, as a Job deletes those that are left when it
    fails.
    """

    pod: str
    at: str
    succeeded: bool
    index: int | None = None
    cause: str | None = None
    container: str | None = None
    exit_code: int | None = None
    text: str = ""
    why: str = ""
    deleted: bool = False

    @property
    def order(self) -> tuple[bool, str, str]:
        """The sort key of ends: the most informative one is the greatest."""
        return not self.deleted, self.at, self.pod


@dataclass(frozen=True, slots=True)
class _ContainerExit:
    """The end of a container."""

    container: str
    code: int
    reason: str
    text: str
    at: str


def pod_end(pod: Pod, answering: str) -> PodEnd | None:
    """The end of a pod, or None while it runs. `answering` names the container that provides the result."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return _success(pod, answering)
    exits = _exits(pod, answering)
    exit_ = exits[0] if exits else None
    disruption = _disruption(pod, exit_)
    if disruption is None and exit_ is None and status.get("phase") != "Failed":
        return None
    if disruption is not None:
        cause, words, at = disruption
        code = exit_ if exit_ is not None and exit_.reason != REASON_UNKNOWN else None
        return _failure(pod, code, cause, f"pod {_name(pod)}: {cause}: {words}".rstrip(": "), at)
    if exit_ is None:
        return _failure(pod, None, "Failed", f"pod {_name(pod)} failed without a word", _last_change(pod))
    return _failure(pod, exit_, exit_.reason, _words(pod, exit_), exit_.at)


def _success(pod: Pod, answering: str) -> PodEnd:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    ended = {item["name"]: (item.get("state") or {}).get("terminated") or {} for item in statuses}
    answer = ended.get(answering, {})
    at = max((str(item.get("finishedAt") or "") for item in ended.values()), default="")
    return PodEnd(
        _name(pod),
        str(answer.get("finishedAt") or at or _last_change(pod)),
        succeeded=True,
        index=_index(pod),
        container=answering,
        exit_code=answer.get("exitCode"),
        text=str(answer.get("message") or ""),
    )


def _failure(pod: Pod, exit_: _ContainerExit | None, cause: str, why: str, at: str) -> PodEnd:
    return PodEnd(
        _name(pod),
        at,
        succeeded=False,
        index=_index(pod),
        cause=cause,
        container=exit_.container if exit_ else None,
        exit_code=exit_.code if exit_ else None,
        text=exit_.text if exit_ else "",
        why=why,
        deleted=exit_ is not None
        and _ended_by_deletion(pod, exit_)
        and _condition(pod, DISRUPTION_CONDITION) is None,
    )


def _exits(pod: Pod, answering: str) -> list[_ContainerExit]:
    """The containers that ended with an error, the one that ended the pod first.

    An init container that fails keeps all others from running. Else the word of the answering container counts, and of
    the others that of the first to fail.
    """
    status = pod.get("status") or {}
    sidecars = {
        item["name"]
        for item in (pod.get("spec") or {}).get("initContainers") or []
        if item.get("restartPolicy") == "Always"
    }
    first = [item for item in status.get("initContainerStatuses") or [] if item["name"] not in sidecars]
    init = list(_errors(first))
    main = sorted(
        _errors(status.get("containerStatuses") or []),
        key=lambda item: (item.container != answering, item.at),
    )
    return [*init, *main]


def _errors(statuses: Iterable[Mapping[str, Any]]) -> Iterable[_ContainerExit]:
    for item in statuses:
        state, last = item.get("state") or {}, item.get("lastState") or {}
        ended = state.get("terminated") or last.get("terminated") or {}
        if ended and ended.get("exitCode") != 0:
            yield _ContainerExit(
                item["name"],
                int(ended.get("exitCode") or 0),
                str(ended.get("reason") or CAUSE_ERROR),
                clean_text(str(ended.get("message") or "")).strip(),
                str(ended.get("finishedAt") or ""),
            )


def _disruption(pod: Pod, exit_: _ContainerExit | None) -> tuple[str, str, str] | None:
    """Cause, message and time of a disruption of the whole pod; None where a container ended it."""
    status = pod.get("status") or {}
    target = _condition(pod, DISRUPTION_CONDITION)
    if reason := status.get("reason"):  # kubelet's own: Evicted, DeadlineExceeded, NodeLost, …
        return str(reason), str(status.get("message") or ""), exit_.at if exit_ else _last_change(pod)
    if target is None:
        return None
    at = str(target.get("lastTransitionTime") or "")
    if exit_ is not None and exit_.at < at and exit_.reason != REASON_UNKNOWN:
        return None
    return str(target.get("reason") or DISRUPTION_CONDITION), str(target.get("message") or ""), at


def _words(pod: Pod, exit_: _ContainerExit) -> str:
    """The message's prefix before the container's own text; empty where that suffices."""
    if exit_.reason != REASON_OUT_OF_MEMORY:
        return "" if exit_.text else f'container "{exit_.container}" ended with exit code {exit_.code}'
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    limits = (
        (item.get("resources") or {}).get("limits") or {}
        for item in containers
        if item["name"] == exit_.container
    )
    limit = next((str(item["memory"]) for item in limits if "memory" in item), None)
    above = f"its limit is {limit}" if limit else "it has no limit of its own: those of its pod or node count"
    return f'container "{exit_.container}" ran out of memory ({above})'


def _ended_by_deletion(pod: Pod, exit_: _ContainerExit) -> bool:
    """Whether a container ended after its pod's deletion was requested."""
    metadata = pod["metadata"]
    if not (deadline := metadata.get("deletionTimestamp")) or not exit_.at:
        return False
    grace = timedelta(seconds=int(metadata.get("deletionGracePeriodSeconds") or 0))
    return _time(exit_.at) >= _time(deadline) - grace


def _condition(pod: Pod, type_: str) -> Mapping[str, Any] | None:
    found = (pod.get("status") or {}).get("conditions") or []
    return next((item for item in found if item["type"] == type_ and item["status"] == "True"), None)


def _last_change(pod: Pod) -> str:
    changes = (item.get("lastTransitionTime") for item in (pod.get("status") or {}).get("conditions") or [])
    return max(map(str, filter(None, changes)), default=str(pod["metadata"].get("creationTimestamp") or ""))


def _index(pod: Pod) -> int | None:
    metadata = pod["metadata"]
    for marks in (metadata.get("labels") or {}, metadata.get("annotations") or {}):
        if (found := str(marks.get(INDEX_ANNOTATION, ""))).isdecimal():
            return int(found)
    return None


def _name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
