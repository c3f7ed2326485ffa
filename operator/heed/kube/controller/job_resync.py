"""Job resync: compares pending tasks and Jobs both ways, with one list of Jobs for all Agents."""

import logging
from collections.abc import Mapping

from heed import names
from heed.core.effects import AgentRef
from heed.errors import TaskUnavailable
from heed.kube.client.client import KubeApi, jobs_path
from heed.kube.jobs import manifest
from heed.kube.jobs.runner import JobComparison, JobRunner

log = logging.getLogger("heed.jobs")


async def resync_jobs(api: KubeApi, namespace: str | None, runners: Mapping[AgentRef, JobRunner]) -> set[str]:
    """Resync all runners with the Jobs that exist. Returns the uids of all Jobs seen. Raises ApiError."""
    comparisons = {
        (agent.namespace, agent.uid): (agent, JobComparison(runner)) for agent, runner in runners.items()
    }  # a Job of another namespace may name any owner
    seen: set[str] = set()
    if comparisons:
        async for page in api.pages(jobs_path(namespace), {"labelSelector": names.LABEL_AGENT}):
            for job in page:
                seen.add(job["metadata"]["uid"])
                owner = job["metadata"]["namespace"], manifest.owner_uid(job) or ""
                if (found := comparisons.get(owner)) is not None:
                    found[1].add_job(job)
    for agent, comparison in comparisons.values():
        try:
            await comparison.conclude()
        except TaskUnavailable as error:
            log.warning("cannot list jobs", extra={"agent": str(agent), "error": str(error)})
    return seen
