"""Stuck tasks: started Jobs without a running pod after a minute, with the first cause.

Jobs are watched anyway, and say how many of their pods are ready, so a task that starts costs an entry here and no
request. Only what is overdue is looked up, in one list of pending pods, and where those do not explain it one of
warnings, for all overdue Jobs of a namespace together, a few namespaces at a time, and less and less often.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from heed.core.effects import AgentRef
from heed.kube.client.client import CORE_API, PAGE_SIZE, ApiError, KubeApi
from heed.kube.jobs import manifest
from heed.kube.jobs.lister import label_selector
from heed.kube.jobs.pod_delays import PodDelay, explain_delays
from heed.kube.status.loop_health import UNDECIDED, Verdict
from heed.kube.status.reasons import Trouble
from heed.util.backoff import Backoff
from heed.util.clock import loop_time, unix_time

log = logging.getLogger("heed.jobs")
Job = Mapping[str, Any]
SLOW_FACTOR: Final = 10  # times the patience, until what is merely slow is overdue, too
MAX_NAMESPACES_PER_ROUND: Final = 8  # looked into in one round
MAX_PAGES_PER_NAMESPACE: Final = 2  # of 500 pods, or warnings, of one namespace
MAX_INTERVAL_FACTOR: Final = 10  # times the patience between two looks at the same Job, at last


@dataclass(slots=True)
class _UnstartedJob:
    """A Job without a pod that runs. `since` is in seconds since the epoch, `due` monotonic."""

    agent: AgentRef
    attempt_id: str
    job: str
    uid: str
    retried: bool  # pods of it have ended; it makes the next one when it likes
    since: float
    due: float
    has_pods: bool = False
    looks: int = 0
    delay: PodDelay | None = None  # what is said of it
    known: PodDelay | None = None  # what was found last, and is no more than that


class StuckTaskDetector:
    """Detects the stuck tasks of all Agents.

    `waits` says whether an Agent still waits for an attempt of a task; `changed` is called when a verdict may be
    another one now. `patience` is in seconds.
    """

    def __init__(
        self,
        api: KubeApi,
        waits: Callable[[AgentRef, str], bool],
        changed: Callable[[AgentRef], None],
        patience: float,
    ) -> None:
        self._api, self._waits, self._changed, self._patience = api, waits, changed, patience
        self._backoff = Backoff(first_s=patience, last_s=patience * MAX_INTERVAL_FACTOR)
        self._waiting: dict[str, _UnstartedJob] = {}
        self._said: dict[AgentRef, Trouble] = {}
        self._unsure: dict[AgentRef, float] = {}
        self._looker: asyncio.Task[None] | None = None
        self._sooner, self._next = asyncio.Event(), 0.0

    def note_job(self, agent: AgentRef, job: Job, *, deleted: bool = False) -> PodDelay | None:
        """Note a Job. Returns what kept it from running, if known, once it waits no more; else None."""
        uid = job["metadata"]["uid"]
        if deleted or not awaits_pods(job) or not self._waits(agent, manifest.attempt_id(job)):
            return self._leave(uid)
        if uid not in self._waiting:
            self._waiting[uid] = item = _waiting(agent, job, self._patience)
            self._look_by(item.due)
        self._waiting[uid].has_pods = _has_pods(job)
        return None

    def begin(self, agent: AgentRef, *, said: bool) -> None:
        """Start tracking an Agent. `said`: its status reports stuck tasks, which stands until the first check."""
        if said and agent not in self._said:
            self._unsure[agent] = loop_time() + self._patience
            self._look_by(self._unsure[agent])

    def verdict(self, agent: AgentRef) -> Verdict:
        """The verdict for the condition TasksStuck of an Agent."""
        if (said := self._said.get(agent)) is not None:
            return said
        return UNDECIDED if agent in self._unsure else None

    def counts(self) -> Mapping[AgentRef, int]:
        """The number of stuck tasks by Agent."""
        return Counter(item.agent for item in self._waiting.values() if item.delay is not None)

    def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        self._waiting = {uid: item for uid, item in self._waiting.items() if item.agent != agent}
        self._said.pop(agent, None)
        self._unsure.pop(agent, None)

    def close(self) -> None:
        """Stop looking."""
        if self._looker is not None:
            self._looker.cancel()

    def _look_by(self, due: float) -> None:
        if self._looker is None:
            self._looker = asyncio.create_task(self._look_as_due())
        elif due < self._next:
            self._sooner.set()

    async def _look_as_due(self) -> None:
        """As long as there is anything to look at."""
        try:
            while (due := self._earliest()) is not None:
                self._next = due
                self._sooner.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._sooner.wait()
                        continue
                try:
                    await self._round()
                except Exception:  # a bug: the checks would end unnoticed
                    log.exception("cannot read why tasks are stuck")
                await asyncio.sleep(self._patience / 10)
        finally:
            self._looker = None

    def _earliest(self) -> float | None:
        return min((*self._unsure.values(), *(item.due for item in self._waiting.values())), default=None)

    async def _round(self) -> None:
        """Look at what is due, and settle what was only waited for."""
        now = loop_time()
        settled = {agent for agent, due in self._unsure.items() if due <= now}
        by_namespace = defaultdict[str, list[_UnstartedJob]](list)
        for item in [item for item in self._waiting.values() if item.due <= now]:
            if self._waits(item.agent, item.attempt_id):
                by_namespace[item.agent.namespace].append(item)
            else:
                del self._waiting[item.uid]
            settled.add(item.agent)
        some = list(by_namespace.items())[:MAX_NAMESPACES_PER_ROUND]
        await asyncio.gather(*(self._look(namespace, items) for namespace, items in some))
        for agent in settled:
            self._unsure.pop(agent, None)
            self._conclude(agent)

    async def _look(self, namespace: str, items: Sequence[_UnstartedJob]) -> None:
        """Find the causes that delay some Jobs of a namespace."""
        try:
            delays, complete = await self._causes(namespace, items)
        except ApiError as error:
            extra = {"namespace": namespace, "error": str(error)}
            log.warning("cannot read why tasks are stuck", extra=extra)
            delays, complete = {}, False
        for item in items:
            item.looks += 1
            item.due = loop_time() + self._backoff.delay(item.looks)
            if item.uid in delays:
                item.known = delays[item.uid]
            if complete or item.uid in delays:
                item.delay = self._worth_saying(item, delays.get(item.uid))

    def _worth_saying(self, item: _UnstartedJob, delay: PodDelay | None) -> PodDelay | None:
        """A delay, unless it may still pass by itself."""
        long = unix_time() - item.since >= self._patience * SLOW_FACTOR
        if delay is None and long and not (item.retried or item.has_pods):
            return PodDelay(
                "NoPod", "it has no pod, and no Kubernetes Event says why; is the controller manager at work?"
            )
        return delay if delay is not None and (long or not delay.passing) else None

    async def _causes(
        self, namespace: str, items: Sequence[_UnstartedJob]
    ) -> tuple[dict[str, PodDelay | None], bool]:
        """The known delays by Job uid, and whether all pods and events were read. Raises ApiError."""
        wanted, since = [item.uid for item in items], min(item.since for item in items) - 1
        query = {
            "labelSelector": label_selector({item.agent for item in items}),
            "fieldSelector": "status.phase=Pending",
        }
        pods, all_pods = await self._some(f"{CORE_API}/namespaces/{namespace}/pods", query)
        found = explain_delays(wanted, pods, None, since)
        if all(uid in found and not _is_passing(found[uid]) for uid in wanted):
            return found, all_pods
        warnings, all_warnings = await self._warnings(namespace)
        return explain_delays(wanted, pods, warnings, since), all_pods and all_warnings

    async def _warnings(self, namespace: str) -> tuple[list[dict[str, Any]], bool]:
        """Kubernetes Events of type Warning; none without the right to list them."""
        try:
            return await self._some(
                f"{CORE_API}/namespaces/{namespace}/events", {"fieldSelector": "type=Warning"}
            )
        except ApiError as error:
            if error.status != 403:
                raise
            return [], False

    async def _some(self, path: str, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], bool]:
        """The first pages of a collection, and whether those are all. Raises ApiError."""
        found: list[dict[str, Any]] = []
        pages = 0
        async for page in self._api.pages(path, query):
            found += page
            pages += 1
            if pages == MAX_PAGES_PER_NAMESPACE:
                return found, len(page) < PAGE_SIZE
        return found, True

    def _leave(self, uid: str) -> PodDelay | None:
        """Note a Job that waits no more. While others of its Agent do, the verdict waits for the next check."""
        if (left := self._waiting.pop(uid, None)) is None:
            return None
        if left.delay is not None and not self._stuck(left.agent):
            self._conclude(left.agent)
        return left.known

    def _stuck(self, agent: AgentRef) -> list[_UnstartedJob]:
        return [item for item in self._waiting.values() if item.agent == agent and item.delay is not None]

    def _conclude(self, agent: AgentRef) -> None:
        """Set the verdict of an Agent: the cause of the Job that waits longest."""
        first = min(self._stuck(agent), key=lambda item: item.since, default=None)
        self._said.pop(agent, None)
        if first is not None and first.delay is not None:
            self._said[agent] = _trouble(first.job, first.delay)
        self._changed(agent)


def awaits_pods(job: Job) -> bool:
    """Whether a Job should have a running pod and has none: not finished, not suspended, not being deleted."""
    status = job.get("status") or {}
    return manifest.is_at_work(job) and not job["spec"].get("suspend") and not status.get("ready")


def _waiting(agent: AgentRef, job: Job, patience: float) -> _UnstartedJob:
    since = _since(job)
    left = max(0.0, patience - max(0.0, unix_time() - since))
    metadata = job["metadata"]
    return _UnstartedJob(
        agent,
        manifest.attempt_id(job),
        metadata["name"],
        metadata["uid"],
        _has_retried(job),
        since,
        loop_time() + left,
    )


def _trouble(job: str, delay: PodDelay) -> Trouble:
    remedy = f"; {delay.advice}" if delay.advice else ""
    return Trouble(delay.reason, f"Job {job} has no pod that runs: {delay.message}{remedy}")


def _is_passing(delay: PodDelay | None) -> bool:
    return delay is not None and delay.passing


def _has_pods(job: Job) -> bool:
    status = job.get("status") or {}
    return bool(status.get("active") or status.get("terminating"))


def _has_retried(job: Job) -> bool:
    status = job.get("status") or {}
    return any(status.get(count) for count in ("failed", "succeeded", "terminating"))


def _since(job: Job) -> float:
    """Since when a Job waits for a pod: its start, or now where pods of it have ended."""
    status = job.get("status") or {}
    if _has_retried(job):
        return unix_time()
    at = status.get("startTime") or job["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(str(at)).astimezone(UTC).timestamp()
