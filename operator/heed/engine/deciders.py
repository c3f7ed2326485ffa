"""Who decides for an Agent: the pool that knows what may be costly, with the answers of workers to handlers in code.

What is decided is a function of the event, the ledger and the answers. An answer counts for the call that it was given
for, digest for digest; where the ledger has become another one meanwhile, there is another call, which is asked again.
So answers can be asked for ahead of time: a wrong guess costs a request, and nothing else.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Protocol

from heed.api.code import CodeAnswer
from heed.core.codec.canonical_json import canonicalize
from heed.core.compiler.program import Program
from heed.core.decision.code import AnswerMissing, CodeCall, FailedAnswer, KnownAnswers
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.ports import CodeWorkers
from heed.errors import CodeUnavailable
from heed.sandbox.decision_pool import DecisionPool

MAX_AHEAD: Final = 512  # events that are looked at for calls, where the answer to one is missing
MAX_RUN: Final = 64  # calls of one request
MAX_REQUESTS: Final = 64  # of an Agent at once, each of another session: a reply may be as large as a message


class NoWorkers:
    """The CodeWorkers where none can be asked."""

    async def ask(self, agent: object, digest: str, calls: object) -> Any:
        """Raises CodeUnavailable."""
        raise CodeUnavailable("nothing here runs the code of Agents")


class Decider(Protocol):
    """Decides for one generation of an Agent."""

    async def decide(
        self, ledger: Ledger, received: Received, *, coming: Iterable[Received] = (), **more: Any
    ) -> Decision:
        """As `core.decision.decide.decide`. `coming` are the event and those that are decided after it, if known.

        Raises GuardUnavailable, CodeUnavailable: the event is undecided, try again.
        """


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
        self._foreseen = 0  # the sequence of the last event that was looked at

    async def decide(
        self, ledger: Ledger, received: Received, *, coming: Iterable[Received] = (), **more: Any
    ) -> Decision:
        """See Decider."""
        while True:
            try:
                return await self._decider.decide(ledger, received, answers=self._known, **more)
            except AnswerMissing as missing:
                if not await self._foresee(ledger, received, coming):
                    await self._ask([missing.call])

    async def _foresee(self, ledger: Ledger, received: Received, coming: Iterable[Received]) -> bool:
        """Ask for the answers that an event and those after it need, of different sessions at once, if not done before.

        Raises CodeUnavailable where that of the event itself is not to be had. Others are asked for again, in turn.
        """
        looked = list(islice(coming, MAX_AHEAD))
        if not looked or looked[0] is not received or received.sequence <= self._foreseen:
            return False
        runs: dict[str, list[CodeCall]] = {}
        for received in looked:
            try:
                await self._decider.decide(ledger, received, answers=self._known)
            except AnswerMissing as missing:
                session = str(missing.call.variables["session"]["key"])
                if session not in runs and len(runs) == MAX_REQUESTS:
                    break
                runs.setdefault(session, []).append(missing.call)
            self._foreseen = received.sequence
        asking = (self._ask_run(calls) for calls in runs.values())
        failures = await asyncio.gather(*asking, return_exceptions=True)
        for number, failure in enumerate(failures):  # the first is of the event's own session
            if failure is not None and (number == 0 or not isinstance(failure, CodeUnavailable)):
                raise failure
        return True

    async def _ask_run(self, calls: Sequence[CodeCall]) -> None:
        """Ask for a session's calls, as far as one can follow on the other."""
        session = calls[0].variables["session"]
        run = [replace(call, variables={**call.variables, "session": session}) for call in calls[:MAX_RUN]]
        alone = next((index for index, call in enumerate(run) if call.pending), len(run))
        await self._ask(run[: max(1, alone)])

    async def _ask(self, calls: Sequence[CodeCall]) -> None:
        """Ask for calls of one session. Each after the first has the state that the answer before it left."""
        answers = await self._workers.ask(self._agent, self._digest, calls)
        state: Mapping[str, Any] = calls[0].state
        for call, answer in zip(calls, answers, strict=False):
            self._known.add(replace(call, state=state), answer)
            if isinstance(answer, FailedAnswer):
                return
            state = next_state(state, answer)


def next_state(state: Mapping[str, Any], answer: CodeAnswer) -> Mapping[str, Any]:
    """The session's state after an answer, as the next call has it."""
    if answer.hold is not None:
        return state
    if answer.end:
        return {}
    try:
        return state if answer.state is None else canonicalize(answer.state)
    except OverflowError:  # which fails the event
        return state
