"""The controller of Agents: reconciles each Agent's object with a running loop and its conditions."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from heed.api.conditions import RATE_LIMITED
from heed.bus.task_credentials import TaskCredentials
from heed.core.compiler.program import Program
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.loop import AgentLoop
from heed.engine.observer import Observer, Observers
from heed.engine.ports import EventBus
from heed.engine.rate_limit import CommitRate
from heed.engine.task_runners import TaskRunners
from heed.engine.timer_heap import TimerHeap
from heed.errors import BusUnavailable, HeedError, ReaderLost, StreamMissing, StreamReplaced
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
from heed.kube.controller.stuck_tasks import StuckTaskDetector
from heed.kube.jobs import manifest
from heed.kube.jobs.lister import JobLister
from heed.kube.jobs.runner import JobRunner
from heed.kube.metrics.collector import AgentSnapshot
from heed.kube.resources.kinds import KindCache
from heed.kube.resources.runner import ResourceRunner
from heed.kube.resources.watches import ResourceWatches
from heed.kube.status.address import agent_address
from heed.kube.status.event_recorder import EventRecorder
from heed.kube.status.ledger_store import StatusLedgerStore
from heed.kube.status.loop_health import HealthThresholds, LoopHealthMonitor
from heed.kube.status.rate_limit_monitor import RateLimitMonitor
from heed.kube.status.ready import WantedConditions, is_true, read_stuck_tasks
from heed.kube.status.ready_writer import ReadyWriter
from heed.kube.status.reasons import Trouble
from heed.sandbox.decision_pool import DecisionPool
from heed.settings import GatewaySettings
from heed.util.aio import stop

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Name = tuple[str, str]
RETRY_DELAY_S: Final = 5.0


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


@dataclass(slots=True)
class _RunningLoop:
    """The running loop of one generation of an Agent."""

    program: Program
    basis: CompileInputs
    body: Body
    loop: AgentLoop
    runner: JobRunner
    resources: ResourceRunner
    store: StatusLedgerStore
    task: asyncio.Task[None]


class AgentController:
    """Starts, restarts and stops the loops of Agents as their objects change."""

    def __init__(  # noqa: PLR0913, the composition root's parts, each of another kind
        self,
        api: KubeApi,
        bus: EventBus,
        observer: Observer,
        pace: CommitRate,
        *,
        guard: DecisionPool | None = None,
        patience: HealthThresholds | None = None,
        watched: str | None = None,
        access: TaskCredentials | None = None,
        gateway: GatewaySettings | None = None,
    ) -> None:
        patience = patience or HealthThresholds()
        self._access, self._gateway = access or TaskCredentials(), gateway or GatewaySettings()
        self._api, self._bus, self._pace, self._guard = api, bus, pace, guard or DecisionPool()
        self._timers = TimerHeap()
        self._events = EventRecorder(api)
        self._ready = ReadyWriter(
            api,
            self._wanted,
            patience.between,
            condition_written=self._events.record_condition,
            status_written=self._status_written,
            refused=self._events.record_refusal,
        )
        self._overdue = StuckTaskDetector(api, self._waits, self._ready.schedule, patience.pods)
        self._health = LoopHealthMonitor(self._ready.schedule, patience)
        self._limits = RateLimitMonitor(self._ready.schedule)
        self.answers = AnswerDesk(api, bus, self._ledger_of, namespace=watched)
        self._observer = Observers(observer, self._events, self._health, self._limits, self.answers)
        self._rules = PolicyCache(api, watched)
        self._review = Recompiler(self._rules, self._reconcile_again)
        self._words: dict[Name, tuple[AgentRef, WantedConditions]] = {}
        self._running: dict[Name, _RunningLoop] = {}
        self._seen: dict[Name, _ObservedAgent] = {}
        self._latest: dict[Name, Body | None] = {}
        self._reconciling: dict[Name, asyncio.Task[None]] = {}
        self._lists, self._orphans = JobLister(api), set[str]()
        self._watches, self._served = ResourceWatches(api, watched), KindCache(api)

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
        if not deleted and name in self._words:
            self._ready.note_agent(_agent(body), body)
        if not deleted and before == sight:
            return
        self._reconcile_soon(name, None if deleted else body)

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
        self._orphans &= await resync_jobs(self._api, namespace, runners)
        listed = await self._watches.relist()
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
        stuck = self._overdue.counts()
        for name, (agent, word) in self._words.items():
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
                word.suspended,
                loop is not None and loop.limited,
            )

    def describe_refused(self) -> str | None:
        """A sentence on Agents whose status the API server refuses; None where there are none."""
        return self._ready.describe_refused()

    async def close(self) -> None:
        """Stop all loops. Their ledgers hold what a restart needs."""
        await self._review.close()
        await asyncio.gather(*(stop(task) for task in list(self._reconciling.values())))
        await asyncio.gather(*(self._stop(name) for name in list(self._running)))
        self._watches.close()
        self._health.close()
        self._overdue.close()
        self._limits.close()
        await self._ready.close()
        await self._rules.close()
        await self._events.close()
        await self._guard.close()

    async def _begin_again(self, agent: AgentRef) -> None:
        """Restart a loop whose Agent was reported gone and still exists."""
        try:
            body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        except ApiError as error:
            log.warning("cannot read an agent", extra={"agent": str(agent), "error": str(error)})
            return
        self._seen.pop((agent.namespace, agent.name), None)
        self.observe(body)

    def _reconcile_soon(self, name: Name, body: Body | None) -> None:
        self._latest[name] = body
        if name not in self._reconciling:
            self._reconciling[name] = asyncio.ensure_future(self._reconcile_latest(name))

    def _reconcile_again(self, name: Name, body: Body) -> "asyncio.Task[None]":
        self._reconcile_soon(name, body)
        return self._reconciling[name]

    async def _reconcile_latest(self, name: Name) -> None:
        try:
            while name in self._latest:
                await self._reconcile_once(name, self._latest.pop(name))
        finally:
            del self._reconciling[name]  # without a turn of others since the last look at what is new

    async def _reconcile_once(self, name: Name, body: Body | None) -> None:
        try:
            if body is not None:
                await self._reconcile(name, body)
                return
            await self._leave(name)
            if name not in self._latest:  # else another one of that name has been seen meanwhile
                self._seen.pop(name, None)
        except Exception as error:  # a bug, too: an Agent must not stay as it was for ever
            extra = {"agent": "/".join(name), "error": str(error)}
            log.warning("cannot reconcile", extra=extra, exc_info=not isinstance(error, HeedError))
            self._latest.setdefault(name, body)
            await asyncio.sleep(RETRY_DELAY_S)

    async def _reconcile(self, name: Name, body: Body) -> None:
        """Run the generation that may run now, and set its conditions."""
        if name in self._words and self._words[name][0] != _agent(body):
            await self._leave(name)  # it was another one of that name
        basis = self._review.compile_inputs(name, body, kept := self._kept(name, body))
        choice = choose_generation(body, kept, basis.compiled, self._rules.watched)
        if choice.program is None:
            await self._stop(name)
        if choice.error is not None:  # first, since it holds what to go back to
            self._say(name, body, choice.word)
        if choice.program is not None:
            await self._run(name, choice.body, choice.program, basis)
        if choice.error is None:
            self._say(name, body, choice.word)
        choice.log()

    def _kept(self, name: Name, body: Body) -> str | None:
        """The last valid spec to fall back to, if there is one."""
        if (running := self._running.get(name)) is not None:
            valid = running.body["metadata"]["generation"]
            return dump_last_valid(running.body) if valid != body["metadata"]["generation"] else None
        if (said := self._words.get(name)) is not None:
            return said[1].last_valid_spec
        kept: str | None = (body.get("status") or {}).get("lastValidSpec")
        return kept

    def _say(self, name: Name, body: Body, word: WantedConditions) -> None:
        agent = _agent(body)
        self._words[name] = (agent, replace(word, address=agent_address(self._gateway, agent)))
        self._overdue.begin(agent, said=read_stuck_tasks(body) is not None)
        self._limits.begin(agent, said=is_true(body, RATE_LIMITED))
        self._ready.begin(agent, body)

    def _status_written(self, agent: AgentRef, before: str, body: Body) -> None:
        """Tell the ledger store that a condition write moved the Agent's resourceVersion."""
        running = self._running.get((agent.namespace, agent.name))
        if running is not None and running.program.agent == agent:
            running.store.note_condition_write(before, body)

    def _wanted(self, agent: AgentRef) -> WantedConditions | None:
        """The conditions wanted for an Agent."""
        said_of, word = self._words.get((agent.namespace, agent.name), (None, None))
        if word is None or said_of != agent:
            return None
        word = word.with_limited(self._limits.verdict(agent))
        return word.with_trouble(self._health.verdict(agent)).with_tasks(self._overdue.verdict(agent))

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
        if running is not None and not running.task.done():
            if _identify(running.program, running.basis) == _identify(program, basis):
                return
        await self._stop(name)
        store = StatusLedgerStore(self._api, program.agent)
        loop = AgentLoop(
            program,
            store,
            self._bus,
            self._observer,
            since=body["metadata"]["creationTimestamp"],
            pace=self._pace,
            guard=self._guard,
            timers=self._timers,
        )
        runner = JobRunner(
            self._api,
            program.agent,
            loop,
            seen=lambda job, deleted: self._overdue.note_job(program.agent, job, deleted=deleted),
            lists=self._lists,
            orphans=self._orphans,
            access=self._access,
        )
        resources = ResourceRunner(
            self._api,
            program.agent,
            loop,
            self._bus.publish,
            watches=self._watches,
            served=self._served,
            leftover=[task.created for task in program.tasks.values() if task.created is not None],
        )
        runners = TaskRunners(loop, {"job": runner, "resource": resources})
        task = asyncio.create_task(loop.run(runners), name=f"agent {program.agent}")
        task.add_done_callback(lambda done: _ended(program.agent, done))
        self._running[name] = _RunningLoop(program, basis, body, loop, runner, resources, store, task)
        self._health.began(program.agent)

    async def _leave(self, name: Name) -> None:
        """Forget a deleted Agent."""
        await self._stop(name)
        if (said := self._words.pop(name, None)) is not None:
            self._health.forget(said[0])
            self._overdue.forget(said[0])
            self._limits.forget(said[0])
            self._events.forget(said[0])
            await self._ready.forget(said[0])

    async def _stop(self, name: Name) -> None:
        if (running := self._running.pop(name, None)) is not None:
            await stop(running.task)
            running.runner.close()
            running.resources.close()


def _agent(body: Body) -> AgentRef:
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])


def _identify(program: Program, basis: CompileInputs) -> tuple[object, ...]:
    """What tells one loop of an Agent from the next. An earlier generation may be suspended by a later one."""
    return program.generation, program.suspended, program.labels, basis


def _ended(agent: AgentRef, task: "asyncio.Task[None]") -> None:
    """Log a loop that ended for another reason than its Agent's deletion: a bug."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("agent loop failed", extra={"agent": str(agent)}, exc_info=error)
