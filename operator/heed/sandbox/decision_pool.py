"""The pool of sandboxed workers for costly decisions: what breaks a worker becomes one dead letter.

What `core.compiler` knows to be harmless is decided at once, here. All else goes to a worker, whose memory and CPU time
the kernel limits.
"""

import asyncio
import itertools
import json
import logging
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from heed.core.compiler.program import Program
from heed.core.decision.code import AnswerMissing, CodeCall
from heed.core.decision.decide import Decision, decide
from heed.core.decision.foresight import foresee_call
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.events import MalformedMessage, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed, GuardUnavailable
from heed.sandbox import decision_worker
from heed.sandbox.decision_worker import DecisionRequest
from heed.sandbox.supervisor import Supervisor, WorkerDied, WorkerProcess, WorkerSpec
from heed.sandbox.worker import PLACE, UNKNOWN
from heed.util.clock import loop_time

log = logging.getLogger("heed.guard")
MEMORY_BYTES: Final = 256 * 1024**2  # bytes
CPU_LIMIT_S: Final = 2  # seconds
HUNG_TIMEOUT_S: Final = 120.0  # seconds on the wall for what takes no CPU time
START_TIMEOUT_S: Final = 30.0  # seconds for a worker to be ready
PROBATION_EVENTS: Final = 100  # decisions that an Agent makes apart from others after one that took too much
SLOW_DECISION_S: Final = 0.5  # seconds on the wall that make others wait too long


class _Conversation:
    """One decision asked of a worker: the program's source goes along only where it is asked for."""

    def __init__(self, program: Program, request: DecisionRequest) -> None:
        self._program, self._request = program, request
        self.place: str | None = None  # where the worker is at, and in which handler
        self.handler: str | None = None
        self.took = 0.0  # seconds on the wall

    async def decide(self, worker: WorkerProcess) -> Decision:
        """Raises WorkerDied, AnswerMissing."""
        self.place, self.handler, began = None, None, loop_time()
        known = decision_worker.shared_records(self._request.ledger, self._request.received)
        kind, data = await self._answer(worker, self._request)
        if kind == UNKNOWN:
            source = decision_worker.ProgramSource.of(self._program)
            kind, data = await self._answer(worker, replace(self._request, source=source))
        try:
            decision = decision_worker.unpack_decision(data, known)
        except pickle.UnpicklingError:
            raise WorkerDied(None) from None
        self.took = loop_time() - began
        if isinstance(decision, CodeCall):
            raise AnswerMissing(decision)
        return decision

    async def _answer(self, worker: WorkerProcess, request: DecisionRequest) -> tuple[bytes, bytes]:
        await worker.send(pickle.dumps(request))
        while True:
            kind, data = await worker.receive()
            if kind != PLACE:
                return kind, data
            self.place, self.handler = json.loads(data)

    def ended(self, death: WorkerDied) -> None:
        """A worker died in it."""
        agent, sequence = str(self._program.agent), self._request.received.sequence
        extra = {"agent": agent, "sequence": sequence, "place": self.place, "end": death.named}
        log.warning("a worker ended in mid-decision", extra=extra)


