"""A loop over the ports in memory, at a time that stands still: pauses are noted, and over at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed.api.status import Cursor, Session
from heed.core.compiler.program import Program
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.engine import loop
from heed.engine.loop import AgentLoop
from heed.engine.rate_limit import CommitRate
from heed.sandbox.decision_pool import AgentDecider
from heed.util.aio import stop
from tests.builders.agents import program
from tests.builders.events import at, received
from tests.integration.waiting import until
from tests.unit.inmemory import CREATED, Bus, Reader, Runner, Store, Watcher

SINCE = "2026-01-01T00:00:00Z"
ASK = {"name": "ask", "state": {"seen": "${event.id}"}}
SAY = {"name": "say", "emit": [{"type": "com.example.said", "data": "${event.id}"}]}

BUDGET = 3_000_000
TIGHT = CommitRate(budget=BUDGET, rate=10**9, burst=10**9)
NO_ROOM = (
    BUDGET * 2 // 3
)  # a status of this size has no room for new sessions, and one for those that are there
THERE = {"there": Session(at(0), at(0), "c")}


def at_place(sequence: int, inbox: int | None = None, *, waiting: int = 0, **more: Any) -> Ledger:
    """A ledger of that stream, with its cursor there, and with some that wait, from 1 on."""
    places = DeferredEvents.of(dict.fromkeys(range(1, waiting + 1), "k"))
    return Ledger(cursor=Cursor("HEED", sequence, created=CREATED, inbox=inbox), waiting=places, **more)


class Clock:
    """Stands in for the modules `time` and `asyncio` of the loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.asleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, delay: float) -> None:
        self.slept.append(delay)
        self.now += delay
        self.asleep()
        await asyncio.sleep(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


class Life:
    """One loop and all that it asks for."""

    def __init__(
        self,
        agent: Program,
        ledger: Ledger | None,
        size: int,
        clock: Clock,
        bus: Bus | None = None,
        **more: Any,
    ) -> None:
        self.agent, self.clock = agent, clock
        self.bus, self.runner, self.watcher = bus or Bus(), Runner(), Watcher()
        self.store = Store(ledger, size)
        self.loop = AgentLoop(agent, self.store, self.bus, self.watcher, since=SINCE, **more)
        self.running: asyncio.Task[None] | None = None

    @property
    def reader(self) -> Reader:
        return self.bus.reader

    @property
    def ledger(self) -> Ledger:
        return self.store.stored.ledger

    def begin(self) -> None:
        self.running = asyncio.create_task(self.loop.run(self.runner))

    async def reading(self) -> None:
        """Begin, until the last reader is asked for messages."""
        self.begin()
        await until(lambda: bool(self.reader.asked))

    def come(self, *items: Any) -> None:
        """Events come, all at once; a number is an event at that place."""
        found = [received(item) if isinstance(item, int) else item for item in items]
        self.reader.reads.put_nowait(found)

    async def committed(self, count: int = 1) -> Ledger:
        """The ledger, once it was written so often."""
        await until(lambda: len(self.watcher.commits) >= count)
        return self.ledger

    def failing(self, *errors: Exception) -> None:
        """The next lives end by these errors, as soon as they read."""
        self.bus.readers.extend(Reader(error) for error in errors)

    def troubles(self) -> list[tuple[str, float]]:
        """What was told of each start over, and of nothing else: the error, and for how long it pauses."""
        told = self.watcher.troubles
        assert [(agent, what) for agent, what, *_ in told] == [(self.agent.agent, "start over")] * len(told)
        return [(error, delay) for *_, error, delay in told]

    def outcomes(self) -> list[list[tuple[int, str]]]:
        """What was told of each commit: where the events lie, and what came of them."""
        return [
            [(decision.received.sequence, decision.outcome) for decision in decisions]
            for _, decisions, _ in self.watcher.commits
        ]

    async def end(self) -> None:
        if self.running is not None:
            await stop(self.running)


class Lives:
    """Makes loops, all of them at one clock. `decided` are the places of events, in the order of the decisions."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[Life] = []
        self.decided: list[int] = []

    def of(
        self, *handlers: dict[str, Any], ledger: Ledger | None = None, size: int = 1000, **more: Any
    ) -> Life:
        return self.running(program(*(handlers or (ASK,))), ledger, size, **more)

    def running(self, agent: Program, ledger: Ledger | None = None, size: int = 1000, **more: Any) -> Life:
        self.made.append(Life(agent, ledger, size, self.clock, **more))
        return self.made[-1]


@asynccontextmanager
async def lives_at(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lives]:
    """Loops for which nothing waits longer than it has to."""
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "asyncio", clock)
    monkeypatch.setattr(loop, "FLUSH_DELAY_S", 0.001)
    lives = Lives(clock)
    decide = AgentDecider.decide

    async def noted(self: AgentDecider, ledger: Ledger, event: Received, **more: Any) -> Decision:
        lives.decided.append(event.sequence)
        return await decide(self, ledger, event, **more)

    monkeypatch.setattr(AgentDecider, "decide", noted)
    try:
        yield lives
    finally:
        for life in lives.made:
            await life.end()
