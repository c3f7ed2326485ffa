"""The loops of Agents in a cluster: how one is put together of its ledger store and its runners, and ended."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heed.bus.function_runner import FunctionTasks
from heed.bus.task_credentials import TaskCredentials
from heed.core.compiler.program import Program
from heed.core.effects import AgentRef
from heed.core.tasks.kinds import FUNCTION, HTTP, LLM
from heed.engine.deciders import Deciders
from heed.engine.loop import AgentLoop
from heed.engine.observer import Observer
from heed.engine.ports import EventBus, TaskRunner
from heed.engine.rate_limit import CommitRate
from heed.engine.task_runners import TaskRunners
from heed.engine.timer_heap import HoldsBack, TimerHeap
from heed.kube.client.client import KubeApi
from heed.kube.controller.policy_cache import CompileInputs
from heed.kube.jobs.lister import JobLister
from heed.kube.jobs.pod_delays import PodDelay
from heed.kube.jobs.runner import JobRunner
from heed.kube.resources.kinds import KindCache
from heed.kube.resources.runner import ResourceRunner
from heed.kube.resources.watches import ResourceWatches
from heed.kube.status.ledger_store import StatusLedgerStore
from heed.util.aio import stop

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
NoteJob = Callable[[AgentRef, Body, bool], PodDelay | None]  # a Job of an Agent, and whether it was deleted


@dataclass(slots=True)
class RunningLoop:
    """The running loop of one generation of an Agent."""

    program: Program
    basis: CompileInputs
    body: Body
    loop: AgentLoop
    runner: JobRunner
    resources: ResourceRunner
    store: StatusLedgerStore
    task: asyncio.Task[None]

    def is_of(self, program: Program, basis: CompileInputs) -> bool:
        """Whether it runs, and runs exactly this."""
        return not self.task.done() and _identify(self.program, self.basis) == _identify(program, basis)

    async def stop(self) -> None:
        """End it. Its ledger holds what a restart needs."""
        await stop(self.task)
        self.runner.close()
        self.resources.close()


class LoopFactory:
    """Begins loops, with what all of them share. `note_job` is told of each Job that a runner sees.

    `holds_back` is for their timers.
    """

    def __init__(  # noqa: PLR0913, what all loops of a process share
        self,
        api: KubeApi,
        bus: EventBus,
        observer: Observer,
        pace: CommitRate,
        *,
        deciders: Deciders,
        functions: FunctionTasks | None,
        access: TaskCredentials,
        watched: str | None,
        note_job: NoteJob,
        holds_back: HoldsBack,
    ) -> None:
        self._api, self._bus, self._observer, self._pace = api, bus, observer, pace
        self._deciders, self._functions = deciders, functions
        self._access, self._note_job = access, note_job
        self._timers, self._lists, self._served = TimerHeap(holds_back), JobLister(api), KindCache(api)
        self.watches = ResourceWatches(api, watched)
        self.orphans = set[str]()  # uids of Jobs that no task is of, which were reported

    def begin(self, body: Body, program: Program, basis: CompileInputs) -> RunningLoop:
        """Begin the loop of a generation, whose object is `body`."""
        agent = program.agent
        store = StatusLedgerStore(self._api, agent)
        loop = AgentLoop(
            program,
            store,
            self._bus,
            self._observer,
            since=body["metadata"]["creationTimestamp"],
            pace=self._pace,
            deciders=self._deciders,
            timers=self._timers,
        )
        runner = JobRunner(
            self._api,
            agent,
            loop,
            seen=lambda job, deleted: self._note_job(agent, job, deleted),
            lists=self._lists,
            orphans=self.orphans,
            access=self._access,
        )
        resources = ResourceRunner(
            self._api,
            agent,
            loop,
            self._bus.publish,
            watches=self.watches,
            served=self._served,
            leftover=[task.created for task in program.tasks.values() if task.created is not None],
        )
        runners: dict[str, TaskRunner] = {"job": runner, "resource": resources}
        if self._functions is not None and program.code is not None:
            runners[FUNCTION] = self._functions.runner_of(agent, loop)
        if self._functions is not None and any(task.kind == HTTP for task in program.tasks.values()):
            runners[HTTP] = self._functions.caller_of(agent, loop, program.permissions)
        if self._functions is not None and any(task.kind == LLM for task in program.tasks.values()):
            runners[LLM] = self._functions.asker_of(agent, loop, program.permissions)
        task = asyncio.create_task(loop.run(TaskRunners(loop, runners)), name=f"agent {agent}")
        task.add_done_callback(lambda done: _ended(agent, done))
        return RunningLoop(program, basis, body, loop, runner, resources, store, task)


def _identify(program: Program, basis: CompileInputs) -> tuple[object, ...]:
    """What tells one loop of an Agent from the next. An earlier generation may be suspended by a later one."""
    return program.generation, program.suspended, program.labels, basis


def _ended(agent: AgentRef, task: "asyncio.Task[None]") -> None:
    """Log a loop that ended for another reason than its Agent's deletion: a bug."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("agent loop failed", extra={"agent": str(agent)}, exc_info=error)
