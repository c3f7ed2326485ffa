"""Who decides for an Agent: the pool that knows what may be costly, with the answers of workers to handlers in code.

What is decided is a function of the event, the ledger and the answers. An answer counts for the call that it was given
for, digest for digest; where the ledger has become another one meanwhile, there is another call, which is asked again.
"""

from typing import Any, Protocol

from heed.core.compiler.program import Program
from heed.core.decision.code import AnswerMissing, CodeCall, KnownAnswers
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.ports import CodeWorkers
from heed.errors import CodeUnavailable
from heed.sandbox.decision_pool import DecisionPool


class NoWorkers:
    """The CodeWorkers where none can be asked."""

    async def ask(self, agent: object, digest: str, calls: object) -> Any:
        """Raises CodeUnavailable."""
        raise CodeUnavailable("nothing here runs the code of Agents")


class Decider(Protocol):
    """Decides for one generation of an Agent."""

    async def decide(self, ledger: Ledger, received: Received, **more: Any) -> Decision:
        """As `core.decision.decide.decide`. Raises GuardUnavailable, CodeUnavailable: the event is undecided."""


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

    def __init__(self, decider: Decider, program: Program, digest: str, workers: CodeWorkers) -> None:
        self._decider, self._agent, self._digest = decider, program.agent, digest
        self._workers, self._known = workers, KnownAnswers()

    async def decide(self, ledger: Ledger, received: Received, **more: Any) -> Decision:
        """As `AgentDecider.decide`. Raises GuardUnavailable, CodeUnavailable: the event is undecided, try again."""
        while True:
            try:
                return await self._decider.decide(ledger, received, answers=self._known, **more)
            except AnswerMissing as missing:
                await self._ask(missing.call)

    async def _ask(self, call: CodeCall) -> None:
        answers = await self._workers.ask(self._agent, self._digest, [call])
        self._known.add(call, answers[0])
