"""Costly decisions are made in a process of their own: what breaks it is one dead letter, and the others go on.

What `core.cost` knows to be harmless is decided at once, here. All else goes to a worker, whose memory and CPU time the
kernel limits. CPU time, and not time on the wall, so that a verdict does not depend on what else the machine does. A
worker that dies otherwise may have been killed by somebody: only a second one that dies of the same event is its fault.
"""

import asyncio
import itertools
import json
import logging
import os
import pickle
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import heed
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.events import MalformedMessage, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed, GuardUnavailable
from heed.sandbox import decision_worker
from heed.sandbox.decision_worker import Request
from heed.util.clock import loop_time

log = logging.getLogger("heed.guard")
MEMORY: Final = 256 * 1024**2  # bytes
CPU: Final = 2  # seconds
HUNG: Final = 120.0  # seconds on the wall for what takes no CPU time
START: Final = 30.0  # seconds for a worker to be ready
PROBATION: Final = 100  # decisions that an Agent makes apart from others after one that took too much
SLOW: Final = 0.5  # seconds on the wall that make others wait too long


class _Died(Exception):
    """A worker is gone. `code` as a process' return code; `place` and `handler` are what it was at."""

    def __init__(self, code: int | None, place: str | None, handler: str | None) -> None:
        super().__init__(f"the worker ended with {code}")
        self.code, self.place, self.handler = code, place, handler


