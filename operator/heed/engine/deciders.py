"""Who decides for an Agent: the pool that knows what may be costly, with the answers of workers to handlers in code.

What is decided is a function of the event, the ledger and the answers. An answer counts for the call that it was given
for, digest for digest; where the ledger has become another one meanwhile, there is another call, which is asked again.
So answers can be asked for ahead of time: a wrong guess costs a request, and nothing else.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, Protocol

from heed.core.compiler.program import Program
from heed.core.decision.code import AnswerMissing, KnownAnswers
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.look_ahead import LookAhead
from heed.engine.ports import CodeWorkers
from heed.errors import CodeUnavailable
from heed.sandbox.decision_pool import AgentDecider, DecisionPool
from heed.util.cpu_turns import turns

MAX_AHEAD: Final = 1024  # events that are looked at for calls before they are decided
MIN_AHEAD: Final = 384  # fewer of which are refilled: while a worker answers for some, others are decided
LOOK_TURN: Final = 32  # events that are looked at in a turn of the CPU


class NoWorkers:
    """The CodeWorkers where none can be asked."""

    async def ask(self, agent: object, digest: str, calls: object) -> Any:
        """Raises CodeUnavailable."""
        raise CodeUnavailable("nothing here runs the code of Agents")


class Decider(Protocol):
    """Decides for one generation of an Agent."""

    async def decide(
        self, ledger: Ledger, received: Received, *, coming: Sequence[Received] = (), **more: Any
    ) -> Decision:
        """As `core.decision.decide.decide`. `coming` are the event and those that are decided after it, if known.

        Raises GuardUnavailable, CodeUnavailable, AnswerLate: the event is undecided, try again.
        """

    def stop(self) -> None:
        """Wait for nothing that was asked for ahead of time: the events that come are others."""


class Deciders:
    """Makes deciders for all Agents of a process. Without `workers`, events of Agents in code wait."""

    def __init__(self, pool: DecisionPool | None = None, workers: CodeWorkers | None = None) -> None:
        self.pool, self._workers = pool or DecisionPool(), workers or NoWorkers()

    def of(self, program: Program) -> Decider:
        """The decider for one generation of an Agent."""
        decider = self.pool.of(program)
        return decider if program.code is None else CodeDecider(decider, program, program.code, self._workers)

    async def close(self) -> None:
        """End the pool's processes. Pending decisions raise GuardUnavailable."""
        await self.pool.close()


class CodeDecider:
    """Decides as the AgentDecider does, with the answers of the Agent's code."""

    def __init__(self, decider: AgentDecider, program: Program, digest: str, workers: CodeWorkers) -> None:
        self._decider, self._known = decider, KnownAnswers()
        self._ahead = LookAhead(workers, program.agent, digest, self._known)
        self._head = 0  # the sequence of the event that is decided
        self._looked = 0  # events from that one on that were looked at
        self._looking = False

    async def decide(
        self, ledger: Ledger, received: Received, *, coming: Sequence[Received] = (), **more: Any
    ) -> Decision:
        """See Decider."""
        if coming and coming[0] is received:
            self._go_on_to(received.sequence)
            await self._look(ledger, coming)
        while True:
            await self._ahead.await_asked(received.sequence)
            try:
                return await self._decider.decide(ledger, received, answers=self._known, **more)
            except AnswerMissing as missing:
                if not (self._looking and coming):
                    await self._ahead.ask_for(received, missing.call)
            while self._looking and coming:
                await turns().take()
                await self._look(ledger, coming)

    def stop(self) -> None:
        """See Decider."""
        self._ahead.stop()
        self._head, self._looked, self._looking = 0, 0, False

    def _go_on_to(self, sequence: int) -> None:
        if sequence > self._head:
            self._head, self._looked = sequence, max(0, self._looked - 1)
            self._ahead.pass_decided(sequence)

    async def _look(self, ledger: Ledger, coming: Sequence[Received]) -> None:
        """Look at some of the events that come, and once enough of them were looked at, ask for their answers.

        Nothing is asked for ahead of time where workers do not answer.
        """
        if self._ahead.doubtful:
            self._looking = False
            return
        if self._looked < MIN_AHEAD and self._looked < len(coming):
            self._looking = True
        if self._looking:
            for received in list(islice(coming, self._looked, min(MAX_AHEAD, self._looked + LOOK_TURN))):
                if (call := await self._decider.foresee(ledger, received)) is not None:
                    self._ahead.add(received, call)
                self._looked += 1
            self._looking = self._looked < min(MAX_AHEAD, len(coming))
        if not self._looking:
            self._ahead.ask()