class DecisionPool:
    """Makes costly decisions for all Agents. Starts workers on demand, at most two.

    Agents that took too much lately wait for each other, in a lane apart. `memory` is bytes, `cpu` seconds.
    """

    def __init__(self, memory: int = MEMORY_BYTES, cpu: float = CPU_LIMIT_S) -> None:
        self.memory, self.cpu = memory, cpu
        spec = WorkerSpec(
            module="heed.sandbox.decision_worker",
            memory=memory,
            cpu=cpu,
            start_s=START_TIMEOUT_S,
            answer_s=HUNG_TIMEOUT_S,
            unavailable=GuardUnavailable,
        )
        self._common, self._apart = Supervisor(spec), Supervisor(spec)
        self._probation: dict[str, int] = {}
        self._numbers = itertools.count()

    def of(self, program: Program) -> "AgentDecider":
        """The decider for one generation of an Agent."""
        return AgentDecider(self, program, next(self._numbers))

    @property
    def pids(self) -> list[int]:
        """The pids of running workers."""
        return [pid for lane in (self._common, self._apart) if (pid := lane.pid) is not None]

    async def close(self) -> None:
        """End the workers. Pending decisions raise GuardUnavailable."""
        lanes = (self._common, self._apart)
        await asyncio.gather(*(lane.close("no more decisions are made here") for lane in lanes))

    async def decide(self, program: Program, request: DecisionRequest) -> Decision:
        """A worker's decision, or a dead letter where the event is to blame for its end. Raises GuardUnavailable."""
        uid, conversation = program.agent.uid, _Conversation(program, request)
        lane = self._apart if uid in self._probation else self._common
        try:
            decision = await lane.ask(conversation.decide, conversation.ended)
        except WorkerDied as death:
            self._probation[uid] = PROBATION_EVENTS
            return self._condemned(program, request, conversation, death)
        self._judge(uid, conversation.took)
        return decision

    def _judge(self, uid: str, took: float) -> None:
        if took > SLOW_DECISION_S:
            self._probation[uid] = PROBATION_EVENTS
        elif (left := self._probation.get(uid)) is not None:
            self._probation[uid] = left - 1
            if left <= 1:
                del self._probation[uid]

    def _condemned(
        self, program: Program, request: DecisionRequest, conversation: _Conversation, death: WorkerDied
    ) -> Decision:
        what = (
            f"took more than {self.cpu:g} s of CPU time"
            if death.of_cpu_time
            else f"ended two processes ({death.named})"
        )
        remedy = "work on less data, pass references, or shorten the expressions"
        verdict = DecisionFailed(
            "TooCostly", f"{conversation.place or 'deciding it'}: {what}; {remedy}", conversation.handler
        )
        subscriptions = tuple(replace(item, where=None) for item in program.subscriptions)
        program = replace(program, subscriptions=subscriptions, key=None, verdict=verdict)
        return decide(program, request.ledger, request.received, **request.more)


class AgentDecider:
    """Decides for one generation of an Agent."""

    def __init__(self, guard: DecisionPool, program: Program, number: int) -> None:
        self._guard, self._program, self._number = guard, program, number
        self._careful = replace(program, careful=True)
        self._costly: int | None = None  # the sequence of the event that was last found to be

    async def decide(
        self, ledger: Ledger, received: Received, *, coming: Sequence[Received] = (), **more: Any
    ) -> Decision:
        """As `core.decision.decide.decide`, with the same keyword arguments; elsewhere where it may be costly.

        It makes no use of what is coming. Whether an event may be costly is asked once of it, however often it is
        decided while its batch finds room. Raises GuardUnavailable, and CodeUnavailable as `decide` does: the event is
        undecided, try again.
        """
        if received.sequence != self._costly:
            if (decision := self.at_once(ledger, received, **more)) is not None:
                return decision
            self._costly = received.sequence
        agent, generation = self._program.agent, self._program.generation
        request = DecisionRequest(self._number, agent, generation, None, ledger, received, more)
        return await self._guard.decide(self._program, request)

    def stop(self) -> None:
        """Nothing was asked for ahead of time."""

    async def foresee(self, ledger: Ledger, received: Received) -> CodeCall | None:
        """The first call of code that an event makes if it is decided on this ledger; None where it makes none.

        Raises GuardUnavailable.
        """
        if self._opens_harmless(received):
            try:
                return foresee_call(self._careful, ledger, received)
            except DecisionFailed as failure:
                if failure.code != NEEDS_GUARD:
                    return None
        try:
            await self.decide(ledger, received)
        except AnswerMissing as missing:
            return missing.call
        return None

    def at_once(self, ledger: Ledger, received: Received, **more: Any) -> Decision | None:
        """The same, if it is known to be harmless; None where it may be costly."""
        if not self._opens_harmless(received):
            return None
        decision = decide(self._careful, ledger, received, **more)
        return None if decision.letter is not None and decision.letter.code == NEEDS_GUARD else decision

    def _opens_harmless(self, received: Received) -> bool:
        """Whether the expressions that come before handlers are harmless."""
        event, opening = received.event, self._program.opening
        if isinstance(event, MalformedMessage) or opening.is_none:
            return True
        return opening.allows(event.data, dict(event.extensions), dict(self._program.labels))
