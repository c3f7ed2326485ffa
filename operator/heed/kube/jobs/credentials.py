"""Credentials for Jobs: a Job is created suspended, gets a Secret that it owns, and is then resumed.

So no Job runs without its credentials, and no Secret stays behind without its Job, whenever we die in between. Heed may
create Secrets and not read them: that one is there already, only AlreadyExists says. A quota refuses before it comes
to that, and the Secret of an earlier try may be what fills it. A Job of which that is not known is let go on: its pods
wait for the Secret themselves, and one that is ready has found it.
"""

from collections.abc import Mapping
from typing import Any

from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import TaskWork
from heed.errors import TaskUnavailable
from heed.kube.client.client import CORE_API, ApiError, KubeApi, jobs_path
from heed.kube.client.refusals import find_denial
from heed.kube.jobs import manifest

Job = Mapping[str, Any]


class JobCredentials:
    """Creates the Secrets of one Agent's Jobs."""

    def __init__(self, api: KubeApi, access: TaskCredentials) -> None:
        self._api, self._access = api, access
        self._bare: set[str] = set()  # uids of Jobs that certainly have no Secret

    def note_created(self, job: Job) -> None:
        """Note a Job that was created just now and has no Secret yet."""
        if manifest.awaits_credentials(job):
            self._bare.add(job["metadata"]["uid"])

    async def release(self, job: Job, work: TaskWork) -> None:
        """Create the Secret of a suspended Job, and resume the Job. Raises TaskUnavailable."""
        name = job["metadata"]["name"]
        if self._access.signer is None:
            raise TaskUnavailable(
                f"Job {name} waits for credentials, and no key is set any more that could sign them"
            )
        try:
            await self._store(job, work)
        except ApiError as error:
            if not await self._may_have_it(job, work, error):
                raise _unavailable(name, error) from _shown(error)
        await self._merge(job, manifest.release_patch(work, job))
        self._bare.discard(job["metadata"]["uid"])

    async def _store(self, job: Job, work: TaskWork) -> None:
        secret = manifest.secret_manifest(job, self._access.credentials(work))
        try:
            await self._api.create(f"{CORE_API}/namespaces/{job['metadata']['namespace']}/secrets", secret)
        except ApiError as error:
            if not error.already_exists:
                raise

    async def _may_have_it(self, job: Job, work: TaskWork, error: ApiError) -> bool:
        """Whether a refused Secret of a Job exists from an earlier attempt. If unknown, resumes the Job to find out."""
        uid = job["metadata"]["uid"]
        if error.is_unanswered:
            self._bare.discard(uid)
            return False
        if uid in self._bare:
            return False
        if manifest.has_started(job):
            return True
        if job["spec"].get("suspend") and (patch := manifest.resume_patch(work, job)):
            await self._merge(job, patch)
        return False

    async def _merge(self, job: Job, patch: Mapping[str, Any]) -> None:
        try:
            await self._api.merge(jobs_path(job["metadata"]["namespace"], job["metadata"]["name"]), patch)
        except ApiError as error:
            raise TaskUnavailable(str(error)) from error


def _shown(error: ApiError) -> ApiError | None:
    """The error as a cause, unless its message may show what was refused."""
    return None if error.status in (400, 422) else error


def _unavailable(job: str, error: ApiError) -> TaskUnavailable:
    if _shown(error) is not None:
        return TaskUnavailable(str(error))
    by = f" by {refuser}" if (refuser := find_denial(error)) else ""
    return TaskUnavailable(f"the Secret of Job {job} was refused with status {error.status}{by}")
