"""Reads the pods of one Agent's Jobs: when a Job has finished, and once while it loses pods.

The pods of a Job that are preempted, evicted or lost with their node are removed as soon as the Job has counted them,
which is before it says that it has failed; so are those that it deletes itself as it fails. Only they know the cause,
so they are read while they go: one list for each time that a Job says it loses pods.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from heed.core.effects import AgentRef
from heed.kube.client.client import CORE_API, ApiError, KubeApi
from heed.kube.jobs.outcome import answering_container
from heed.kube.jobs.pod_outcome import PodEnd, pod_end

log = logging.getLogger("heed.jobs")
Job = Mapping[str, Any]
RETRY_DELAY_S: Final = 5.0


class JobPodReader:
    """Pod ends by Job. Ends of deleted pods are remembered, best effort, to explain a Job's end."""

    def __init__(self, api: KubeApi, agent: AgentRef) -> None:
        self._api, self._agent = api, agent
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._losses: dict[str, tuple[bool, int]] = {}
        self._lost: dict[str, dict[str, PodEnd]] = {}

    def note_job(self, job: Job) -> None:
        """Note an unfinished Job: where it loses pods, read them before they are deleted."""
        uid, loss = job["metadata"]["uid"], count_losses(job)
        if loss is None or uid in self._looks or self._losses.get(uid) == loss:
            return
        self._losses[uid] = loss
        look = self._looks[uid] = asyncio.create_task(self._look(job))
        look.add_done_callback(lambda _: self._looks.pop(uid, None))

    async def read_ends(self, job: Job) -> list[PodEnd]:
        """The ends of a finished Job's pods. Retries until the API server answers."""
        uid = job["metadata"]["uid"]
        if (look := self._looks.get(uid)) is not None:
            await asyncio.wait({look})
        while True:
            try:
                there = await self._read(job)
            except ApiError as error:
                log.warning("cannot read pods", extra={"agent": str(self._agent), "error": str(error)})
                await asyncio.sleep(RETRY_DELAY_S)
            else:
                return list((self._lost.get(uid, {}) | there).values())

    def forget(self, uid: str) -> None:
        """Forget a Job that was deleted, or whose task is not pending."""
        self._losses.pop(uid, None)
        self._lost.pop(uid, None)
        if (look := self._looks.get(uid)) is not None:
            look.cancel()

    def close(self) -> None:
        """Cancel requests in flight."""
        for look in self._looks.values():
            look.cancel()

    async def _look(self, job: Job) -> None:
        """Remember failed pods, best effort."""
        try:
            there = await self._read(job)
        except ApiError as error:
            log.debug("cannot list pods", extra={"agent": str(self._agent), "error": str(error)})
            return
        failed = {pod: end for pod, end in there.items() if not end.succeeded}
        self._lost.setdefault(job["metadata"]["uid"], {}).update(failed)

    async def _read(self, job: Job) -> dict[str, PodEnd]:
        """The ends of a Job's existing pods by name. Raises ApiError."""
        path = f"{CORE_API}/namespaces/{self._agent.namespace}/pods"
        selector = {"labelSelector": f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"}
        answering = answering_container(job)
        found: dict[str, PodEnd] = {}
        async for page in self._api.pages(path, selector):
            found |= {end.pod: end for pod in page if (end := pod_end(pod, answering)) is not None}
        return found


def count_losses(job: Job) -> tuple[bool, int] | None:
    """Whether a Job is failing, and how many pods it is losing; None where neither."""
    if "deletionTimestamp" in job["metadata"]:
        return None
    status = job.get("status") or {}
    said = {item["type"] for item in status.get("conditions") or [] if item["status"] == "True"}
    failing, going = "FailureTarget" in said, int(status.get("terminating") or 0)
    succeeding = "SuccessCriteriaMet" in said
    return (failing, going) if (failing or going) and not succeeding else None
