"""Why a Job has no running pod, from its pods and the Kubernetes Events on both. Pure.

Sources: core/v1 PodStatus; the reasons of the scheduler (Unschedulable), of kubelet (ErrImagePull,
CreateContainerConfigError, …) and of the Job controller, which says FailedCreate in an Event and nowhere else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

CONTROLLER_UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
STARTING_REASONS: Final = frozenset(("ContainerCreating", "PodInitializing"))
IMAGE_REASONS: Final = frozenset(
    ("ErrImagePull", "ImagePullBackOff")
)  # kubelet says the one, then the other, again and again
REMEDIES: Final = {
    "ImagePullBackOff": "is the image's name right, and may this namespace pull it (imagePullSecrets)?",
    "InvalidImageName": "correct the image's name",
    "CreateContainerConfigError": "make the Secret, ConfigMap or key that the container refers to",
    "Unschedulable": "give the cluster room, or change what the pod requests, tolerates and selects",
    "FailedMount": "is there the volume, Secret or ConfigMap that the pod mounts?",
}
SECURITY_REMEDY: Final = (
    "give the containers the securityContext that the namespace's Pod Security level wants"
)
QUOTA_REMEDY: Final = "raise the quota on pods, or wait until others' share of it is free"
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodDelay:
    """Why no pod runs: `reason` is CamelCase; `passing`: it may resolve by itself."""

    reason: str
    message: str
    passing: bool = False

    @property
    def advice(self) -> str:
        """What to do about it; empty where the message suffices."""
        if "violates PodSecurity" in self.message:
            return SECURITY_REMEDY
        return QUOTA_REMEDY if "exceeded quota" in self.message else REMEDIES.get(self.reason, "")


def job_uid(pod: Object) -> str:
    """The uid of the Job that a pod belongs to."""
    return str((pod["metadata"].get("labels") or {}).get(CONTROLLER_UID_LABEL, ""))


def pod_delay(pod: Object) -> PodDelay | None:
    """Why a Pending pod does not run; None where an init container works, or it has scheduling gates."""
    status = pod.get("status") or {}
    scheduled: Object = next(
        (item for item in status.get("conditions") or [] if item["type"] == "PodScheduled"), {}
    )
    if scheduled.get("reason") == "SchedulingGated":
        return None
    if scheduled.get("status") == "False":
        return _said(
            str(scheduled.get("reason") or "Unschedulable"), pod, str(scheduled.get("message") or "")
        )
    if scheduled.get("status") != "True":
        return PodDelay("Unscheduled", f"no scheduler has looked at pod {_name(pod)}", passing=True)
    init = status.get("initContainerStatuses") or []
    if any("running" in (item.get("state") or {}) and not item.get("started") for item in init):
        return None  # an init container works; one that has `started` is a sidecar
    return _of_containers(pod, [*init, *(status.get("containerStatuses") or [])])


def _of_containers(pod: Object, statuses: Iterable[Object]) -> PodDelay:
    for item in statuses:
        waiting = (item.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason and reason not in STARTING_REASONS:
            message = str(waiting.get("message") or "")
            return _said(reason, pod, f'container "{item["name"]}": {_last_end(item) or message}')
    return PodDelay("ContainerCreating", f"the containers of pod {_name(pod)} are being made", passing=True)


def _last_end(status: Object) -> str:
    """The last end of a container that is being restarted."""
    ended = (status.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return ""
    text = str(ended.get("message") or "").strip()
    return f"ended with exit code {ended.get('exitCode')}" + (f": {text}" if text else "")


def _said(reason: str, pod: Object, message: str) -> PodDelay:
    reason = "ImagePullBackOff" if reason in IMAGE_REASONS else reason
    reason = reason if _REASON.fullmatch(reason) else "PodPending"
    return PodDelay(reason, f"pod {_name(pod)}: {message}".rstrip(": "))


def explain_delays(
    wanted: Iterable[str], pods: Sequence[Object], warnings: Iterable[Object] | None, since: float
) -> dict[str, PodDelay | None]:
    """The delays of some Jobs by uid, from their pending pods and from warnings since a time.

    None for a Job that has a pod at work; one of which nothing is known is missing.
    """
    pods = [pod for pod in pods if job_uid(pod) in set(wanted)]
    by_pods: dict[str, PodDelay | None] = {job_uid(pod): pod_delay(pod) for pod in pods}
    said = event_delays(warnings or (), since)
    by_events = {job_uid(pod): said[pod["metadata"]["uid"]] for pod in pods if pod["metadata"]["uid"] in said}
    found: dict[str, PodDelay | None] = {}
    for uid in wanted:
        own = by_pods.get(uid)
        if own is not None and own.passing:
            own = by_events.get(uid) or own
        if uid in by_pods:
            found[uid] = own
        elif uid in said:
            found[uid] = said[uid]
    return found


def event_delays(events: Iterable[Object], since: float) -> dict[str, PodDelay]:
    """The latest Warning Event since a time, by the uid of its object."""
    found: dict[str, tuple[float, PodDelay]] = {}
    for event in events:
        about, at = event.get("involvedObject") or {}, event_time(event)
        reason = str(event.get("reason") or "")
        if about.get("kind") not in ("Job", "Pod") or at < since or not _REASON.fullmatch(reason):
            continue
        if about["kind"] == "Job" and reason != "FailedCreate":
            continue
        uid = str(about.get("uid") or "")
        if uid not in found or found[uid][0] <= at:
            pod = f"pod {about.get('name')}: " if about["kind"] == "Pod" else ""
            found[uid] = at, PodDelay(reason, f"{pod}{event.get('message') or reason}")
    return {uid: delay for uid, (_, delay) in found.items()}


def event_time(event: Object) -> float:
    """When an Event was last seen, in seconds since the epoch; 0 where it has no time."""
    times = (
        (event.get("series") or {}).get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
    )
    text = next(filter(None, times), None)
    return datetime.fromisoformat(str(text)).astimezone(UTC).timestamp() if text else 0.0


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
