"""All Agents of the cluster: which generation of each runs here, and what its conditions say of it."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from heed.api.parsing import parse_agent
from heed.core.effects import AgentRef
from heed.core.program import Program, compile_agent
from heed.engine.guarding import Guard
from heed.engine.loop import AgentLoop
from heed.engine.observers import Observer
from heed.engine.pacing import Pace
from heed.engine.ports import EventBus
from heed.engine.stopping import stop
from heed.errors import BusUnavailable, HeedError, InvalidManifest, ReaderLost, StreamMissing
from heed.kube import jobs
from heed.kube.api import METADATA, Api, ApiError, agent_path, agents_path
from heed.kube.joblists import JobLists
from heed.kube.lastvalid import last_valid, restored
from heed.kube.ledger import StatusLedger
from heed.kube.resync import resync
from heed.kube.runner import JobRunner
from heed.kube.saying import INVALID, Saying, Word, version
from heed.kube.standing import Patience, Standings

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Name = tuple[str, str]
RETRY = 5.0


@dataclass(frozen=True, slots=True)
class _Sight:
    """What of an Agent was seen that its loop depends on. A change of labels makes no new generation."""

    uid: str
    generation: int
    labels: Mapping[str, str]
    version: int = field(compare=False)

    @classmethod
    def of(cls, body: Body) -> "_Sight":
        metadata = body["metadata"]
        labels = dict(metadata.get("labels") or {})
        return cls(metadata["uid"], metadata["generation"], labels, version(body))


@dataclass(slots=True)
class _Running:
    """A generation of an Agent at work."""

    program: Program
    body: Body
    loop: AgentLoop
    runner: JobRunner
    task: asyncio.Task[None]


class Fleet:
    """Starts, restarts and stops the loops of Agents as their objects change."""

    def __init__(
        self,
        api: Api,
        bus: EventBus,
        observer: Observer,
        pace: Pace,
        *,
        guard: Guard | None = None,
        patience: Patience | None = None,
    ) -> None:
        patience = patience or Patience()
        self._api, self._bus, self._pace, self._guard = api, bus, pace, guard or Guard()
        self._saying = Saying(api, self._wanted, patience.between)
        self._standings = Standings(observer, self._saying.look, patience)
        self._words: dict[Name, tuple[AgentRef, Word]] = {}
        self._running: dict[Name, _Running] = {}
        self._seen: dict[Name, _Sight] = {}
        self._latest: dict[Name, Body | None] = {}
        self._reconciling: dict[Name, asyncio.Task[None]] = {}
        self._lists, self._orphans = JobLists(api), set[str]()

    def observe(self, body: Body, *, deleted: bool = False) -> None:
        """An Agent was seen as `body`, or seen to be gone. Returns at once; only the latest sight counts.

        One that is being deleted is gone: its Jobs are going too, and nobody is to react to that.
        """
        deleted = deleted or "deletionTimestamp" in body["metadata"]
        name = (body["metadata"]["namespace"], body["metadata"]["name"])
        sight, before = _Sight.of(body), self._seen.get(name)
        if deleted and before is not None and before.uid != sight.uid:
            return
        if not deleted and before is not None and sight.version < before.version:
            return  # a late sight, of this Agent or of an earlier one of its name
        self._seen[name] = sight
        if not deleted and name in self._words:
            self._saying.hear(_agent(body), body)
        if not deleted and before == sight:
            return
        self._latest[name] = None if deleted else body
        if name not in self._reconciling:
            self._reconciling[name] = asyncio.ensure_future(self._reconcile_latest(name))

    def observe_job(self, job: Body, *, deleted: bool = False) -> None:
        """A Job of one of the Agents was seen. Where its Agent does not run yet, its loop will look for it."""
        running = self._running.get((job["metadata"]["namespace"], jobs.owner_name(job)))
        if running is not None and jobs.owner_uid(job) == running.program.agent.uid:
            running.runner.observe(job, deleted=deleted)

    async def sweep(self, namespace: str | None) -> None:
        """Find Agents and Jobs that vanished while no watch was looking. Raises ApiError."""
        known = list(self._running.values())
        items = await self._api.list(agents_path(namespace), accept=METADATA)
        alive = {item["metadata"]["uid"] for item in items}
        for running in known:
            if running.program.agent.uid not in alive:
                self.observe(running.body, deleted=True)
            elif running.task.done():
                await self._begin_again(running.program.agent)
        runners = {running.program.agent: running.runner for running in self._running.values()}
        self._orphans &= await resync(self._api, namespace, runners)
        await self._keep_up()

    async def _keep_up(self) -> None:
        """See that no quiet Agent's cursor falls off the old end of the stream."""
        with suppress(BusUnavailable, StreamMissing):  # it is looked at again later
            first, last = await self._bus.bounds()
            for running in list(self._running.values()):
                with suppress(ReaderLost):
                    await running.loop.keep_up(first, last)

    async def close(self) -> None:
        """Stop all loops; their ledgers say how to go on."""
        await asyncio.gather(*(stop(task) for task in list(self._reconciling.values())))
        await asyncio.gather(*(self._stop(name) for name in list(self._running)))
        self._standings.close()
        await self._saying.close()
        await self._guard.close()

    async def _begin_again(self, agent: AgentRef) -> None:
        """A loop was told that its Agent is gone, and it is not."""
        try:
            body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        except ApiError as error:
            log.warning("cannot read an agent", extra={"agent": str(agent), "error": str(error)})
            return
        self._seen.pop((agent.namespace, agent.name), None)
        self.observe(body)

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
        except Exception as error:  # also a mistake of ours: an Agent must not stay as it was for ever
            extra = {"agent": "/".join(name), "error": str(error)}
            log.warning("cannot reconcile", extra=extra, exc_info=not isinstance(error, HeedError))
            self._latest.setdefault(name, body)
            await asyncio.sleep(RETRY)

    async def _reconcile(self, name: Name, body: Body) -> None:
        """Run this generation; where it is invalid, say so and let the last valid one go on."""
        if name in self._words and self._words[name][0] != _agent(body):
            await self._leave(name)  # it was another one of that name
        try:
            program = compile_agent(parse_agent(body))
        except InvalidManifest as error:
            await self._reject(name, body, error)
            return
        await self._start(name, body, program)
        self._say(name, body, Word(program.generation, "True", "Subscribed", _subscribed(program)))
        log.info("agent subscribed", extra={"agent": "/".join(name), "generation": program.generation})

    async def _reject(self, name: Name, body: Body, error: InvalidManifest) -> None:
        running = self._running.get(name)
        keep = last_valid(running.body) if running else (body.get("status") or {}).get("lastValidSpec")
        self._say(name, body, Word(body["metadata"]["generation"], "False", INVALID, str(error), keep))
        extra = {"agent": "/".join(name), "problems": [str(problem) for problem in error.problems]}
        log.warning("agent invalid", extra=extra)
        if keep is not None and (running is None or _Sight.of(running.body).labels != _Sight.of(body).labels):
            valid = restored(body, keep)
            try:
                program = compile_agent(parse_agent(valid))
            except InvalidManifest:
                log.warning("last valid spec is not valid to this version", extra={"agent": "/".join(name)})
            else:
                await self._start(name, valid, program)

    def _say(self, name: Name, body: Body, word: Word) -> None:
        agent = _agent(body)
        self._words[name] = (agent, word)
        self._saying.begin(agent, body)

    def _wanted(self, agent: AgentRef) -> Word | None:
        """What is to be said of an Agent, as far as is known now."""
        said_of, word = self._words.get((agent.namespace, agent.name), (None, None))
        return word.under(self._standings.verdict(agent)) if word and said_of == agent else None

    async def _start(self, name: Name, body: Body, program: Program) -> None:
        await self._stop(name)
        runner = JobRunner(self._api, program.agent, self._lists, self._orphans)
        loop = AgentLoop(
            program,
            StatusLedger(self._api, program.agent),
            self._bus,
            runner,
            self._standings,
            since=body["metadata"]["creationTimestamp"],
            pace=self._pace,
            guard=self._guard,
        )
        runner.report, runner.waits = loop.report, loop.waits
        runner.pending = lambda: loop.ledger.pending_tasks if loop.ledger else None
        task = asyncio.create_task(loop.run(), name=f"agent {program.agent}")
        task.add_done_callback(lambda done: _ended(program.agent, done))
        self._running[name] = _Running(program, body, loop, runner, task)
        self._standings.began(program.agent)

    async def _leave(self, name: Name) -> None:
        """An Agent is gone."""
        await self._stop(name)
        if (said := self._words.pop(name, None)) is not None:
            self._standings.forget(said[0])
            await self._saying.forget(said[0])

    async def _stop(self, name: Name) -> None:
        if (running := self._running.pop(name, None)) is not None:
            await stop(running.task)
            running.runner.close()


def _agent(body: Body) -> AgentRef:
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])


def _subscribed(program: Program) -> str:
    patterns = len({item.pattern for item in program.subscriptions})
    return f"{patterns} pattern{'s' if patterns != 1 else ''}, {len(program.reactions)} handlers"


def _ended(agent: AgentRef, task: "asyncio.Task[None]") -> None:
    """A loop ends when its Agent is gone. Anything else is a mistake of ours, and is said aloud."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("agent loop broke", extra={"agent": str(agent)}, exc_info=error)
