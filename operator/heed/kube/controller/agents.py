"""The controller of Agents: reconciles each Agent's object with a running loop and its conditions."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from heed.api.conditions import RATE_LIMITED
from heed.bus.function_runner import FunctionTasks
from heed.bus.task_credentials import TaskCredentials
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.compiler.program import Program
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.deciders import Deciders
from heed.engine.observer import Observer, Observers
from heed.engine.ports import EventBus
from heed.engine.rate_limit import CommitRate
from heed.errors import BusUnavailable, ReaderLost, StreamMissing, StreamReplaced
from heed.kube.approvals.answer_desk import AnswerDesk
from heed.kube.client.client import (
    METADATA_ONLY,
    ApiError,
    KubeApi,
    agent_path,
    agents_path,
    resource_version,
)
from heed.kube.controller.generation import choose_generation
from heed.kube.controller.job_resync import resync_jobs
from heed.kube.controller.last_valid_spec import dump_last_valid
from heed.kube.controller.policy_cache import CompileInputs, PolicyCache
from heed.kube.controller.recompile import Recompiler, without_ledger
from heed.kube.controller.reconcile_queue import ReconcileQueue
from heed.kube.controller.running_loop import LoopFactory, RunningLoop
from heed.kube.controller.stuck_tasks import StuckTaskDetector
from heed.kube.jobs import manifest
from heed.kube.metrics.collector import AgentSnapshot
from heed.kube.status.address import agent_address
from heed.kube.status.event_recorder import EventRecorder
from heed.kube.status.loop_health import HealthThresholds, LoopHealthMonitor
from heed.kube.status.rate_limit_monitor import RateLimitMonitor
from heed.kube.status.ready import WantedConditions, is_true, read_stuck_tasks
from heed.kube.status.ready_writer import ReadyWriter
from heed.kube.status.reasons import Trouble
from heed.kube.workers.deployments import Ping, WorkerDeployments, never_answered
from heed.settings import GatewaySettings

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _ObservedAgent:
    """The parts of an Agent's object that its loop depends on. A change of labels makes no new generation."""

    uid: str
    generation: int
    labels: Mapping[str, str]
    version: int = field(compare=False)

    @classmethod
    def of(cls, body: Body) -> "_ObservedAgent":
        metadata = body["metadata"]
        labels = dict(metadata.get("labels") or {})
        return cls(metadata["uid"], metadata["generation"], labels, resource_version(body))


