"""The TaskRunner for Kubernetes Jobs: creates them, reports their ends, deletes them after retention."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from heed import names
from heed.api.status import PendingTask
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.tasks.losses import JOB_LOST
from heed.engine.ports import TaskOwner
from heed.errors import TaskRefused, TaskUnavailable
from heed.kube.client.client import ApiError, KubeApi, jobs_path
from heed.kube.client.refusals import refuse_job
from heed.kube.jobs import manifest
from heed.kube.jobs.credentials import JobCredentials
from heed.kube.jobs.lister import Job, JobLister
from heed.kube.jobs.outcome import task_end
from heed.kube.jobs.pod_delays import PodDelay
from heed.kube.jobs.pods import JobPodReader
from heed.kube.jobs.search import JobSearches
from heed.util.clock import timestamp, unix_time

log = logging.getLogger("heed.jobs")
RETRY_DELAY_S: Final = 5.0
MAX_CONCURRENT_LOOKUPS = 16  # looks for single Jobs
Seen = Callable[[Job, bool], PodDelay | None]  # the Job, and whether it is gone


class JobRunner:
    """The Jobs of one Agent, whose loop is the `owner` of the tasks.

    `seen` is told of every Job that is seen, and knows what has kept one from running until then. All Agents share
    `lists` of Jobs, and `orphans`: the uids of the Jobs without a task that were reported in this process.
    """

    def __init__(
        self,
        api: KubeApi,
        agent: AgentRef,
        owner: TaskOwner,
        *,
        seen: Seen = lambda job, deleted: None,
        lists: JobLister | None = None,
        orphans: set[str] | None = None,
        access: TaskCredentials | None = None,
    ) -> None:
        self.owner, self._seen = owner, seen
        self._api, self._agent, self._lists = api, agent, lists or JobLister(api)
        self._access = access or TaskCredentials()
        self._pods = JobPodReader(api, agent)
        self._closed = False
        self._orphans: set[str] = set() if orphans is None else orphans
        self._deletions: dict[str, asyncio.Task[None]] = {}
        self._readings: dict[str, asyncio.Task[None]] = {}
        self._searches = JobSearches(agent, self._find_again)
        self._starts: dict[str, asyncio.Event] = {}
        self._credentials = JobCredentials(api, self._access)

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Create the Job and what it needs. An existing one is tolerated if it belongs to the task."""
        with self._starting(work.attempt_id):
            job = await self._existing(work) if look_first else None
            if job is None and self.owner.waits(work.attempt_id):
                job = await self._create(work)
            if (
                job is not None
                and manifest.awaits_credentials(job)
                and manifest.finished_condition(job) is None
            ):
                await self._credentials.release(job, work)

    async def _create(self, work: TaskWork) -> Job:
        """The Job, created now or by an earlier attempt. Raises TaskRefused, TaskUnavailable.

        A quota, a webhook, or the API server's load refuses before the name is looked up: no refusal means that there
        is no such Job.
        """
        try:
            job: Job = (
                await self._api.create(
                    jobs_path(work.agent.namespace), manifest.job_manifest(work, self._access)
                )
            ).body
            self._credentials.note_created(job)
            return job
        except ApiError as error:
            if (found := await self._existing(work, error)) is not None:
                return found
            if error.status != 409 and (refused := refuse_job(work.task, error)) is not None:
                raise refused from None
            raise TaskUnavailable(str(error)) from error

    async def _existing(self, work: TaskWork, refusal: ApiError | None = None) -> Job | None:
        """The task's Job if it exists; `refusal` is the failed create. Raises TaskRefused, TaskUnavailable."""
        try:
            job = await self._named(work.attempt_id)
        except ApiError as error:
            if refusal is None:
                raise TaskUnavailable(str(error)) from error
            raise TaskUnavailable(f"{refusal}; whether there is a Job already: {error}") from refusal
        if job is not None and not self._is_of(job, work.attempt_id):
            name = job["metadata"]["name"]
            raise TaskRefused(
                "NameTaken", f"there is a Job {name} that is not Heed's; delete it or rename the agent"
            )
        return job

    async def _named(self, attempt_id: str) -> Job | None:
        """The task's Job, or another one with its name; None where neither exists. Raises ApiError."""
        taken: Job | None = None
        for name in names.job_names(self._agent.name, attempt_id):
            try:
                job = (await self._api.get(jobs_path(self._agent.namespace, name))).body
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            if self._is_of(job, attempt_id):
                return job
            taken = taken or (job if name == names.job_name(self._agent.name, attempt_id) else None)
        return taken

    def _is_of(self, job: Job, attempt_id: str) -> bool:
        return manifest.owner_uid(job) == self._agent.uid and manifest.attempt_id(job) == attempt_id

    @contextmanager
    def _starting(self, attempt_id: str) -> Iterator[None]:
        """Mark a start in flight, which a deletion waits for."""
        over = self._starts[attempt_id] = asyncio.Event()
        try:
            yield
        finally:
            over.set()
            del self._starts[attempt_id]

    async def cancel(self, attempt_id: str) -> None:
        """Delete the task's Job by uid; another Job of its name stays. Raises TaskUnavailable."""
        if (starting := self._starts.get(attempt_id)) is not None:
            await starting.wait()  # else it may come after its deletion
        try:
            job = await self._named(attempt_id)
            if job is not None and self._is_of(job, attempt_id):
                metadata = job["metadata"]
                await self._api.delete(jobs_path(self._agent.namespace, metadata["name"]), metadata["uid"])
        except ApiError as error:
            if error.status != 404:
                raise TaskUnavailable(str(error)) from error

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Compare pending tasks with the Agent's Jobs; started ones without a Job are reported lost."""
        comparison = JobComparison(self, attempt_ids)
        try:
            await self._lists.list_jobs(self._agent, comparison.add_job)
        except ApiError as error:
            raise TaskUnavailable(str(error)) from error
        await comparison.conclude()

    def observe(self, job: Job, *, deleted: bool = False) -> None:
        """Note a Job: report its end if finished, and delete it after its retention.

        One that is `deleted` may only have lost its label, and so be out of the watch's sight.
        """
        if self._closed:
            return
        name, attempt_id = job["metadata"]["name"], manifest.attempt_id(job)
        delay = self._seen(job, deleted)
        if manifest.finished_condition(job) is not None:
            if name not in self._readings:
                reading = self._readings[name] = asyncio.ensure_future(self._read(job, delay))
                reading.add_done_callback(lambda _: self._readings.pop(name, None))
        elif deleted and self.owner.waits(attempt_id):
            self._searches.begin(attempt_id)
        elif self.owner.waits(attempt_id):
            self._pods.note_job(job)
        if deleted:
            self._pods.forget(job["metadata"]["uid"])
            self._forget(name)

    async def find(self, attempt_ids: Iterable[str]) -> None:
        """Look up the Jobs of started tasks by name; missing ones are reported lost. Raises TaskUnavailable."""
        left = iter(attempt_ids)
        while some := list(islice(left, MAX_CONCURRENT_LOOKUPS)):
            for attempt_id, unseen in zip(
                some, await asyncio.gather(*map(self._find_or_lose, some)), strict=True
            ):
                if unseen:
                    self._searches.continue_search(attempt_id)

    def report_orphan(self, job: Job) -> None:
        """Log a running Job without a pending task. It is left alone."""
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        if uid not in self._orphans:
            self._orphans.add(uid)
            remedy = f"if it is of no use: kubectl delete job -n {self._agent.namespace} {name}"
            extra = {"agent": str(self._agent), "job": name, "uid": uid, "remedy": remedy}
            log.warning("job without a pending task", extra=extra)

    def close(self) -> None:
        """Cancel requests in flight, for good; another runner's `resume` finds what they were for."""
        self._closed = True
        self._pods.close()
        self._searches.close()
        for task in (*self._readings.values(), *self._deletions.values()):
            task.cancel()

    async def _find_again(self, attempt_id: str) -> bool:
        return self.owner.waits(attempt_id) and await self._find_or_lose(attempt_id)

    async def _find_or_lose(self, attempt_id: str) -> bool:
        """Look up a task's Job. Returns whether it runs and lacks the label that watches select by."""
        try:
            job = await self._named(attempt_id)
        except ApiError as error:
            raise TaskUnavailable(str(error)) from error
        if job is None or not self._is_of(job, attempt_id):
            self._lost(attempt_id)
            return False
        self.observe(job)
        return manifest.finished_condition(job) is None and not manifest.is_watched(job)

    def _lost(self, attempt_id: str) -> None:
        message = "the Job is gone; it was deleted by someone else than Heed"
        task_id, attempt = names.split_attempt(attempt_id)
        end = TaskEnd(
            task_id,
            names.digest("lost", attempt_id),
            timestamp(),
            False,
            reason=JOB_LOST,
            message=message,
            attempt=attempt,
        )
        self.owner.report(end)

    def _forget(self, name: str) -> None:
        if task := self._deletions.pop(name, None):
            task.cancel()

    async def _read(self, job: Job, delay: PodDelay | None) -> None:
        """Report a finished Job with its pod's termination message."""
        condition = manifest.finished_condition(job)
        assert condition is not None
        if self.owner.waits(manifest.attempt_id(job)):
            self.owner.report(task_end(job, condition, await self._pods.read_ends(job), delay))
        name = job["metadata"]["name"]
        if name not in self._deletions:
            self._deletions[name] = asyncio.create_task(self._delete(job))

    async def _delete(self, job: Job) -> None:
        """Delete a Job when its retention is over and its end is in the ledger."""
        await asyncio.sleep(max(0.0, manifest.delete_after(job) - unix_time()))
        while True:
            if not self.owner.waits(manifest.attempt_id(job)):
                try:
                    return await self.cancel(manifest.attempt_id(job))
                except TaskUnavailable as error:
                    log.warning("cannot delete job", extra={"agent": str(self._agent), "error": str(error)})
            await asyncio.sleep(RETRY_DELAY_S)


