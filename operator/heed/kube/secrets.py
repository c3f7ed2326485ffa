"""Credentials for Jobs: a Job is made suspended, gets its Secret, which it owns, and only then may run.

So no Job runs without its credentials, and no Secret stays behind without its Job, whenever we die in between. Heed may
create Secrets and not read them: one that is there already is that of an earlier try.
"""

from collections.abc import Mapping
from typing import Any

from heed.bus.taskaccess import TaskAccess
from heed.core.effects import TaskWork
from heed.errors import TaskUnavailable
from heed.kube import jobs
from heed.kube.api import CORE, Api, ApiError, jobs_path
from heed.kube.refusals import refuser_of


async def release(api: Api, job: Mapping[str, Any], work: TaskWork, access: TaskAccess) -> None:
    """Create the Secret of a Job that waits for it, and let the Job run. Raises TaskUnavailable."""
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    if access.signer is None:
        raise TaskUnavailable(
            f"Job {name} waits for credentials, and no key is set any more that could sign them"
        )
    secret = jobs.secret_manifest(job, access.credentials(work))
    try:
        await api.create(f"{CORE}/namespaces/{namespace}/secrets", secret)
    except ApiError as error:
        if error.status in (400, 422):  # the message may show what was refused
            by = f" by {refuser}" if (refuser := refuser_of(error)) else ""
            raise TaskUnavailable(
                f"the Secret of Job {name} was refused with status {error.status}{by}"
            ) from None
        if error.status != 409:
            raise TaskUnavailable(str(error)) from error
    try:
        await api.merge(jobs_path(namespace, name), jobs.release(work, job))
    except ApiError as error:
        raise TaskUnavailable(str(error)) from error
