"""The ports of the loop in memory: they note what they were asked for, and answer as they were told."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from heed.api.status import OutboxMessage, PendingTask, Phase, TaskCause
from heed.core.decision.model import Decision
from heed.core.effects import AgentRef, Effect, Publish, StartTask, TaskEnd, TaskWork
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import UNRESTRICTED, Permissions
from heed.engine.effect_executor import EffectExecutor
from heed.engine.observer import LogObserver
from heed.engine.ports import StoredLedger
from tests.builders.agents import job, program
from tests.builders.decisions import after, only_task
from tests.builders.events import received

AGENT = AgentRef("demo", "researcher", "uid-1")
INBOX = "heed.inbox.demo.researcher."
PAST, FUTURE = "2026-01-31T12:00:00Z", "2999-01-31T12:00:00Z"
WORKER = program({"start": [{"task": "work", "input": "${event.data}"}]}, tasks={"work": job()})
CREATED = "2026-01-31T00:00:00Z"


class Reader:
    """Hands out one list of messages for each read, then waits; an error in between is raised."""

    def __init__(self, *reads: Sequence[Received] | Exception) -> None:
        self.reads: asyncio.Queue[Sequence[Received] | Exception] = asyncio.Queue()
        for item in reads:
            self.reads.put_nowait(item)
        self.asked: list[tuple[int, float]] = []
        self.released: list[int] = []
        self.closed = False
        self.looks = 0
        self.floor, self.created, self.pending, self.far = 0, CREATED, 0, 0

    async def read(self, limit: int, timeout: float) -> Sequence[Received]:
        self.asked.append((limit, timeout))
        found = await self.reads.get()
        if isinstance(found, Exception):
            raise found
        return found

    def release(self, sequence: int) -> None:
        self.released.append(sequence)

    async def reached(self) -> int:
        self.looks += 1
        return self.far

    async def close(self) -> None:
        self.closed = True


class Bus:
    """Keeps what is published. `trouble` is raised, one by one, instead of publishing.

    It is read by `readers`, one after the other, and then by `reader`.
    """

    def __init__(self, *messages: Received, reader: Reader | None = None) -> None:
        self.reader = reader or Reader()
        self.readers: deque[Reader] = deque()
        self.messages = {item.sequence: item for item in messages}
        self.results: dict[str, Event | MalformedMessage] = {}
        self.trouble: deque[Exception] = deque()
        self.published: list[tuple[str, Event]] = []
        self.owed: list[tuple[str, OutboxMessage, bool]] = []
        self.fetched: list[tuple[list[int], str | None]] = []
        self.opened: list[tuple[tuple[str, ...], int, str, str | None]] = []
        self.open_to_all = asyncio.Event()
        self.open_to_all.set()

    async def open(
        self, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> Reader:
        self.opened.append((tuple(subjects), after, since, created))
        return self.readers.popleft() if self.readers else self.reader

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> Sequence[Received | None]:
        self.fetched.append((list(sequences), created))
        return [self.messages.get(sequence) for sequence in sequences]

    async def bounds(self) -> tuple[int, int]:
        return 1, max(self.messages, default=0)

    async def last(self, subject: str) -> Event | MalformedMessage | None:
        return self.results.get(subject)

    async def publish(self, subject: str, event: Event) -> int:
        await self.open_to_all.wait()
        if self.trouble:
            raise self.trouble.popleft()
        self.published.append((subject, event))
        return len(self.published)

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        await self.open_to_all.wait()
        if self.trouble:
            raise self.trouble.popleft()
        self.owed.append((id, owed, look_first))


class Runner:
    """Notes starts and cancellations in order. `held` are starts that wait; `trouble` is raised by starts."""

    def __init__(self) -> None:
        self.started: list[tuple[TaskWork, bool]] = []
        self.happened: list[tuple[str, str]] = []
        self.resumed: list[list[str]] = []
        self.trouble: deque[Exception] = deque()
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        if self.trouble:
            raise self.trouble.popleft()
        self.started.append((work, look_first))
        self.happened.append(("start", work.id))

    async def cancel(self, task_id: str) -> None:
        self.happened.append(("cancel", task_id))

    async def resume(self, task_ids: Sequence[str]) -> None:
        self.resumed.append(list(task_ids))


class Store:
    """The home of one ledger. `trouble` is raised, one by one, instead of reading it, `refusals` instead of writing."""

    def __init__(self, ledger: Ledger | None = None, size: int = 1000) -> None:
        self.stored = StoredLedger(ledger or Ledger(), "1", size)
        self.trouble: deque[Exception] = deque()
        self.refusals: deque[Exception] = deque()
        self.commits: list[Ledger] = []
        self.loads = self.tries = 0
        self.open = asyncio.Event()
        self.open.set()

    async def load(self) -> StoredLedger:
        self.loads += 1
        if self.trouble:
            raise self.trouble.popleft()
        return self.stored

    async def commit(self, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        self.tries += 1
        await self.open.wait()
        if self.refusals:
            raise self.refusals.popleft()
        assert base.version == self.stored.version
        self.commits.append(ledger)
        self.stored = StoredLedger(ledger, str(int(base.version) + 1), self.stored.size)
        return self.stored


class Watcher(LogObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.starts: list[tuple[AgentRef, Ledger, list[Effect]]] = []
        self.commits: list[tuple[AgentRef, list[Decision], Ledger]] = []
        self.figures: list[tuple[AgentRef, list[float], float, int]] = []
        self.effects: list[tuple[AgentRef, Effect]] = []
        self.ends: list[tuple[AgentRef, TaskEnd]] = []
        self.troubles: list[tuple[AgentRef, str, str, float]] = []

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        self.starts.append((agent, ledger, list(owed)))

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        self.commits.append((agent, list(decisions), ledger))

    def measured(self, agent: AgentRef, decided: Sequence[float], commit: float, size: int) -> None:
        self.figures.append((agent, list(decided), commit, size))

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        self.effects.append((agent, effect))

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        self.ends.append((agent, end))

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        self.troubles.append((agent, what, str(error), delay))


def pending(
    phase: Phase = "Owed",
    *,
    deadline: str | None = None,
    owed: str | None = None,
    sequence: int = 1,
    kind: str = "job",
    due: str | None = None,
) -> PendingTask:
    """A task that an event at `sequence` started."""
    cause = TaskCause(f"e{sequence}", sequence, f"e{sequence}")
    at = "2026-01-31T12:00:01Z"
    return PendingTask("work", "s", kind, at, cause, deadline=deadline, phase=phase, owed=owed, due=due)


def with_tasks(**tasks: PendingTask) -> Ledger:
    """A ledger that waits for these."""
    return Ledger(pending_tasks=tasks)


def start(task_id: str = "t-1", **changes: Any) -> StartTask:
    """The start of a real task."""
    ledger = after(WORKER, received(1))
    return StartTask(task_id, replace(ledger.pending_tasks[only_task(ledger)], **changes))


def owed_message(index: int, subject: str = "heed.events.demo.com.example.out") -> Publish:
    """A message that the Agent owes."""
    owed = OutboxMessage(1, index, subject, "2026-01-31T12:00:01Z", event="{}")
    return Publish(f"m-{index}", owed)


async def turns(count: int = 20) -> None:
    """Let everything that needs no time come to its end."""
    for _ in range(count):
        await asyncio.sleep(0)


def sequences(items: Iterable[Received]) -> list[int]:
    """Where messages lie in the stream."""
    return [item.sequence for item in items]


class Bench:
    """A performer, and everything that it asks for."""

    def __init__(self) -> None:
        self.bus, self.runner, self.watcher = Bus(), Runner(), Watcher()
        self.performers: list[EffectExecutor] = []

    def executor(self, permissions: Permissions = UNRESTRICTED) -> EffectExecutor:
        self.performers.append(EffectExecutor(AGENT, self.bus, self.runner, self.watcher, permissions))
        return self.performers[-1]

    def ends(self) -> list[tuple[str, str | None, Any]]:
        """Type, task and data of what was published."""
        return [(event.type, event.subject, event.data) for _, event in self.bus.published]
