"""The dev server: runs Agents from files without a cluster, and reloads them when their manifests change.

A reload swaps an Agent's loop and nothing else: its ledger stays, and so do the children that run its tasks. An edit
that is not valid changes nothing at all.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from heed.api.agent import Agent
from heed.api.manifest.document import Manifest
from heed.bus.function_runner import FunctionTasks
from heed.bus.jetstream import JetStreamBus
from heed.core.compiler.audience import Listener
from heed.core.compiler.program import Program, Subscription
from heed.core.effects import AgentRef
from heed.core.policy.addresses import LOOPBACK
from heed.core.tasks.kinds import FUNCTION, HTTP, LLM
from heed.engine.deciders import Deciders
from heed.engine.loop import AgentLoop
from heed.engine.ports import TaskRunner
from heed.engine.rate_limit import CommitRate
from heed.engine.task_runners import TaskRunners
from heed.engine.timer_heap import TimerHeap
from heed.errors import HeedError, InvalidManifest, PolicyViolation, Problem
from heed.local import presence
from heed.local.agent_claims import AgentClaims, AgentTaken
from heed.local.calls import LocalCaller, makes_calls
from heed.local.code import BrokenModule, CodeWorker, describe
from heed.local.console import Console
from heed.local.ledger_store import Bucket, KeyValueLedgerStore
from heed.local.manifest_loader import (
    FoundAgent,
    ManifestMistake,
    find_files,
    lint_manifests,
    load_manifests,
    stamp_files,
)
from heed.local.policy_loader import NO_RULES
from heed.local.process.runner import ProcessRunner, default_slots
from heed.local.resources import PlayedResources, no_answers
from heed.local.stub_script import StubScript
from heed.sdk.loading import SUFFIX as MODULE_SUFFIX
from heed.settings import StreamSettings
from heed.util.aio import stop
from heed.util.clock import timestamp

MANIFEST_POLL_INTERVAL_S = 0.5  # seconds between two looks at the manifests
DEV_COMMIT_RATE = CommitRate(
    budget=640 * 1024
)  # a ledger is one message, and a broker's default limit is 1 MiB


def commit_rate_for(max_payload: int) -> CommitRate:
    """The commit rate and ledger budget on a broker with this `max_payload` in bytes."""
    return replace(DEV_COMMIT_RATE, budget=min(DEV_COMMIT_RATE.budget, max_payload * 5 // 8))


Key = tuple[str, str]


@dataclass(slots=True)
class _RunningAgent:
    """A running Agent. The runner outlives its loops."""

    found: FoundAgent
    program: Program
    loop: AgentLoop
    runner: ProcessRunner
    objects: PlayedResources
    task: "asyncio.Task[None]"
    worker: CodeWorker | None = None
    caller: LocalCaller | None = None


class DevServer:
    """The Agents of some files and folders, on one broker. `url` is the broker's, `server` its id if it is our own."""

    def __init__(
        self,
        paths: Sequence[Path],
        folder: Path,
        broker: tuple[str, str | None],
        bus: JetStreamBus,
        ledgers: Bucket,
        claims: AgentClaims,
        console: Console,
        deciders: Deciders,
    ) -> None:
        (self.url, self.server), self.bus = broker, bus
        self._paths, self._folder, self._ledgers, self._console = paths, folder, ledgers, console
        self._claims = claims
        self._slots, self._deciders, self._timers = default_slots(), deciders, TimerHeap()
        self.pace = DEV_COMMIT_RATE
        self.script: StubScript | None = None
        self._functions = FunctionTasks(bus.connection, bus, StreamSettings(), tuple(map(str, LOOPBACK)))
        self._listening = asyncio.create_task(self._functions.listen())
        self._running: dict[Key, _RunningAgent] = {}
        self._rules = NO_RULES
        self._seen: object = None
        self._mistaken = False
        self._warned: list[Problem] = []

    def allow_networks(self, networks: Sequence[str]) -> None:
        """Let calls reach these networks, too, beside public addresses and this machine."""
        self._functions.networks = (*self._functions.networks, *networks)

    @property
    def loops(self) -> dict[Key, AgentLoop]:
        """The running loops."""
        return {key: running.loop for key, running in self._running.items()}

    @property
    def agents(self) -> list[Agent]:
        """The running Agents, as their manifests have them."""
        return [running.found.agent for running in self._running.values()]

    @property
    def listeners(self) -> list[Listener]:
        """What the running Agents listen for."""
        return [Listener.of(running.program) for running in self._running.values()]

    async def refresh(self) -> bool:
        """Read the manifests if one of them changed, and run what they say. Returns whether one had."""
        script = self.script
        seen = stamp_files([*self._paths, *([] if script is None else [script.path])])
        if seen == self._seen:
            return False
        agents, rules, mistakes = load_manifests(self._paths, await self._import())
        if self._seen is None or not any(mistake.of_rule for mistake in mistakes):
            self._rules = rules
        if script is not None:
            self._read_script(script, agents)
        await self._apply(agents, mistakes, first=self._seen is None)
        self._warn()
        presence.write(presence.own_presence(self._folder, self.url, self.server, self.listeners))
        self._seen = seen
        return True

    async def _import(self) -> dict[Path, Sequence[Manifest] | Problem]:
        """The manifests of the Python files, each as a child process imports it."""
        found: dict[Path, Sequence[Manifest] | Problem] = {}
        for file in (item for item in find_files(self._paths) if item.suffix == MODULE_SUFFIX):
            try:
                found[file] = await describe(file)
            except BrokenModule as error:
                found[file] = error.problem
        return found

    async def watch(self, stopping: asyncio.Event) -> None:
        """Follow changes of the manifests until `stopping` is set."""
        while not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(MANIFEST_POLL_INTERVAL_S):
                    await stopping.wait()
                    return
            try:
                await self.refresh()
            except HeedError as error:
                self._console.say(f"cannot reload now, trying again: {error}")

    async def close(self) -> None:
        """Stop all loops and child processes. Ledgers and folders hold what a restart needs."""
        for key in list(self._running):
            await self._stop(key)
        await stop(self._listening)
        await self._deciders.close()

    def _read_script(self, script: StubScript, agents: Sequence[FoundAgent]) -> None:
        """Read the script for the tasks of all Agents, those that run on after a mistake among them."""
        known = [*(found.agent for found in agents), *self.agents]
        if (
            wrong := script.refresh(sorted({name for agent in known for name in agent.spec.tasks}))
        ) is not None:
            self._console.say(wrong)

    def _warn(self) -> None:
        """Show the lint warnings of running Agents that were not shown before."""
        running = [(item.found.manifest, item.program) for item in self._running.values()]
        found = [
            located
            for manifest, problem in lint_manifests(running)
            for located in manifest.locate([problem]).problems
        ]
        self._console.warnings([problem for problem in found if problem not in self._warned])
        self._warned = found

    async def _apply(
        self, agents: Sequence[FoundAgent], mistakes: list[ManifestMistake], *, first: bool
    ) -> None:
        for found in agents:
            mistakes += await self._run_agent(found, first=first)
        broken = {mistake.file for mistake in mistakes}
        there = {found.key for found in agents}
        for key, running in list(self._running.items()):
            if key not in there and running.found.file not in broken:
                await self._stop(key)
                self._console.say(
                    f"{'/'.join(key)} is in no file any more and has stopped; its ledger is kept"
                )
        if mistakes:
            problems = [problem for mistake in mistakes for problem in mistake.problems]
            self._console.problems(problems, self._kept())
        elif self._mistaken:
            self._console.say("no mistakes any more")
        elif first and not self._running:
            where = ", ".join(map(str, self._paths))
            self._console.say(f"there is no Agent in {where}; write one, it will be started")
        self._mistaken = bool(mistakes)

    def _kept(self) -> str:
        running = [
            f"{item.program.agent} generation {item.program.generation}" for item in self._running.values()
        ]
        return (
            f"still running: {', '.join(running)}"
            if running
            else "nothing runs; mend it, it will be read again"
        )

    async def _run_agent(self, found: FoundAgent, *, first: bool) -> list[ManifestMistake]:
        """Run this Agent unless it runs unchanged. Returns what is wrong with it.

        Raises AgentTaken at the start, when there is nothing yet that could go on.
        """
        old = self._running.get(found.key)
        if old is not None and (old.found.agent, old.found.file) == (found.agent, found.file):
            if self._is_current(old):
                return []
        try:
            program = self._rules.compile(found.agent)
        except InvalidManifest as error:
            if old is not None:
                await self._keep_running(old)
            return [ManifestMistake(found.file, found.manifest.locate(error.problems).problems)]
        try:
            await self._claims.take(*found.key)
        except AgentTaken as error:
            if first:
                raise
            problem = Problem("metadata.name", str(error))
            return [ManifestMistake(found.file, found.manifest.locate([problem]).problems)]
        await self._start(found, program, old)
        return []

    def _is_current(self, running: _RunningAgent) -> bool:
        """Whether it runs under the current policies."""
        program = running.program
        may = self._rules.permissions(running.found.agent.metadata)
        return (program.permissions, program.schemas) == (may, self._rules.schemas)

    async def _keep_running(self, old: _RunningAgent) -> None:
        """Keep the last valid version of an Agent running, if it is permitted now."""
        if self._is_current(old):
            return
        try:
            await self._start(old.found, self._rules.compile(old.found.agent), old)
        except PolicyViolation:
            await self._stop(old.found.key)
            self._console.say(
                f"{old.program.agent} is not allowed any more and has stopped; its ledger is kept"
            )

    async def _start(self, found: FoundAgent, program: Program, old: _RunningAgent | None) -> None:
        namespace, name = found.key
        ledger = KeyValueLedgerStore(self._ledgers, namespace, name, since=timestamp())
        identity = await ledger.identify()
        agent = AgentRef(namespace, name, identity.uid)
        program = replace(program, agent=agent, generation=old.program.generation + 1 if old else 1)
        runner, objects = await self._runners_of(found, agent, old)
        self._console.introduced(program)
        loop = AgentLoop(
            program,
            ledger,
            self.bus,
            self._console,
            since=identity.since,
            pace=self.pace,
            deciders=self._deciders,
            timers=self._timers,
        )
        functions = self._functions.runner_of(agent, loop)
        calls = self._functions.caller_of(agent, loop, program.permissions)
        models = self._functions.asker_of(agent, loop, program.permissions)
        by_worker: dict[str, TaskRunner] = {FUNCTION: functions, HTTP: calls, LLM: models}
        runners = TaskRunners(loop, {"job": runner, "resource": objects, **by_worker})
        task = asyncio.create_task(loop.run(runners), name=f"agent {agent}")
        task.add_done_callback(self._ended)
        worker = await self._worker_of(found, program, old)
        caller = await self._caller_of(program, old)
        self._running[found.key] = _RunningAgent(found, program, loop, runner, objects, task, worker, caller)
        heeds = [*map(_shown, program.subscriptions), *(f"timer {name}" for name in program.timers)]
        self._console.say(f"{agent} generation {program.generation} heeds {', '.join(heeds)}")

    async def _runners_of(
        self, found: FoundAgent, agent: AgentRef, old: _RunningAgent | None
    ) -> tuple[ProcessRunner, PlayedResources]:
        """The Agent's runners: the old ones where only its loop restarts, else new ones. Stops the old loop."""
        if old is not None:
            await stop(old.task)
            if old.found.file == found.file and old.program.agent == agent:
                return old.runner, old.objects
            old.objects.close()
            await old.runner.close()
        answers = no_answers if self.script is None else self.script.answer
        objects = PlayedResources(agent, lambda: self.loops.get(found.key), answers, self.bus.publish)
        jobs = ProcessRunner(
            agent,
            self._folder,
            base=found.file.parent,
            report=lambda end: (current := self._running.get(found.key)) and current.loop.report(end),
            output=lambda task_id, line: self._console.output(agent, task_id, line),
            now=timestamp,
            slots=self._slots,
            nats_url=self.url,
        )
        return jobs, objects

    async def _worker_of(
        self, found: FoundAgent, program: Program, old: _RunningAgent | None
    ) -> CodeWorker | None:
        """A worker of the Agent's code: the old one where that is the same; it is ended where it is not."""
        before = None if old is None else old.worker
        if old is not None and before is not None and program.code == old.program.code:
            return before
        own = program.code is not None and found.file.suffix == MODULE_SUFFIX  # else who wrote it starts it
        made = CodeWorker(found.key, found.file, self.url, self._said) if own else None
        if before is not None:
            await before.close()
        return made

    async def _caller_of(self, program: Program, old: _RunningAgent | None) -> LocalCaller | None:
        """What makes an Agent's calls: the old one where there is one; it is ended where there are none any more."""
        before = None if old is None else old.caller
        if makes_calls(program):
            return before or LocalCaller(program, self.bus.connection, self._paths)
        if before is not None:
            await before.close()
        return None

    def _said(self, key: Key, line: str) -> None:
        self._console.say(f"{'/'.join(key)}: {line}")

    async def _stop(self, key: Key) -> None:
        running = self._running.pop(key)
        await stop(running.task)
        running.objects.close()
        if running.worker is not None:
            await running.worker.close()
        if running.caller is not None:
            await running.caller.close()
        await running.runner.close()
        self._claims.release(*key)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        reason = (
            f"broke: {error!r}; please report this"
            if error
            else "stopped: its ledger is gone; start heed dev again"
        )
        self._console.say(f"{task.get_name()} {reason}")


def _shown(item: Subscription) -> str:
    return f"{item.pattern} of {item.namespace}" if item.namespace else item.pattern
