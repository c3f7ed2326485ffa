"""Keeps a Deployment of workers for each Agent that has a template, or makes calls: one reconciler, a task, for each.

A reconcile compares what is wanted with what the watch shows, applies the difference, and says how it goes. It runs
again when one of the two changes, when credentials are to be renewed, and with a backoff while something is not there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from heed import names
from heed.api.agent import Agent
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.compiler.workers import has_template
from heed.core.effects import AgentRef
from heed.kube.client.client import CORE_API, ApiError, KubeApi, resource_version
from heed.kube.client.task_metadata import controller_uid
from heed.kube.status.loop_health import UNDECIDED
from heed.kube.status.worker_condition import EXTERNAL, WorkerState, WorkerVerdict, read_worker_state
from heed.kube.workers import manifest
from heed.kube.workers.callers import KeptWorkers
from heed.kube.workers.cluster_view import Key, WorkerObjects, apps_path
from heed.kube.workers.rollout import SCALED_TO_ZERO, explain_refusal, is_complete, judge_rollout
from heed.util.aio import stop
from heed.util.backoff import Backoff
from heed.util.clock import unix_time

log = logging.getLogger("heed.workers")
Body = Mapping[str, Any]
Ping = Callable[[AgentRef, str], Awaitable[bool]]  # whether a worker answers for an Agent's digest


async def never_answered(agent: AgentRef, digest: str) -> bool:
    """There is no broker to ask."""
    return False


RETRY_BACKOFF: Final = Backoff(first_s=1.0, last_s=30.0)
MAX_SLEEP_S: Final = 3600.0
WAITS: Final = WorkerState("Unknown", "Progressing", "the Deployment is being made")
LEAVING: Final = WorkerState("Unknown", "Removing", "the Deployment is being removed")


@dataclass(slots=True)
class _AgentWorkers:
    """The workers of one Agent: what is wanted, and what was done for it."""

    agent: AgentRef
    wanted: Agent
    verdict: WorkerVerdict = UNDECIDED
    applied: int | None = None  # the generation of the Deployment that was applied last
    applied_body: Body | None = None
    applied_manifest: Body | None = None
    seen: str | None = None  # the uid of the Deployment that the watch showed last
    stored: set[tuple[str, str]] = field(default_factory=set)  # ReplicaSets (uid) and Secrets that are there
    answered: str | None = None  # the digest that a worker answered for
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def digest(self) -> str | None:
        return None if self.wanted.spec.worker is None else self.wanted.spec.worker.digest


class WorkerDeployments:
    """The Deployments of all Agents. `said` is told when there is something else to say of an Agent's workers.

    `answers` is told when a worker of a digest that was awaited has answered.
    """

    def __init__(
        self,
        api: KubeApi,
        access: WorkerCredentials,
        ping: Ping,
        *,
        said: Callable[[AgentRef], None],
        answers: Callable[[AgentRef], None],
        watched: str | None = None,
    ) -> None:
        self._api, self._access, self._ping = api, access, ping
        self._said, self._answers = said, answers
        self._objects = WorkerObjects(
            api, watched, secured=access.signer is not None, changed=self._note_change
        )
        self._agents: dict[Key, _AgentWorkers] = {}

    def want(self, body: Body, wanted: Agent) -> None:
        """Keep what a generation of an Agent wants; `body` is its object."""
        metadata = body["metadata"]
        key = metadata["namespace"], metadata["name"]
        agent = AgentRef(*key, metadata["uid"])
        known = self._agents.get(key)
        if known is None or known.agent != agent:
            known = self._agents[key] = self._begin(agent, wanted, body)
        elif known.wanted.spec.worker != wanted.spec.worker or known.wanted.spec.tasks != wanted.spec.tasks:
            known.wanted = wanted
            known.verdict = self._first_verdict(
                known, known.applied is not None
            )  # the last one is of older pods
        known.wanted = wanted
        known.changed.set()

    def verdict(self, agent: AgentRef) -> WorkerVerdict:
        """What there is to say of an Agent's workers."""
        known = self._agents.get((agent.namespace, agent.name))
        return UNDECIDED if known is None or known.agent != agent else known.verdict

    def explain_missing(self, agent: Agent) -> str | None:
        """Why a generation has to wait for its workers; None where they answer, or are run elsewhere."""
        worker, metadata = agent.spec.worker, agent.metadata
        if worker is None or worker.template is None:
            return None
        known = self._agents.get((metadata.namespace, metadata.name))
        if known is not None and known.agent.uid == metadata.uid and known.answered == worker.digest:
            return None
        return f"no worker of the code {worker.digest} has answered yet; see the condition WorkerReady"

    async def forget(self, agent: AgentRef) -> None:
        """An Agent is gone; its Deployment goes with it."""
        known = self._agents.get((agent.namespace, agent.name))
        if known is not None and known.agent == agent:
            del self._agents[agent.namespace, agent.name]
            if known.task is not None:
                await stop(known.task)

    async def close(self) -> None:
        """Stop. All Deployments go on."""
        tasks = [known.task for known in self._agents.values() if known.task is not None]
        await asyncio.gather(*map(stop, tasks))
        await self._objects.close()

    # ── one Agent ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, agent: AgentRef, wanted: Agent, body: Body) -> _AgentWorkers:
        known = _AgentWorkers(agent, wanted)
        state = read_worker_state(body)
        known.verdict = self._first_verdict(known, state is not None and state.reason != EXTERNAL.reason)
        return known

    def _first_verdict(self, known: _AgentWorkers, had: bool) -> WorkerVerdict:
        """The verdict before anything is known. `had`: there may be a Deployment. Begins a task where one is needed."""
        if self._is_kept(known) or had:
            self._objects.begin()
            if known.task is None:
                name = f"workers of {known.agent}"
                known.task = asyncio.create_task(self._keep(known), name=name)
            return UNDECIDED
        return None if known.wanted.spec.worker is None else EXTERNAL

    def _is_kept(self, known: _AgentWorkers) -> bool:
        """Whether there is to be a Deployment."""
        return KeptWorkers.of(known.wanted, self._access.image) is not None

    def _note_change(self, key: Key | None) -> None:
        for known in self._agents.values() if key is None else filter(None, [self._agents.get(key)]):
            known.changed.set()

    async def _keep(self, known: _AgentWorkers) -> None:
        """Reconcile until cancelled."""
        failures = 0
        verdict: WorkerVerdict
        while True:
            known.changed.clear()
            try:
                verdict, settled = await self._reconcile(known)
            except ApiError as error:
                settled, refused = False, explain_refusal(error)
                verdict = refused or UNDECIDED
                extra = {"agent": str(known.agent), "error": str(error)}
                log.warning("cannot keep workers", extra=extra)
            except Exception:  # a bug, too: the Agent's workers must not stay as they are for ever
                log.exception("cannot keep workers", extra={"agent": str(known.agent)})
                verdict, settled = UNDECIDED, False
            self._set_verdict(known, verdict)
            failures = 0 if settled else failures + 1
            await self._sleep(known, self._pause(known) if settled else RETRY_BACKOFF.delay(failures))

    def _pause(self, known: _AgentWorkers) -> float:
        """Seconds until credentials are to be renewed, where they are."""
        at = None
        if self._is_kept(known) and known.applied_body is not None:
            at = manifest.renewal_time(known.applied_body, self._access.lifetime)
        return MAX_SLEEP_S if at is None else min(max(at - unix_time(), 1.0), MAX_SLEEP_S)

    async def _sleep(self, known: _AgentWorkers, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await known.changed.wait()
        except TimeoutError:
            return

    def _set_verdict(self, known: _AgentWorkers, verdict: WorkerVerdict) -> None:
        if isinstance(verdict, WorkerState) or verdict is None:
            before, known.verdict = known.verdict, verdict
            if before != verdict:
                self._said(known.agent)

    async def _reconcile(self, known: _AgentWorkers) -> tuple[WorkerVerdict, bool]:
        """The verdict, and whether nothing is left to be waited for. Raises ApiError."""
        if not self._objects.is_listed:
            if (error := self._objects.error) is not None:
                raise error
            return WAITS, False
        found = self._find(known)
        if not self._is_kept(known):
            return await self._remove(known, found)
        if found is not None and (obstacle := _obstacle(found, known.agent)) is not None:
            return obstacle, False
        if self._access.missing is not None:
            return WorkerState("False", "NoCredentials", self._access.missing), False
        found = await self._apply(known, found)
        await self._store_credentials(known, found)
        answered = await self._has_answered(known, found)
        pods = [] if is_complete(found) else await self._pods(known.agent)
        verdict = judge_rollout(found, pods)
        return verdict, is_complete(found) and (answered or verdict.reason == SCALED_TO_ZERO)

    def _find(self, known: _AgentWorkers) -> Body | None:
        """The Deployment of an Agent, as it was applied or seen last; what was seen, and is not any more, is gone."""
        seen = self._objects.deployment(known.agent.namespace, manifest.deployment_name(known.agent.name))
        mine = known.applied_body
        if seen is not None:
            known.seen = seen["metadata"]["uid"]
        elif mine is None or mine["metadata"]["uid"] == known.seen:
            return None
        if seen is None or (mine is not None and resource_version(seen) < resource_version(mine)):
            return mine
        return seen

    async def _remove(self, known: _AgentWorkers, found: Body | None) -> tuple[WorkerVerdict, bool]:
        if found is None or controller_uid(found) != known.agent.uid:
            known.applied = known.applied_body = None
            return (None if known.wanted.spec.worker is None else EXTERNAL), True
        if "deletionTimestamp" not in found["metadata"]:
            path = apps_path("deployments", known.agent.namespace, found["metadata"]["name"])
            try:
                await self._api.delete(path, found["metadata"]["uid"])
            except ApiError as error:
                if error.status != 404:
                    raise
            log.info("workers removed", extra={"agent": str(known.agent)})
            known.applied_body = None
        return LEAVING, False

    async def _apply(self, known: _AgentWorkers, found: Body | None) -> Body:
        """The Deployment as it is wanted, applied where it is not. Raises ApiError."""
        wanted = manifest.deployment_manifest(known.wanted, self._access, found, unix_time())
        is_seen = found is not None and found["metadata"]["uid"] == known.seen
        if found is not None and is_seen and wanted == known.applied_manifest:
            if manifest.is_current(found, wanted, known.applied):
                return found
        fenced = wanted
        if found is not None:
            fenced = {**wanted, "metadata": {**wanted["metadata"], "uid": found["metadata"]["uid"]}}
        path = apps_path("deployments", known.agent.namespace, wanted["metadata"]["name"])
        try:
            made = (await self._api.apply(path, fenced)).body
        except ApiError as error:
            if error.status == 409:  # it is gone, or another one
                known.applied_body = None
            raise
        known.applied, known.applied_body = made["metadata"]["generation"], made
        known.applied_manifest = wanted
        return made

    async def _store_credentials(self, known: _AgentWorkers, deployment: Body) -> None:
        """Create the Secret that the Deployment's latest ReplicaSet mounts, once that is there. Raises ApiError.

        It may be there from an earlier try: its name says for what it was made.
        """
        name = manifest.secret_of(deployment)
        if name is None:
            return
        for replica_set in self._objects.replica_sets(deployment):
            key = replica_set["metadata"]["uid"], name
            if manifest.secret_of(replica_set) != name or key in known.stored:
                continue
            credentials = self._access.credentials(known.agent, now=int(unix_time()))
            secret = manifest.secret_manifest(replica_set, name, credentials)
            try:
                await self._api.create(f"{CORE_API}/namespaces/{known.agent.namespace}/secrets", secret)
            except ApiError as error:
                if not error.already_exists:
                    raise _without_content(name, error) from None
            known.stored = {key}

    async def _has_answered(self, known: _AgentWorkers, deployment: Body) -> bool:
        """Whether a worker of the wanted digest has answered, now or before, or none is wanted."""
        digest = known.digest if has_template(known.wanted.spec) else None
        if digest is None or known.answered == digest:
            return True
        if (
            deployment["spec"].get("replicas") == 0
        ):  # nor does a worker of older code: there is nothing to wait for
            known.answered = digest
            self._answers(known.agent)
            return True
        if not (deployment.get("status") or {}).get("updatedReplicas"):
            return False
        if not await self._ping(known.agent, digest):
            return False
        known.answered = digest
        self._answers(known.agent)
        return True

    async def _pods(self, agent: AgentRef) -> list[Body]:
        path = f"{CORE_API}/namespaces/{agent.namespace}/pods"
        return list(await self._api.list(path, {"labelSelector": f"{names.LABEL_WORKER_OF}={agent.name}"}))


def _obstacle(found: Body, agent: AgentRef) -> WorkerState | None:
    """Why a Deployment that is there cannot be the Agent's."""
    name, owner = found["metadata"]["name"], controller_uid(found)
    if owner == agent.uid:
        return LEAVING if "deletionTimestamp" in found["metadata"] else None
    if owner is not None:
        message = f"Deployment {name} is that of an earlier Agent of this name, and goes with it"
        return WorkerState("Unknown", "Progressing", message)
    message = f"there is a Deployment {name} that is not Heed's; delete it or rename the agent"
    return WorkerState("False", "NameTaken", message)


def _without_content(name: str, error: ApiError) -> ApiError:
    """The refusal of a Secret, whose message may show what was refused."""
    message = f"Secret {name} is refused" if error.status in (400, 422) else f"Secret {name}: {error.message}"
    return ApiError(error.status, message, error.reason)
