"""An Agent on the real adapters: broker, ledger in a KV bucket, and Jobs. One life of its loop after the other."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from nats.js.kv import KeyValue

from heed import names
from heed.api.validation import parse_agent
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect, TaskEnd
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, count_decided, dump_ledger, list_owed_effects
from heed.engine.deciders import Deciders
from heed.engine.loop import AgentLoop
from heed.engine.observer import LogObserver
from heed.engine.ports import StoredLedger, TaskRunner
from heed.engine.rate_limit import CommitRate
from heed.engine.timer_heap import TimerHeap
from heed.errors import HeedError
from heed.local.ledger_store import KeyValueLedgerStore, open_ledgers
from heed.sandbox.decision_pool import DecisionPool
from heed.settings import Settings, StreamSettings
from heed.util.aio import stop
from tests.integration.engine.cluster import Jobs, JobsRunner
from tests.integration.engine.oracle import Fold, created_at, folded, message_ids, read_back
from tests.integration.engine.points import Bus, Doors, Runner, Store
from tests.integration.reading import BEGINNING
from tests.integration.waiting import SOON, until

AGENT = "researcher"
IN, OUT = "com.example.in.", "com.example.out."
QUICK = CommitRate(rate=10**9, burst=10**9)


def handler(on: str, **reaction: Any) -> dict[str, Any]:
    """A handler of what comes in as `on`."""
    return {"name": on.rpartition(".")[2], "type": on if on.startswith("dev.") else IN + on, **reaction}


def emit(type_: str, data: str) -> list[dict[str, Any]]:
    return [{"type": OUT + type_, "data": {"of": data}}]


HANDLERS = [
    handler("ask", state={"asked": "${event.id}"}, start=[{"task": "work", "input": "${event.data}"}]),
    handler("note", state={"noted": "${event.id}"}, emit=emit("noted", "${event.id}")),
    handler("both", start=[{"task": "work", "input": "${event.data}"}], emit=emit("both", "${event.id}")),
    handler("stop", cancel=[{"task": "work"}]),
    handler("over", end=True),
    handler(
        "early",
        hold={"until": "has(state.noted)"},
        state={"early": "${event.id}"},
        start=[{"task": "work", "input": "${event.data}"}],
        emit=emit("early", "${event.id}"),
    ),
    handler("sealed", hold={"until": "has(state.early)"}, emit=emit("sealed", "${event.id}"), end=True),
    handler("unsure", hold={"until": "has(state.noted)", "for": "1s", "onExpire": "Handle"}),
    handler("doomed", hold={"until": "has(state.noted)", "for": "1s"}),
    handler(names.HOLD_EXPIRED, emit=emit("in-vain", "${event.data.event.id}")),
    handler("break", when="event.data.missing > 3", state={"never": True}),
    handler(names.TASK_COMPLETED, state={"done": "${task.id}"}, emit=emit("done", "${task.id}")),
    handler(names.TASK_FAILED, state={"failed": "${event.data.reason}"}, emit=emit("failed", "${task.id}")),
]


def worker_manifest(namespace: str, uid: str, job: dict[str, Any] | None = None) -> dict[str, Any]:
    """The Agent that all these stories are about."""
    container = {"name": "main", "image": "example", "command": ["true"]}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": AGENT, "namespace": namespace, "uid": uid, "generation": 1},
        "spec": {
            "subscribe": [{"type": f"{IN}*"}],
            "tasks": {"work": {"job": job or {"template": {"spec": {"containers": [container]}}}}},
            "handlers": deepcopy(HANDLERS),
        },
    }


class Watcher(LogObserver):
    """Notes what the loop says of itself."""

    def __init__(self) -> None:
        self.commits: list[int] = []  # events in each
        self.troubles: list[tuple[str, str]] = []
        self.delays: list[float] = []

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        self.commits.append(len(decisions))

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        self.troubles.append((what, type(error).__name__))
        self.delays.append(delay)

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        pass


@dataclass(slots=True)
class Life:
    """A loop at work, and the doors it passes."""

    loop: AgentLoop
    doors: Doors
    watcher: Watcher
    runner: JobsRunner
    task: "asyncio.Task[None]"

    async def look_again(self) -> None:
        """What a sweep does: compare the tasks that were started with the Jobs that are there."""
        ledger = self.loop.ledger
        tasks = ledger.pending_tasks if ledger else {}
        started = {key: task for key, task in tasks.items() if task.phase == "Started"}
        await self.runner.resume([names.attempt_id(key, task.attempt) for key, task in started.items()])

    async def end(self) -> None:
        """However it stands, nothing more is done."""
        self.doors.dead.set()
        if self.runner.report in self.runner.jobs.watchers:
            self.runner.jobs.watchers.remove(self.runner.report)
        await stop(self.task)


class World:
    """Everything that outlives a loop, and ways to look at it."""

    def __init__(self, connection: Connection, namespace: str, ledgers: KeyValue) -> None:
        self.connection, self.namespace = connection, namespace
        self.bus, self.jobs = JetStreamBus(connection), Jobs()
        self.ledgers = ledgers
        self.program: Program
        self.lives: list[Life] = []
        self.guard: DecisionPool | None = None
        self.timers: TimerHeap | None = None
        self._numbers = itertools.count(1)

    async def prepare(self) -> "World":
        """The Agent comes into being."""
        identity = await self.store().identify()
        self.program = compile_agent(parse_agent(worker_manifest(self.namespace, identity.uid)))
        return self

    def store(self) -> KeyValueLedgerStore:
        """The real home of the ledger."""
        return KeyValueLedgerStore(self.ledgers, self.namespace, AGENT, since=BEGINNING)

    async def live(
        self, doors: Doors | None = None, pace: CommitRate = QUICK, runner: TaskRunner | None = None
    ) -> Life:
        """Begin a life."""
        doors, watcher = doors or Doors(), Watcher()
        store = self.store()
        await store.identify()
        loop = AgentLoop(
            self.program,
            Store(store, doors),
            Bus(self.bus, doors),
            watcher,
            since=BEGINNING,
            pace=pace,
            deciders=Deciders(self.guard),
            timers=self.timers,
        )
        jobs = JobsRunner(self.jobs, loop.report)
        self.jobs.watchers.append(loop.report)
        life = Life(loop, doors, watcher, jobs, asyncio.create_task(loop.run(Runner(runner or jobs, doors))))
        self.lives.append(life)
        return life

    async def send(
        self,
        kind: str,
        session: str = "s",
        data: Any = None,
        id: str | None = None,
        *,
        direct: bool = False,
    ) -> int:
        """An event for the Agent, in its inbox where it is direct; returns its sequence."""
        event = Event(
            id or f"e{next(self._numbers)}",
            "/test",
            IN + kind,
            data,
            datacontenttype="application/json",
            extensions={"correlationid": session},
        )
        broadcast = names.event_subject(self.namespace, event.type)
        inbox = names.inbox_subject(self.namespace, AGENT, event.type)
        return await self.bus.publish(inbox if direct else broadcast, event, deduplicate=False)

    async def end_of(self, task_id: str) -> int:
        """An end of a task that someone else tells of."""
        event = Event("x", "/test", names.TASK_COMPLETED, {"result": 1}, subject=task_id)
        subject = names.inbox_subject(self.namespace, AGENT, event.type)
        return await self.bus.publish(subject, event, deduplicate=False)

    async def stored(self) -> StoredLedger:
        """The ledger as its home holds it."""
        return await self.store().load()

    async def fold(self) -> Fold:
        """What should have become of everything in the stream."""
        events = await read_back(self.connection, self.program.subjects)
        return folded(self.program, events, await created_at(self.connection))

    async def quiet(self, timeout: float = SOON) -> Ledger:
        """The ledger once everything is decided and nothing is owed."""

        async def is_quiet() -> bool:
            try:
                ledger = (await self.stored()).ledger
                return not self._owes(ledger) and ledger.cursor.sequence == await self.last()
            except HeedError:
                return False  # the broker is away

        await until(is_quiet, timeout)
        return (await self.stored()).ledger

    async def check(self, timeout: float = SOON, *, fenced: bool = True) -> Ledger:
        """Once it is quiet: the ledger is the fold of the stream, and every effect of it was made exactly once.

        Without the fence of a Lease, one that comes late may make again what the other has cancelled meanwhile.
        """
        ledger = await self.quiet(timeout)
        fold = await self.fold()
        assert dump_ledger(ledger) == fold.settled
        assert count_decided(ledger.totals) == count_decided(fold.ledger.totals)
        out = names.event_subject(self.namespace, f"{OUT}>")
        assert sorted(await message_ids(self.connection, names.STREAM, out)) == sorted(fold.emitted)
        dead = names.dead_subject(self.namespace, AGENT)
        assert sorted(await message_ids(self.connection, names.DEAD_STREAM, dead)) == sorted(fold.letters)
        assert set(self.jobs.made) <= fold.started
        again = {task_id for task_id, count in self.jobs.made.items() if count > 1}
        assert again <= (set() if fenced else self.jobs.cancelled), self.jobs.made
        left = set(self.jobs.running) - _attempts(ledger)
        assert not left, "jobs that nobody waits for run on"
        return ledger

    async def close(self) -> None:
        """End what lives."""
        for life in self.lives:
            await life.end()

    async def has_committed_all(self, life: Life) -> bool:
        """Whether everything is decided, and durable."""
        ledger = life.loop.ledger
        return ledger is not None and ledger.cursor.sequence == await self.last()

    async def last(self) -> int:
        """The sequence of the last message on the Agent's subjects."""
        last = 0
        for subject in self.program.subjects:
            request = {"last_by_subj": subject}
            try:
                answer = await self.connection.api(f"STREAM.MSG.GET.{names.STREAM}", request)
            except HeedError as error:
                if getattr(error, "err_code", 0) != 10037:
                    raise
            else:
                last = max(last, int(answer["message"]["seq"]))
        return last

    def _owes(self, ledger: Ledger) -> bool:
        tasks = [task.phase for task in ledger.pending_tasks.values()]
        ends = set(self.jobs.ended) & _attempts(ledger)  # their events are still to come
        return bool(
            list_owed_effects(ledger)
            or ledger.held.ready
            or "Cancelling" in tasks
            or ends
            or ledger.waiting.places
        )


def _attempts(ledger: Ledger) -> set[str]:
    """What the pending tasks are at."""
    return {names.attempt_id(task_id, task.attempt) for task_id, task in ledger.pending_tasks.items()}


@asynccontextmanager
async def connected(url: str, window: int = 120) -> AsyncIterator[Connection]:
    """A connection of one's own to a server whose streams exist; `window` is the broker's for duplicates."""
    settings = Settings(nats_url=url, stream=StreamSettings(duplicate_window=window))
    connection = await connect(settings, "test", attempts=3)
    try:
        await ensure_streams(connection, settings.stream)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def world_on(connection: Connection, namespace: str) -> AsyncIterator[World]:
    """A world; its lives end with it."""
    world = await World(
        connection, namespace, await open_ledgers(connection.client.jetstream(timeout=2))
    ).prepare()
    try:
        yield world
    finally:
        await world.close()


def end_of_run(task_id: str) -> TaskEnd:
    """An end that nobody knows of yet."""
    return TaskEnd(task_id, names.digest("run", task_id), "2026-11-01T12:00:00Z", True, result=1)