class _Worker:
    """A running worker. It is used by one decision at a time, and never again after it failed one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._place: tuple[str | None, str | None] = None, None
        self.usable = True

    @classmethod
    async def started(cls, memory: int, cpu: float) -> "_Worker":
        """A worker that is ready. Raises GuardUnavailable."""
        argv = [sys.executable, "-P", "-m", "heed.sandbox.decision_worker", str(memory), str(cpu)]
        path = str(Path(heed.__file__).parent.parent)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.defpath, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                process_group=0,
            )
        except OSError as error:
            raise GuardUnavailable(f"cannot start a worker: {error}") from None
        worker = cls(process)
        try:
            async with asyncio.timeout(START):
                await worker._frame()
        except (_Died, TimeoutError) as error:
            await worker.end()
            raise GuardUnavailable(f"a worker was not ready: {str(error) or 'it took too long'}") from None
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def decide(self, request: Request, program: Program) -> Decision:
        """Raises _Died, also for a worker that hangs: it is ended then."""
        self._place = None, None
        known = decision_worker.landmarks(request.ledger, request.received)
        try:
            async with asyncio.timeout(HUNG):
                await self._send(request)
                kind, data = await self._answer()
                if kind == decision_worker.UNKNOWN:
                    await self._send(replace(request, source=decision_worker.Source.of(program)))
                    kind, data = await self._answer()
                decision = decision_worker.unpacked(data, known)
        except (TimeoutError, pickle.UnpicklingError):
            await self.end()
            raise _Died(None, *self._place) from None
        except BaseException:
            await self.end()
            raise
        if kind == decision_worker.LAST:
            await self.end()
        return decision

    async def end(self) -> None:
        """It is gone after this."""
        self.usable = False
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.shield(asyncio.create_task(self._gone()))

    async def _gone(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with suppress(RuntimeError):  # a decision is being waited for: it will read to the end
            await self._process.stdout.read()
        await self._process.wait()

    async def _send(self, request: Request) -> None:
        assert self._process.stdin is not None
        data = pickle.dumps(request)
        self._process.stdin.write(decision_worker.LENGTH.pack(len(data)) + data)
        with suppress(ConnectionError):  # how it ended says the reading
            await self._process.stdin.drain()

    async def _answer(self) -> tuple[bytes, bytes]:
        while True:
            kind, data = await self._frame()
            if kind != decision_worker.PLACE:
                return kind, data
            path, handler = json.loads(data)
            self._place = path, handler

    async def _frame(self) -> tuple[bytes, bytes]:
        assert self._process.stdout is not None
        try:
            head = await self._process.stdout.readexactly(decision_worker.LENGTH.size)
            data = await self._process.stdout.readexactly(decision_worker.LENGTH.unpack(head)[0])
        except asyncio.IncompleteReadError:
            raise _Died(await self._process.wait(), *self._place) from None
        return data[:1], data[1:]


class _Lane:
    """One worker, and who waits for it."""

    def __init__(self) -> None:
        self.free = asyncio.Lock()
        self.worker: _Worker | None = None


class Guard:
    """Makes costly decisions for all Agents. Starts no process before the first one, and keeps two at most.

    Agents that took too much lately wait for each other, in a lane apart. `memory` is bytes, `cpu` seconds.
    """

    def __init__(self, memory: int = MEMORY, cpu: float = CPU) -> None:
        self.memory, self.cpu = memory, cpu
        self._common, self._apart = _Lane(), _Lane()
        self._probation: dict[str, int] = {}
        self._numbers = itertools.count()
        self._closed = False

    def of(self, program: Program) -> "Guarded":
        """What decides for one generation of an Agent."""
        return Guarded(self, program, next(self._numbers))

    @property
    def pids(self) -> list[int]:
        """The processes that there are now."""
        workers = [lane.worker for lane in (self._common, self._apart)]
        return [worker.pid for worker in workers if worker is not None and worker.usable]

    async def close(self) -> None:
        """End the processes. Whoever still waits for a decision gets GuardUnavailable."""
        self._closed = True
        for lane in (self._common, self._apart):
            if lane.worker is not None:
                await lane.worker.end()
                lane.worker = None

    async def decide(self, program: Program, request: Request) -> Decision:
        """A decision from a worker, or the dead letter that comes of there being none. Raises GuardUnavailable."""
        uid = program.agent.uid
        async with (lane := self._apart if uid in self._probation else self._common).free:
            for last in (False, True):
                worker = await self._worker(lane)
                began = loop_time()
                try:
                    decision = await worker.decide(request, program)
                except _Died as death:
                    self._say(program, request.received, death)
                    if last or death.code == -signal.SIGPROF:
                        self._probation[uid] = PROBATION
                        return self._condemned(program, request, death)
                else:
                    self._judge(uid, loop_time() - began)
                    return decision
        raise AssertionError("unreachable")

    async def _worker(self, lane: _Lane) -> _Worker:
        if self._closed:
            raise GuardUnavailable("no more decisions are made here")
        if lane.worker is None or not lane.worker.usable:
            lane.worker = None
            lane.worker = await _Worker.started(self.memory, self.cpu)
        return lane.worker

    def _judge(self, uid: str, took: float) -> None:
        if took > SLOW:
            self._probation[uid] = PROBATION
        elif (left := self._probation.get(uid)) is not None:
            self._probation[uid] = left - 1
            if left <= 1:
                del self._probation[uid]

    def _condemned(self, program: Program, request: Request, death: _Died) -> Decision:
        what = (
            f"took more than {self.cpu:g} s of CPU time"
            if death.code == -signal.SIGPROF
            else f"ended two processes ({_named(death.code)})"
        )
        remedy = "work on less data, pass references, or shorten the expressions"
        verdict = DecisionFailed(
            "TooCostly", f"{death.place or 'deciding it'}: {what}; {remedy}", death.handler
        )
        subscriptions = tuple(replace(item, where=None) for item in program.subscriptions)
        program = replace(program, subscriptions=subscriptions, key=None, verdict=verdict)
        return decide(program, request.ledger, request.received, **request.more)

    def _say(self, program: Program, received: Received, death: _Died) -> None:
        extra = {"agent": str(program.agent), "sequence": received.sequence, "place": death.place}
        log.warning("a worker ended in mid-decision", extra=extra | {"end": _named(death.code)})


def _named(code: int | None) -> str:
    if code is None:
        return "it hung"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Guarded:
    """Decides for one generation of an Agent."""

    def __init__(self, guard: Guard, program: Program, number: int) -> None:
        self._guard, self._program, self._number = guard, program, number
        self._careful = replace(program, careful=True)
        self._costly: int | None = None  # the sequence of the event that was last found to be

    async def decide(self, ledger: Ledger, received: Received, **more: Any) -> Decision:
        """As `core.decide.decide`, with the same keyword arguments; elsewhere where it may be costly.

        Whether it may be is asked once of an event, however often that is decided while its batch finds room. Raises
        GuardUnavailable: the event is undecided, try again.
        """
        if received.sequence != self._costly:
            if (decision := self.at_once(ledger, received, **more)) is not None:
                return decision
            self._costly = received.sequence
        agent, generation = self._program.agent, self._program.generation
        request = Request(self._number, agent, generation, None, ledger, received, more)
        return await self._guard.decide(self._program, request)

    def at_once(self, ledger: Ledger, received: Received, **more: Any) -> Decision | None:
        """The same, if it is known to be harmless; None where it may be costly."""
        event, opening = received.event, self._program.opening
        if not (isinstance(event, MalformedMessage) or opening.is_none):
            if not opening.allows(event.data, dict(event.extensions), dict(self._program.labels)):
                return None
        decision = decide(self._careful, ledger, received, **more)
        return None if decision.letter is not None and decision.letter.code == NEEDS_GUARD else decision
