"""An Agent in Python that counts, workers of it in this process, and what a loop makes of events for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heed.api.code import CodeAnswer
from heed.core.compiler.program import Program
from heed.core.decision.code import CodeCall, FailedAnswer
from heed.core.decision.decide import Decision, decide
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.deciders import Deciders
from heed.engine.session_run import MAX_RUN
from heed.errors import DecisionFailed
from heed.sdk import Agent, CodeError, Event, State, emit, end, hold
from heed.sdk.in_process import answers_of, compile_code
from tests.builders.agents import NAMESPACE
from tests.builders.events import received


class Counted(Event, type="com.example.counted"):
    """Adds to the session's total, and `then` does what its name says."""

    add: float = 1
    then: str = ""


class Told(Event, type="com.example.told"):
    """The total of a session at its end."""

    total: float


class Count(State):
    """The total of a session, and of how many events it is."""

    total: float = 0
    seen: int = 0


agent = Agent("counter", state=Count, namespace=NAMESPACE)


@agent.on
def count(event: Counted, state: Count) -> Any:
    if event.then == "hold" and not state.seen:
        return hold("1h")
    if event.then == "break":
        raise CodeError("Odd", "it is told to")
    made = state.set(total=state.total + event.add, seen=state.seen + 1)
    if event.then == "end":
        return [emit(Told(total=made.total)), end()]
    return made


PROGRAM = compile_code(agent)
ANSWERS = answers_of(agent)


class Workers:
    """The code in this process, which notes what it is asked."""

    def __init__(self, most: int = MAX_RUN) -> None:
        self.most, self.asked = most, list[list[str]]()

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        assert digest == PROGRAM.code
        self.asked.append([str(call.variables["event"]["id"]) for call in calls])
        await asyncio.sleep(0)
        answers: list[CodeAnswer | FailedAnswer] = []
        state = calls[0].state
        for call in calls[: self.most]:
            try:
                answer = ANSWERS(replace(call, state=state))
            except DecisionFailed as failure:
                return [*answers, FailedAnswer(failure.code, failure.message)]
            answers.append(answer)
            state = {} if answer.end else state if answer.state is None else answer.state
        return answers


def counted(sequence: int, of: str, **data: Any) -> Received:
    id_ = str(data.pop("id", sequence))
    return received(sequence, Counted.event_type, data, id_=id_, correlationid=of)


async def decided(events: Sequence[Received], workers: Workers, program: Program = PROGRAM) -> list[Decision]:
    """What a loop makes of events that wait for it."""
    decider, ledger, made = Deciders(workers=workers).of(program), Ledger(), list[Decision]()
    for index, event in enumerate(events):
        made.append(await decider.decide(ledger, event, coming=events[index:]))
        ledger = made[-1].ledger
    return made


def folded(events: Sequence[Received]) -> list[Decision]:
    ledger, made = Ledger(), list[Decision]()
    for event in events:
        made.append(decide(PROGRAM, ledger, event, answers=ANSWERS))
        ledger = made[-1].ledger
    return made


class AtOnce(Workers):
    """Workers that note how many requests are under way."""

    under_way = most_at_once = 0

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            return await super().ask(agent, digest, calls)
        finally:
            self.under_way -= 1
