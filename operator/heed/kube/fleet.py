"""All Agents of the cluster: which generation of each runs here, and what its conditions say of it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed import names
from heed.api.conditions import MAX_MESSAGE, READY, Condition, with_condition
from heed.api.parsing import parse_agent
from heed.core.effects import AgentRef
from heed.core.program import Program, compile_agent
from heed.engine.loop import AgentLoop
from heed.engine.observers import Observer
from heed.engine.pacing import Pace
from heed.engine.performing import now
from heed.engine.ports import EventBus
from heed.engine.stopping import stop
from heed.errors import HeedError, InvalidManifest, TaskUnavailable
from heed.kube.api import METADATA, Api, ApiError, agent_path, agents_path
from heed.kube.jobs import owner_uid
from heed.kube.lastvalid import last_valid, restored
from heed.kube.ledger import StatusLedger
from heed.kube.runner import JobRunner

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Name = tuple[str, str]
RETRY = 5.0


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

    def __init__(self, api: Api, bus: EventBus, observer: Observer, pace: Pace) -> None:
        self._api, self._bus, self._observer, self._pace = api, bus, observer, pace
        self._running: dict[Name, _Running] = {}
        self._seen: dict[Name, tuple[str, int]] = {}
        self._latest: dict[Name, Body | None] = {}
        self._reconciling: dict[Name, asyncio.Task[None]] = {}

    def observe(self, body: Body, *, deleted: bool = False) -> None:
        """An Agent was seen as `body`, or seen to be gone. Returns at once; only the latest sight counts.

        One that is being deleted is gone: its Jobs are going too, and nobody is to react to that.
        """
        deleted = deleted or "deletionTimestamp" in body["metadata"]
        name = (body["metadata"]["namespace"], body["metadata"]["name"])
        identity = (body["metadata"]["uid"], body["metadata"]["generation"])
        if not deleted and self._seen.get(name) == identity:
            return
        if deleted and self._seen.get(name, identity)[0] != identity[0]:
            return
        self._seen[name] = identity
        self._latest[name] = None if deleted else body
        if name not in self._reconciling:
            self._reconciling[name] = asyncio.ensure_future(self._reconcile_latest(name))

    def observe_job(self, job: Body, *, deleted: bool = False) -> None:
        """A Job of one of the Agents was seen. Where its Agent does not run yet, its loop will look for it."""
        name = (job["metadata"]["namespace"], job["metadata"]["labels"].get(names.LABEL_AGENT, ""))
        running = self._running.get(name)
        if running is not None and owner_uid(job) == running.program.agent.uid:
            running.runner.observe(job, deleted=deleted)

    async def sweep(self, namespace: str | None) -> None:
        """Find Agents and Jobs that vanished while no watch was looking. Raises ApiError."""
        known = set(self._running)
        items = await self._api.list(agents_path(namespace), accept=METADATA)
        alive = {item["metadata"]["uid"] for item in items}
        for name in known:
            running = self._running.get(name)
            if running is None:
                continue
            if running.program.agent.uid not in alive:
                self.observe(running.body, deleted=True)
                continue
            try:
                await running.loop.resync()
            except TaskUnavailable as error:
                log.warning("cannot list jobs", extra={"agent": "/".join(name), "error": str(error)})

    async def close(self) -> None:
        """Stop all loops; their ledgers say how to go on."""
        await asyncio.gather(*(stop(task) for task in list(self._reconciling.values())))
        await asyncio.gather(*(self._stop(name) for name in list(self._running)))

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
            await self._stop(name)
            if name not in self._latest:  # else another one of that name has been seen meanwhile
                self._seen.pop(name, None)
        except Exception as error:  # also a mistake of ours: an Agent must not stay as it was for ever
            if isinstance(error, ApiError) and error.status == 404:
                return
            extra = {"agent": "/".join(name), "error": str(error)}
            log.warning("cannot reconcile", extra=extra, exc_info=not isinstance(error, HeedError))
            self._latest.setdefault(name, body)
            await asyncio.sleep(RETRY)

    async def _reconcile(self, name: Name, body: Body) -> None:
        """Run this generation; where it is invalid, say so and let the last valid one go on."""
        try:
            program = compile_agent(parse_agent(body))
        except InvalidManifest as error:
            await self._reject(name, body, error)
            return
        await self._say(body, "True", "Subscribed", _subscribed(program), last_valid_spec=None)
        await self._start(name, body, program)
        log.info("agent subscribed", extra={"agent": "/".join(name), "generation": program.generation})

    async def _reject(self, name: Name, body: Body, error: InvalidManifest) -> None:
        running = self._running.get(name)
        if running is not None and running.program.agent.uid != body["metadata"]["uid"]:
            await self._stop(name)
            running = None
        keep = last_valid(running.body) if running else (body.get("status") or {}).get("lastValidSpec")
        await self._say(body, "False", "Invalid", str(error), last_valid_spec=keep)
        extra = {"agent": "/".join(name), "problems": [str(problem) for problem in error.problems]}
        log.warning("agent invalid", extra=extra)
        if running is None and keep is not None:
            valid = restored(body, keep)
            try:
                program = compile_agent(parse_agent(valid))
            except InvalidManifest:
                log.warning("last valid spec is not valid to this version", extra={"agent": "/".join(name)})
            else:
                await self._start(name, valid, program)

    async def _start(self, name: Name, body: Body, program: Program) -> None:
        await self._stop(name)
        runner = JobRunner(self._api, program.agent)
        loop = AgentLoop(
            program,
            StatusLedger(self._api, program.agent),
            self._bus,
            runner,
            self._observer,
            since=body["metadata"]["creationTimestamp"],
            pace=self._pace,
        )
        runner.report, runner.waits = loop.report, loop.waits
        task = asyncio.create_task(loop.run(), name=f"agent {program.agent}")
        task.add_done_callback(lambda done: _ended(program.agent, done))
        self._running[name] = _Running(program, body, loop, runner, task)

    async def _stop(self, name: Name) -> None:
        if (running := self._running.pop(name, None)) is not None:
            await stop(running.task)
            running.runner.close()

    async def _say(
        self, body: Body, status: Any, reason: str, message: str, *, last_valid_spec: str | None
    ) -> None:
        """Write the reconciler's part of the status, where it says something new."""
        metadata, old = body["metadata"], body.get("status") or {}
        condition = Condition(
            type=READY,
            status=status,
            reason=reason,
            message=message[:MAX_MESSAGE],
            last_transition_time=now()[:19] + "Z",
            observed_generation=metadata["generation"],
        )
        new: dict[str, Any] = {
            "observedGeneration": metadata["generation"],
            "conditions": with_condition(old.get("conditions") or [], condition),
            "lastValidSpec": last_valid_spec,
        }
        if any(old.get(key) != value for key, value in new.items()):
            patch = {"metadata": {"uid": metadata["uid"]}, "status": new}
            await self._api.merge(agent_path(metadata["namespace"], metadata["name"], "status"), patch)


def _subscribed(program: Program) -> str:
    patterns = len({item.pattern for item in program.subscriptions})
    return f"{patterns} pattern{'s' if patterns != 1 else ''}, {len(program.reactions)} handlers"


def _ended(agent: AgentRef, task: "asyncio.Task[None]") -> None:
    """A loop ends when its Agent is gone. Anything else is a mistake of ours, and is said aloud."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("agent loop broke", extra={"agent": str(agent)}, exc_info=error)
