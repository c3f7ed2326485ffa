"""The storm: everything goes wrong at once, round after round; then it is quiet, and the model has to hold.

A round is the life of one operator; the next begins when it is dead. All the while publishers publish, pods are played,
people meddle, servers die and wires break. What happens and when comes from the seed; who comes first, where two things
happen at the same time, is chance.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.waiting import eventually
from tests.faults.aftermath import at_rest, judged
from tests.faults.approvers import Approvers
from tests.faults.call_service import CallService, serving_calls
from tests.faults.callers import Callers
from tests.faults.controllers import Controllers
from tests.faults.crew import Crew
from tests.faults.crew_plan import crew_plan, last_troubles
from tests.faults.parts import Parts, assembled
from tests.faults.people import Person, Player, persistently
from tests.faults.plan import RANDOM, Death, Size, Trouble, plan
from tests.faults.publishing import Publishers
from tests.faults.report import Report, own_deaths, recoveries
from tests.faults.script import script
from tests.patience import PATIENCE

PUBLISHERS = 4
LIFE = 5.0  # seconds that an operator lives, about; events are spread over its life
GRACE = 8.0  # seconds that an operator may take to come to its point, once it is armed
READY = 120.0
QUIET, SHORT_QUIET = 240.0, 75.0  # seconds until nothing goes on any more; a mutant may never come to rest
ENDED = "ended by itself"
TURN = 0.02

Say = Callable[[str], None]


async def storm(seed: int, size: Size, folder: Path, say: Say, mutant: str | None = None) -> Report:
    """The whole story, and what came of it; a mutant is an operator to be found out. Raises Unavailable."""
    clock = Clock()
    async with assembled(folder, seed, say) as parts, serving_calls(seed) as service:
        if mutant is not None:
            parts.operator.environment["HEED_BROKEN"] = mutant
        storm = Storm(parts, service, seed, size, folder, say)
        await storm.begin()
        async with at_work(
            storm.publishers.run(),
            storm.player.run(),
            storm.approvers.run(),
            storm.controllers.run(),
            storm.crew.run(),
            storm.callers.run(),
        ):
            clock.next("to assemble")
            await storm.rage()
            clock.next("storm")
            say("calm: waiting until all is quiet")
            await storm.calm()
            there, restless = await at_rest(parts, storm.person, QUIET if mutant is None else SHORT_QUIET)
            clock.next("until quiet")
        findings, outcome = await judged(parts, there, storm.person, storm.crew, service.served)
        clock.next("to judge")
    report = storm.report([*restless, *findings, *storm.approvers.forgeries], outcome)
    report.seconds = clock.laps
    return report


class Storm:
    """What goes on and what goes wrong, over running parts."""

    def __init__(
        self, parts: Parts, service: CallService, seed: int, size: Size, folder: Path, say: Say
    ) -> None:
        self.parts, self.service, self.seed, self.size, self.say = parts, service, seed, size, say
        self.person = Person(parts.plane.admin, seed)
        self.player = Player(parts.plane.admin, seed)
        self.approvers = Approvers(parts.plane.admin, parts.people, seed)
        self.controllers = Controllers(parts.plane.admin, seed)
        wire = f"nats://127.0.0.1:{parts.worker_wire.port}"
        self.crew = Crew(parts.plane.admin, wire, folder, seed)
        self.callers = Callers(parts.plane.admin, wire, folder, seed)
        rate = size.events / (size.kills * LIFE)
        self.publishers = Publishers(parts.nats.url, script(seed, size.events), PUBLISHERS, rate)
        self._killed: list[tuple[str, float]] = []  # by us, and when
        self._missed: list[Death] = []
        self._findings: list[str] = []
        self._restarts: Counter[str] = Counter()
        self._disturbances: list[tuple[float, float]] = []
        self._locks = {"broker": asyncio.Lock(), "apiserver": asyncio.Lock()}

    async def begin(self) -> None:
        """A first operator makes the streams and meets the Agents; nobody harms it."""
        operator = self.parts.operator
        operator.start_doomed(None)
        await asyncio.to_thread(eventually, operator.is_ready, READY, "a ready operator")
        await asyncio.to_thread(self.person.create_agents)
        await asyncio.to_thread(self.crew.sign_on)
        await asyncio.to_thread(self.callers.sign_on, self.service.port)
        operator.stop()
        self.parts.api_proxy.rate = self.size.errors
        self.parts.api_proxy.refuses_existing = True

    async def rage(self) -> None:
        """All rounds. A point that no operator came to takes the place of a later death at random, or comes last."""
        rounds = plan(self.seed, self.size)
        of_workers = crew_plan(self.seed, len(rounds))
        async with asyncio.TaskGroup() as troubles:
            for number, round_ in enumerate(rounds, 1):
                self.publishers.release(self.size.events * number // len(rounds))
                for trouble in (*round_.troubles, *of_workers[number - 1]):
                    troubles.create_task(self._trouble(trouble))
                death = self._missed.pop(0) if round_.death.point == RANDOM and self._missed else round_.death
                self.say(f"{number}/{len(rounds)}  {death}  ({'; '.join(map(str, round_.troubles))})")
                await self._live(death)
        missed, self._missed = self._missed, []
        for death in missed:
            self.say(f"once more  {death}")
            await self._live(death)

    async def calm(self) -> None:
        """All is published, and an operator runs that nobody kills; in the end its workers live, too."""
        self.parts.api_proxy.rate = 0.0
        for wire in (self.parts.api_wire, self.parts.nats_wire, self.parts.worker_wire):
            await wire.heal()
        self.parts.operator.start_doomed(None)
        self.publishers.hurry()
        async with asyncio.TaskGroup() as troubles:
            for trouble in last_troubles(self.seed):
                troubles.create_task(self._trouble(trouble))
        self.crew.calm()
        self.callers.calm()
        self.service.troubled = False
        await until(lambda: self.publishers.done, PATIENCE)

    async def _live(self, death: Death) -> None:
        """One life: it dies where it is to die, or is killed."""
        operator = self.parts.operator
        operator.start_doomed(death)
        with suppress(TimeoutError):
            await until(operator.has_ended, death.after + (0 if death.point == RANDOM else GRACE))
        over = operator.has_ended()
        code = operator.stop(signal.SIGKILL)
        if not over:
            self._killed.append((RANDOM, time.time()))
            if death.point != RANDOM:
                self._missed.append(death)
        elif code != -signal.SIGKILL:  # nothing that happens here is a reason to
            self._killed.append((ENDED, time.time()))
            self._findings.append(f"the operator ended by itself with {code}: {operator.tail(300)}")

    async def _trouble(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.after)
        match trouble.kind.split():
            case ["broker" | "apiserver" as server, how]:
                await self._restart(server, how, trouble.lasts)
            case ["nats" | "api" | "workers" as whose, fault]:
                await self._break_wire(whose, fault, trouble.lasts)
            case ["worker", *how]:
                await self.crew.suffer(how, trouble.lasts)
            case ["watches", _]:
                self.parts.api_proxy.cut_watches()
            case ["job", _]:
                await _once(self.person.delete_job)
            case ["pod", _]:
                await _once(self.person.delete_pod)
            case ["agent", "edited"]:
                await persistently(self.person.edit_agent)
            case ["agent", "suspended"]:
                await self.person.suspend_agent(trouble.lasts)
            case ["agent", "recreated"]:
                await self.person.recreate_agent(trouble.lasts)
            case _:
                raise AssertionError(f"no such trouble: {trouble}")

    async def _restart(self, server: str, how: str, pause: float) -> None:
        plane, nats = self.parts.plane, self.parts.nats
        ends = {
            ("broker", "killed"): nats.kill,
            ("broker", "stopped"): nats.stop,
            ("apiserver", "killed"): plane.kill_apiserver,
            ("apiserver", "stopped"): plane.stop_apiserver,
        }
        starts: dict[str, Callable[[], object]] = {"broker": nats.start, "apiserver": plane.return_apiserver}
        async with self._locks[server]:
            began = time.time()
            await asyncio.to_thread(ends[server, how])
            await asyncio.sleep(pause)
            await asyncio.to_thread(starts[server])
            self._disturbances.append((began, time.time()))
        self._restarts[f"{server} {how}"] += 1

    async def _break_wire(self, whose: str, fault: str, lasts: float) -> None:
        parts = self.parts
        wire = {"nats": parts.nats_wire, "api": parts.api_wire, "workers": parts.worker_wire}[whose]
        began = time.time()
        if fault == "delay":
            wire.slow_down(lasts / 10)
        else:
            {"cut": wire.cut, "reset": wire.reset, "refuse": wire.refuse, "swallow": wire.swallow}[fault]()
        if lasts:
            await asyncio.sleep(lasts)
            await wire.heal()
        self._disturbances.append((began, time.time()))

    def report(self, findings: list[str], outcome: dict[str, int]) -> Report:
        """All figures."""
        passed = self.parts.operator.passed.read_text()
        proxy, person = self.parts.api_proxy, self.person
        return Report(
            seed=self.seed,
            events=self.size.events,
            kills=recoveries([*self._killed, *own_deaths(passed)], passed, self._disturbances),
            missed=[str(death) for death in self._missed],
            restarts=dict(self._restarts),
            api={
                "requests": proxy.requests,
                **dict(sorted(proxy.errors.items())),
                "watches cut": proxy.watches_cut,
            },
            wires={
                f"{name} {fault}": count
                for name, wire in (
                    ("nats", self.parts.nats_wire),
                    ("api", self.parts.api_wire),
                    ("workers", self.parts.worker_wire),
                )
                for fault, count in sorted(wire.faults.items())
            },
            deletions=[asdict(deletion) for deletion in person.deletions],
            people={
                "pods played": self.player.played,
                "widgets played": self.controllers.played,
                "widgets deleted": self.controllers.deleted,
                "answers given": self.approvers.given,
                "answers forged, and refused": self.approvers.refused,
                **Counter(f"{deletion.kind}s deleted" for deletion in person.deletions),
                "agents edited": person.edits,
                "agents recreated": person.recreations,
                "agents suspended": person.suspensions,
            },
            workers={**self.crew.report, **self.callers.figures, **self.service.figures},
            outcome={"messages published": self.publishers.published, **outcome},
            findings=[*self._findings, *person.findings, *findings],
        )


class Clock:
    """How long each part took, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._began = time.monotonic()

    def next(self, name: str) -> None:
        """This part is over."""
        now = time.monotonic()
        self.laps[name], self._began = now - self._began, now


@asynccontextmanager
async def at_work(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have these going on meanwhile; what breaks one of them breaks everything."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(item) for item in work]
        yield
        for task in tasks:
            task.cancel()


async def until(holds: Callable[[], bool], patience: float) -> None:
    """Wait until it holds; TimeoutError after so many seconds."""
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110, processes and other threads set no events
            await asyncio.sleep(TURN)


async def _once(act: Callable[[], None]) -> None:
    """Where the API server is away, it is not done."""
    with suppress(ApiError, OSError):
        await asyncio.to_thread(act)
