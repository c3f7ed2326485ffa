"""The outcome of a finished Job from its condition and its pods: which pod's result and cause count. Pure.

one pod, or several alike     the last one that succeeded; of a failed Job the last one that failed
Indexed, completed            the lowest index that succeeded, of those that the success policy's rule names
Indexed, failed               the last pod that failed, of the indexes that did not succeed in the end
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from heed import names
from heed.core.effects import TaskEnd
from heed.core.tasks.job_contract import REASON_BACKOFF_LIMIT, clean_text, parse_result
from heed.kube.jobs.manifest import attempt, task_id
from heed.kube.jobs.pod_delays import PodDelay
from heed.kube.jobs.pod_outcome import PodEnd

Job = Mapping[str, Any]
Interval = tuple[int, int]  # of indexes, both ends included
PODS_GONE_MESSAGE: Final = "the pods are gone, and with them why"
ON_FAILURE_HINT: Final = (
    "; Kubernetes removes the pod of a Job with restartPolicy OnFailure that fails: use Never to learn more"
)


def answering_container(job: Job) -> str:
    """The container whose termination message is the result: the first of `containers`, no init container."""
    return str(job["spec"]["template"]["spec"]["containers"][0]["name"])


def task_end(
    job: Job, condition: Mapping[str, Any], ends: Sequence[PodEnd], delay: PodDelay | None = None
) -> TaskEnd:
    """The end of a finished Job's task, by its condition. `delay`: what kept its pods from running."""
    if condition["type"] == "Complete":
        return _completed(job, _end_at(job, condition), _answer(job, ends))
    end = _cause(job, ends)
    if end is None and delay is not None:
        end = PodEnd("", "", succeeded=False, cause=delay.reason, why=delay.message)
    return _failed(job, condition, end)


def _completed(job: Job, at: str, answer: PodEnd | None) -> TaskEnd:
    return TaskEnd(
        task_id(job),
        job["metadata"]["uid"],
        at,
        True,
        result=parse_result(answer.text if answer else ""),
        message=None if answer else _lost_result(job),
        published=names.ANNOTATION_PUBLISHES in (job["metadata"].get("annotations") or {}),
        attempt=attempt(job),
    )


def _failed(job: Job, condition: Mapping[str, Any], end: PodEnd | None) -> TaskEnd:
    return TaskEnd(
        task_id(job),
        job["metadata"]["uid"],
        _end_at(job, condition),
        False,
        reason=condition.get("reason") or "Failed",
        message=clean_text(_message(job, condition, end)) or None,
        exit_code=end.exit_code if end else None,
        cause=end.cause if end else None,
        container=end.container if end else None,
        pod=(end.pod or None) if end else None,
        attempt=attempt(job),
    )


def _end_at(job: Job, condition: Mapping[str, Any]) -> str:
    return str(condition.get("lastTransitionTime") or job["metadata"]["creationTimestamp"])


def _message(job: Job, condition: Mapping[str, Any], end: PodEnd | None) -> str:
    said = str(condition.get("message") or "")
    if end is None:
        policy = job["spec"]["template"]["spec"].get("restartPolicy")
        gone = f"{PODS_GONE_MESSAGE}{ON_FAILURE_HINT if policy == 'OnFailure' else ''}"
        unknown = gone if condition.get("reason") == REASON_BACKOFF_LIMIT else ""
        return "; ".join(filter(None, (said, unknown)))
    words = ": ".join(filter(None, (end.why, end.text)))
    return words if end.text else "; ".join(filter(None, (words, said)))


def _answer(job: Job, ends: Iterable[PodEnd]) -> PodEnd | None:
    """The pod that provides the Job's result."""
    candidates = [end for end in ends if end.succeeded]
    if _is_indexed(job):
        wanted = answering_index(job)
        candidates = [end for end in candidates if end.index == wanted]
    return max(candidates, key=_order, default=None)


def _cause(job: Job, ends: Iterable[PodEnd]) -> PodEnd | None:
    """The pod that provides the cause of a Job's failure."""
    failed = [end for end in ends if not end.succeeded]
    if _is_indexed(job):
        completed = parse_intervals(str((job.get("status") or {}).get("completedIndexes") or ""))
        failed = [end for end in failed if end.index is None or not _contains(completed, end.index)]
    return max(failed, key=_order, default=None)


def _order(end: PodEnd) -> tuple[bool, str, str]:
    return end.order


def _is_indexed(job: Job) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def _lost_result(job: Job) -> str:
    whose = f"the pod of index {answering_index(job)}" if _is_indexed(job) else "its pod"
    return f"the Job completed, but {whose} was deleted before its result could be read"


def answering_index(job: Job) -> int | None:
    """The index that provides an Indexed Job's result: the lowest that succeeded, and that a met success rule names."""
    completed = parse_intervals(str((job.get("status") or {}).get("completedIndexes") or ""))
    for rule in (job["spec"].get("successPolicy") or {}).get("rules") or []:
        text = rule.get("succeededIndexes")
        named = [(0, 2**31)] if text is None else parse_intervals(str(text))
        met = _overlap(named, completed)
        needed = rule.get("succeededCount")
        if met and _count(met) >= (_count(named) if needed is None else int(needed)):
            return met[0][0]
    return completed[0][0] if completed else None


def parse_intervals(text: str) -> list[Interval]:
    """Parse batch/v1 indexes (`1,3-5,7`) into ascending intervals; malformed parts are ignored."""
    found: list[Interval] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.append((int(first), int(last or first)))
    return sorted(found)


def _overlap(some: Iterable[Interval], others: Sequence[Interval]) -> list[Interval]:
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return sorted((first, last) for first, last in pairs if first <= last)


def _count(found: Iterable[Interval]) -> int:
    return sum(last - first + 1 for first, last in found)


def _contains(found: Iterable[Interval], index: int) -> bool:
    return any(first <= index <= last for first, last in found)