class AgentController:
    """Starts, restarts and stops the loops of Agents as their objects change."""

    def __init__(  # noqa: PLR0913, the composition root's parts, each of another kind
        self,
        api: KubeApi,
        bus: EventBus,
        observer: Observer,
        pace: CommitRate,
        *,
        deciders: Deciders | None = None,
        patience: HealthThresholds | None = None,
        watched: str | None = None,
        access: TaskCredentials | None = None,
        gateway: GatewaySettings | None = None,
        functions: FunctionTasks | None = None,
        workers: WorkerCredentials | None = None,
        ping: Ping = never_answered,
    ) -> None:
        patience = patience or HealthThresholds()
        self._gateway = gateway or GatewaySettings()
        self._api, self._bus, self._deciders = api, bus, deciders or Deciders()
        self._events = EventRecorder(api)
        self._ready = ReadyWriter(
            api,
            self._find_wanted,
            patience.between,
            condition_written=self._events.record_condition,
            status_written=self._status_written,
            refused=self._events.record_refusal,
        )
        self._stuck = StuckTaskDetector(api, self._waits, self._ready.schedule, patience.pods)
        self._health = LoopHealthMonitor(self._ready.schedule, patience)
        self._limits = RateLimitMonitor(self._ready.schedule)
        self.answers = AnswerDesk(api, bus, self._ledger_of, namespace=watched)
        self._loops = LoopFactory(
            api,
            bus,
            Observers(observer, self._events, self._health, self._limits, self.answers),
            pace,
            deciders=self._deciders,
            functions=functions,
            access=access or TaskCredentials(),
            watched=watched,
            holds_back=self.answers.is_taking,
            note_job=lambda agent, job, deleted: self._stuck.note_job(agent, job, deleted=deleted),
        )
        self._workers = WorkerDeployments(
            api,
            workers or WorkerCredentials(),
            ping,
            said=self._ready.schedule,
            answers=self._go_over,
            watched=watched,
        )
        self._rules = PolicyCache(api, watched)
        self._queue = ReconcileQueue(self._reconcile)
        self._review = Recompiler(self._rules, self._queue.put_again)
        self._wanted: dict[Name, tuple[AgentRef, WantedConditions]] = {}
        self._running: dict[Name, RunningLoop] = {}
        self._seen: dict[Name, _ObservedAgent] = {}

    def observe(self, body: Body, *, deleted: bool = False) -> None:
        """Note an Agent's object, or its deletion. Returns at once; only the latest version counts.

        One that is being deleted counts as gone: its Jobs are going too, and no handler is to react to that.
        """
        body, deleted = without_ledger(body), deleted or "deletionTimestamp" in body["metadata"]
        name = (body["metadata"]["namespace"], body["metadata"]["name"])
        sight, before = _ObservedAgent.of(body), self._seen.get(name)
        if deleted and before is not None and before.uid != sight.uid:
            return
        if not deleted and before is not None and sight.version < before.version:
            return  # a late sight, of this Agent or of an earlier one of its name
        self._seen[name] = sight
        self._review.note_agent(name, None if deleted else body)
        if not deleted and name in self._wanted:
            self._ready.note_agent(_agent(body), body)
        if not deleted and before == sight:
            return
        self._queue.put(name, None if deleted else body)

    def observe_job(self, job: Body, *, deleted: bool = False) -> None:
        """Note a Job with Heed's labels. Where its Agent has no loop yet, that loop looks for it at its start."""
        running = self._running.get((job["metadata"]["namespace"], manifest.owner_name(job)))
        if running is not None and manifest.owner_uid(job) == running.program.agent.uid:
            running.runner.observe(job, deleted=deleted)

    def observe_rule(self, rule: Body, *, deleted: bool = False) -> None:
        """Note a policy, grant or event type, or its deletion."""
        if self._rules.observe(rule, deleted=deleted):
            self._review.schedule()

    def set_shared_trouble(self, trouble: Trouble | None) -> None:
        """Set or clear a trouble that all Agents share."""
        if self._health.set_shared_trouble(trouble):
            self._ready.schedule_all()

    async def relist_rules(self) -> None:
        """Relist policies, grants and event types: before any Agent runs, and periodically. Raises ApiError."""
        await self._rules.relist()
        self._review.schedule()

    async def sweep(self, namespace: str | None) -> None:
        """Resync: find Agents and Jobs whose deletion no watch reported. Raises ApiError."""
        known = list(self._running.values())
        items = await self._api.list(agents_path(namespace), accept=METADATA_ONLY)
        alive = {item["metadata"]["uid"] for item in items}
        for running in known:
            if running.program.agent.uid not in alive:
                self.observe(running.body, deleted=True)
            elif running.task.done():
                await self._begin_again(running.program.agent)
        runners = {running.program.agent: running.runner for running in self._running.values()}
        self._loops.orphans &= await resync_jobs(self._api, namespace, runners)
        listed = await self._loops.watches.relist()
        for running in list(self._running.values()):
            running.resources.conclude_resync(listed)
        await self.answers.sweep(lambda *name: name in self._seen)
        await self._keep_up()

    async def _keep_up(self) -> None:
        """Advance the cursors of quiet Agents before the stream drops their position."""
        with suppress(BusUnavailable, StreamMissing):  # it is looked at again later
            first, last = await self._bus.bounds()
            for running in list(self._running.values()):
                with suppress(ReaderLost, StreamReplaced):
                    await running.loop.keep_up(first, last)

    def snapshots(self) -> Iterator[AgentSnapshot]:
        """A snapshot of each Agent, from memory."""
        stuck = self._stuck.counts()
        for name, (agent, wanted) in self._wanted.items():
            loop = self._running[name].loop if name in self._running else None
            stored, lag = (loop.stored, loop.lag) if loop else (None, None)
            refused = self._ready.is_refused(agent)
            yield AgentSnapshot(
                agent,
                self._ready.ready(agent),
                stored,
                lag,
                stuck.get(agent, 0),
                refused,
                wanted.suspended,
                loop is not None and loop.limited,
            )

    def describe_refused(self) -> str | None:
        """A sentence on Agents whose status the API server refuses; None where there are none."""
        return self._ready.describe_refused()

    async def close(self) -> None:
        """Stop all loops. Their ledgers hold what a restart needs."""
        await self._review.close()
        await self._queue.close()
        await asyncio.gather(*(self._stop(name) for name in list(self._running)))
        self._loops.watches.close()
        self._health.close()
        self._stuck.close()
        self._limits.close()
        await self._workers.close()
        await self._ready.close()
        await self._rules.close()
        await self._events.close()
        await self._deciders.close()

    async def _begin_again(self, agent: AgentRef) -> None:
        """Restart a loop whose Agent was reported gone and still exists."""
        try:
            body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        except ApiError as error:
            log.warning("cannot read an agent", extra={"agent": str(agent), "error": str(error)})
            return
        self._seen.pop((agent.namespace, agent.name), None)
        self.observe(body)

    async def _reconcile(self, name: Name, body: Body | None) -> None:
        if body is not None:
            await self._run_latest(name, body)
            return
        await self._leave(name)
        if not self._queue.has_newer(name):  # else another one of that name has been seen meanwhile
            self._seen.pop(name, None)

    async def _run_latest(self, name: Name, body: Body) -> None:
        """Run the generation that may run now, and set its conditions."""
        if name in self._wanted and self._wanted[name][0] != _agent(body):
            await self._leave(name)  # it was another one of that name
        basis = self._review.compile_inputs(name, body, kept := self._kept(name, body))
        missing = self._workers.explain_missing
        choice = choose_generation(body, kept, basis.compiled, self._rules.watched, missing)
        if choice.program is None:
            await self._stop(name)
        if choice.newest is not None:
            self._workers.want(body, choice.newest.manifest)
        goes_back = choice.error is not None or choice.awaited is not None
        if goes_back:  # first, since it holds what to go back to
            self._set_wanted(name, body, choice.word)
        if choice.program is not None:
            await self._run(name, choice.body, choice.program, basis)
        if not goes_back:
            self._set_wanted(name, body, choice.word)
        choice.log()

    def _go_over(self, agent: AgentRef) -> None:
        """Reconcile an Agent whose workers answer now, unless something newer of it is to be reconciled anyway."""
        name = agent.namespace, agent.name
        body = self._review.find_agent(name)
        if body is not None and _agent(body) == agent and not self._queue.has_newer(name):
            self._queue.put(name, body)

    def _kept(self, name: Name, body: Body) -> str | None:
        """The last valid spec to fall back to, if there is one."""
        if (running := self._running.get(name)) is not None:
            valid = running.body["metadata"]["generation"]
            return dump_last_valid(running.body) if valid != body["metadata"]["generation"] else None
        if (wanted := self._wanted.get(name)) is not None:
            return wanted[1].last_valid_spec
        kept: str | None = (body.get("status") or {}).get("lastValidSpec")
        return kept

    def _set_wanted(self, name: Name, body: Body, wanted: WantedConditions) -> None:
        agent = _agent(body)
        self._wanted[name] = (agent, replace(wanted, address=agent_address(self._gateway, agent)))
        self._stuck.begin(agent, said=read_stuck_tasks(body) is not None)
        self._limits.begin(agent, said=is_true(body, RATE_LIMITED))
        self._ready.begin(agent, body)

    def _status_written(self, agent: AgentRef, before: str, body: Body) -> None:
        """Tell the ledger store that a condition write moved the Agent's resourceVersion."""
        running = self._running.get((agent.namespace, agent.name))
        if running is not None and running.program.agent == agent:
            running.store.note_condition_write(before, body)

    def _find_wanted(self, agent: AgentRef) -> WantedConditions | None:
        """The conditions wanted for an Agent."""
        wanted_of, wanted = self._wanted.get((agent.namespace, agent.name), (None, None))
        if wanted is None or wanted_of != agent:
            return None
        wanted = wanted.with_limited(self._limits.verdict(agent)).with_workers(self._workers.verdict(agent))
        return wanted.with_trouble(self._health.verdict(agent)).with_tasks(self._stuck.verdict(agent))

    def _ledger_of(self, namespace: str, name: str) -> tuple[AgentRef, Ledger] | None:
        """A running Agent with its ledger as last stored; None where it does not run, or has not read it yet."""
        running = self._running.get((namespace, name))
        if running is None or (stored := running.loop.stored) is None:
            return None
        return running.program.agent, stored.ledger

    def _waits(self, agent: AgentRef, attempt_id: str) -> bool:
        running = self._running.get((agent.namespace, agent.name))
        return running is not None and running.program.agent == agent and running.loop.waits(attempt_id)

    async def _run(self, name: Name, body: Body, program: Program, basis: CompileInputs) -> None:
        """Make exactly this generation run."""
        running = self._running.get(name)
        if running is not None and running.is_of(program, basis):
            return
        await self._stop(name)
        self._running[name] = self._loops.begin(body, program, basis)
        self._health.began(program.agent)

    async def _leave(self, name: Name) -> None:
        """Forget a deleted Agent."""
        await self._stop(name)
        agent, _ = self._wanted.pop(name, (None, None))
        if agent is not None:
            self._health.forget(agent)
            self._stuck.forget(agent)
            self._limits.forget(agent)
            self._events.forget(agent)
            await self._workers.forget(agent)
            await self._ready.forget(agent)

    async def _stop(self, name: Name) -> None:
        if (running := self._running.pop(name, None)) is not None:
            await running.stop()


def _agent(body: Body) -> AgentRef:
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])