class JobComparison:
    """Compares an Agent's tasks with its Jobs. It starts before the list: changes during the list are ignored."""

    def __init__(self, runner: JobRunner, started: Iterable[str] | None = None) -> None:
        self._runner, self._pending = runner, runner.owner.pending_tasks
        self._missing = set(_started(self._pending or {}) if started is None else started)
        self._unknown: list[Job] = []

    def add_job(self, job: Job) -> None:
        """Note a Job of the Agent in the list."""
        self._runner.observe(job)
        self._missing.discard(manifest.attempt_id(job))
        if manifest.is_at_work(job) and self._pending is not None and not _is_in(self._pending, job):
            self._unknown.append(job)

    async def conclude(self) -> None:
        """Report Jobs without a task and tasks without a Job, after a complete list. Raises TaskUnavailable."""
        pending = self._runner.owner.pending_tasks or {}
        for job in self._unknown:
            if not _is_in(pending, job):
                self._runner.report_orphan(job)
        await self._runner.find(item for item in self._missing if self._runner.owner.waits(item))


def _started(pending: Mapping[str, PendingTask]) -> list[str]:
    """The attempts of `job` tasks that have started."""
    return [
        names.attempt_id(task_id, record.attempt)
        for task_id, record in pending.items()
        if record.phase == "Started" and record.kind == "job"
    ]


def _is_in(pending: Mapping[str, PendingTask], job: Job) -> bool:
    """Whether a Job is the attempt that its pending task is at."""
    record = pending.get(manifest.task_id(job))
    return record is not None and record.attempt == manifest.attempt(job)
