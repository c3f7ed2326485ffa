"""Tasks as Kubernetes Jobs: created from the ledger's orders, watched until their end, deleted after retention."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heed import names
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.jobcontract import REASON_LOST
from heed.engine.performing import now
from heed.errors import TaskRefused, TaskUnavailable
from heed.kube import jobs
from heed.kube.api import CORE, Api, ApiError, jobs_path

log = logging.getLogger("heed.jobs")
RETRY = 5.0
Report = Callable[[TaskEnd], bool]


class JobRunner:
    """The Jobs of one Agent. `report` says whether the Agent still waits for the task."""

    def __init__(self, api: Api, agent: AgentRef) -> None:
        self.report: Report = lambda end: False
        self.waits: Callable[[str], bool] = lambda task_id: True
        self._api, self._agent = api, agent
        self._deletions: dict[str, asyncio.Task[None]] = {}
        self._readings: dict[str, asyncio.Task[None]] = {}

    async def start(self, work: TaskWork) -> None:
        """Create the Job; one that is already there is checked to be ours."""
        manifest = jobs.job_manifest(work)
        try:
            await self._api.create(jobs_path(work.agent.namespace), manifest)
        except ApiError as error:
            if error.status == 409:
                await self._check_ours(manifest["metadata"]["name"], work)
            elif error.status in (400, 422):
                raise TaskRefused("InvalidJob", f"spec.tasks.{work.task}.job: {error.message}") from None
            else:
                raise TaskUnavailable(str(error)) from None

    async def _check_ours(self, name: str, work: TaskWork) -> None:
        try:
            job = (await self._api.get(jobs_path(work.agent.namespace, name))).body
        except ApiError as error:
            raise TaskUnavailable(str(error)) from None
        labels = job["metadata"].get("labels") or {}
        if jobs.owner_uid(job) != work.agent.uid or labels.get(names.LABEL_TASK_ID) != work.id:
            raise TaskRefused(
                "NameTaken", f"there is a Job {name} that is not Heed's; delete it or rename the agent"
            )

    async def cancel(self, task_id: str) -> None:
        """Delete the Job."""
        try:
            await self._api.delete(
                jobs_path(self._agent.namespace, names.job_name(self._agent.name, task_id))
            )
        except ApiError as error:
            if error.status != 404:
                raise TaskUnavailable(str(error)) from None

    async def resume(self, task_ids: Sequence[str]) -> None:
        """Look at all Jobs of the Agent; started tasks without a Job are lost."""
        selector = {"labelSelector": f"{names.LABEL_AGENT}={self._agent.name}"}
        try:
            items = await self._api.list(jobs_path(self._agent.namespace), selector)
        except ApiError as error:
            raise TaskUnavailable(str(error)) from None
        found = [job for job in items if jobs.owner_uid(job) == self._agent.uid]
        for job in found:
            self.observe(job)
        for task_id in set(task_ids) - set(map(jobs.task_id, found)):
            self._lost(task_id)

    def observe(self, job: Mapping[str, Any], *, deleted: bool = False) -> None:
        """A Job was seen: report its end if it has one, and delete it once its retention is over."""
        name = job["metadata"]["name"]
        if jobs.finished(job) is not None:
            if name not in self._readings:
                reading = self._readings[name] = asyncio.ensure_future(self._read(job))
                reading.add_done_callback(lambda _: self._readings.pop(name, None))
        elif deleted:
            self._lost(jobs.task_id(job))
        if deleted:
            self._forget(name)

    def close(self) -> None:
        """Stop what is under way; a later resume finds it again."""
        for task in (*self._readings.values(), *self._deletions.values()):
            task.cancel()

    def _lost(self, task_id: str) -> None:
        message = "the Job is gone; it was deleted by someone else than Heed"
        end = TaskEnd(
            task_id, names.digest("lost", task_id), now(), False, reason=REASON_LOST, message=message
        )
        self.report(end)

    def _forget(self, name: str) -> None:
        if task := self._deletions.pop(name, None):
            task.cancel()

    async def _read(self, job: Mapping[str, Any]) -> None:
        """Report a finished Job, with the message that its pod left."""
        condition = jobs.finished(job)
        assert condition is not None
        if self.waits(jobs.task_id(job)):
            pods = await self._pods(job)
            self.report(jobs.task_end(job, condition, pods))
        name = job["metadata"]["name"]
        if name not in self._deletions:
            self._deletions[name] = asyncio.create_task(self._delete(job))

    async def _pods(self, job: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        path = f"{CORE}/namespaces/{self._agent.namespace}/pods"
        selector = {"labelSelector": f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"}
        while True:
            try:
                items: list[Mapping[str, Any]] = (await self._api.get(path, selector)).body["items"]
                return items
            except ApiError as error:
                log.warning("cannot read pods", extra={"agent": str(self._agent), "error": str(error)})
                await asyncio.sleep(RETRY)

    async def _delete(self, job: Mapping[str, Any]) -> None:
        """Delete a Job when its retention is over and its end is in the ledger."""
        await asyncio.sleep(max(0.0, jobs.delete_after(job) - time.time()))
        while True:
            if not self.waits(jobs.task_id(job)):
                try:
                    return await self.cancel(jobs.task_id(job))
                except TaskUnavailable as error:
                    log.warning("cannot delete job", extra={"agent": str(self._agent), "error": str(error)})
            await asyncio.sleep(RETRY)
