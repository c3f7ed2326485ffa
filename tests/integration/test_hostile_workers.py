"""What a worker with credentials of its own tries against others, and what refuses it: a real server in JWT mode.

The attacker is a worker of the Agent `spy` in the namespace `mallory`. The victims are the Agent `victim` of the
namespace `alice` with a worker of its own, and Heed.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import pytest

from heed import names
from heed.bus.auth.accounts import WORKERS_SEED
from heed.bus.auth.jwt import SubjectPermissions, UserSigner
from heed.bus.client.connection import Connection, connect
from heed.bus.code_workers import NatsCodeWorkers
from heed.bus.function_runner import FunctionTasks
from heed.bus.jetstream import JetStreamBus
from heed.bus.work_queue import WorkQueue
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.decision.code import CodeCall
from heed.core.effects import AgentRef, TaskEnd
from heed.errors import CodeUnavailable
from heed.sdk import Agent, Event, State
from heed.sdk.manifest import code_digest
from heed.settings import Settings, StreamSettings
from heed.util.aio import stop
from heed.worker.process import Worker
from tests.builders.tasks import session_task, task_work
from tests.integration.secured import SecuredBroker, User
from tests.integration.waiting import until
from tests.patience import PATIENCE

SPY, VICTIM = AgentRef("mallory", "spy", "uid-1"), AgentRef("alice", "victim", "uid-2")
NEXT = "$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.mallory_spy"
ACK = "$JS.ACK.HEED_WORK.mallory_spy.1.1.1.1.0"
DONE = names.task_subject("mallory", "spy", "dig-1", names.TASK_DONE)
CALL = CodeCall(
    "count", {"event": {"id": "1", "source": "/t", "type": "com.example.counted", "data": {}}}, {}
)


class Counted(Event, type="com.example.counted"):
    """Adds to the session's count."""


class Count(State):
    """How many events it was."""

    count: int = 0


victim = Agent("victim", state=Count)
begun: list[str] = []
stopped: list[str] = []


@victim.on
def count(event: Counted, state: Count) -> Any:
    return state.set(count=state.count + 1)


@victim.task(timeout="10m")
async def wait(name: str) -> str:
    begun.append(name)
    if name == "quick":
        return "done"
    try:
        await asyncio.sleep(600)
    finally:
        stopped.append(name)
    return "too late"


@dataclass
class Owner:
    """An Agent as the runner of its functions knows it: which of them run, and the ends it was told of."""

    pending_tasks: dict[str, Any] = field(default_factory=dict)
    ends: list[TaskEnd] = field(default_factory=list)

    def waits(self, attempt_id: str) -> bool:
        return attempt_id in self.pending_tasks

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end)
        return True


class Heed:
    """The operator's side, with its own credentials and no more."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.code = connection, NatsCodeWorkers(connection)
        self.functions = FunctionTasks(connection, JetStreamBus(connection), StreamSettings())
        self.victim = Owner()
        self.runner = self.functions.runner_of(VICTIM, self.victim)

    async def start(self, name: str) -> str:
        """Queue a function of the victim."""
        attempt = f"wait-{names.digest(name, time.time_ns(), size=8)}"
        self.victim.pending_tasks[attempt] = _pending()
        await self.runner.start(work(VICTIM, attempt, "wait", {"name": name}))
        return attempt


def _pending() -> Any:
    task = session_task("s")
    return type(task)(**{**{name: getattr(task, name) for name in task.__slots__}, "kind": "function"})


def work(agent: AgentRef, attempt: str, function: str, input: Any) -> Any:
    """A work item."""
    return task_work(
        agent=agent, id=attempt, task=function, spec={"name": function}, document={"input": input}
    )


def credentials_of(secured: SecuredBroker, agent: AgentRef) -> str:
    access = WorkerCredentials.of(Settings(nats_url=secured.server.url), secured.keys)
    return access.credentials(agent, now=int(time.time()))


@pytest.fixture
async def heed(secured: SecuredBroker) -> AsyncIterator[Heed]:
    begun.clear()
    stopped.clear()
    async with secured.heed() as connection, secured.admin() as admin:
        await admin.client.jetstream().purge_stream(names.STREAM)
        heed = Heed(connection)
        listening = asyncio.create_task(heed.functions.listen())
        await heed.runner.resume(["none-0000000000000000"])  # makes the queue
        heed.victim.ends.clear()
        yield heed
        await stop(listening)


@pytest.fixture
async def mallory(secured: SecuredBroker, heed: Heed) -> AsyncIterator[User]:
    inbox = names.worker_inbox(SPY.namespace, SPY.name)
    async with secured.user(credentials_of(secured, SPY), inbox) as user:
        yield user


@asynccontextmanager
async def working(secured: SecuredBroker) -> AsyncIterator[Connection]:
    """The victim's worker, as `heed worker` runs it."""
    settings = Settings(nats_url=secured.server.url)
    inbox = names.worker_inbox(VICTIM.namespace, VICTIM.name)
    connection = await connect(
        settings, "worker", attempts=3, credentials=credentials_of(secured, VICTIM), inbox_prefix=inbox
    )
    stopping = asyncio.Event()
    running = asyncio.create_task(Worker(victim, connection, VICTIM.namespace).run(stopping))
    try:
        yield connection
    finally:
        stopping.set()
        await running
        await connection.close()


async def answer(heed: Heed) -> Any:
    """The victim's answer to a call, asked for until a worker is there."""
    found: list[Any] = []

    async def ask() -> bool:
        with contextlib.suppress(CodeUnavailable):
            found.extend(await heed.code.ask(VICTIM, code_digest(victim), [CALL]))
        return bool(found)

    await until(ask)
    return found[0]


async def test_heed_and_a_worker_do_all_that_they_do_with_their_credentials(
    secured: SecuredBroker, heed: Heed
) -> None:
    async with working(secured) as worker:
        assert (await answer(heed)).state == {"count": 1}

        quick = await heed.start("quick")
        await until(lambda: bool(heed.victim.ends))
        await until(lambda: is_gone(heed, quick))

        long = await heed.start("long")
        await until(lambda: "long" in begun)
        await heed.runner.cancel(long)
        await until(lambda: "long" in stopped)
        await heed.runner.resume([long])

        assert [(end.task_id, end.completed, end.result) for end in heed.victim.ends] == [
            (quick, True, "done"),
            (long, False, None),
        ]
        assert not worker.errors
    assert not heed.connection.errors["client"]


async def is_gone(heed: Heed, attempt: str) -> bool:
    """Whether a work item has left the queue."""
    return not await WorkQueue(heed.connection, StreamSettings()).holds(VICTIM, attempt)


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param("heed.tasks.alice.victim.t-1.dev.heed.task.done", id="end of another Agent's function"),
        pytest.param(
            "heed.tasks.mallory.other.t-1.dev.heed.task.done", id="of another Agent in its namespace"
        ),
        pytest.param("heed.tasks.alice.victim.t-1.dev.heed.task.progress", id="progress of another Agent"),
        pytest.param("heed.tasks.alice.victim.t-1.dev.heed.task.turn", id="turn of another Agent's model"),
        pytest.param("heed-transcript.alice.victim.t-1.0", id="transcript of another Agent"),
        pytest.param("heed-transcript.mallory.other.t-1.0", id="transcript of another one in its namespace"),
        pytest.param(
            "$JS.API.DIRECT.GET.HEED_TRANSCRIPTS.heed-transcript.alice.victim.t-1.0", id="read a transcript"
        ),
        pytest.param("$JS.API.DIRECT.GET.HEED_TRANSCRIPTS", id="read any transcript"),
        pytest.param("$JS.API.STREAM.MSG.GET.HEED_TRANSCRIPTS", id="read transcripts"),
        pytest.param("$JS.API.STREAM.PURGE.HEED_TRANSCRIPTS", id="purge transcripts"),
        pytest.param("heed.tasks.mallory.spy.t-1.dev.heed.task.result", id="result of a Job"),
        pytest.param("heed.tasks.mallory.spy.t-1.dev.heed.task.completed", id="the end as an event"),
        pytest.param("heed.events.mallory.com.example.x", id="event"),
        pytest.param("heed.inbox.mallory.spy.com.example.x", id="message to its own Agent"),
        pytest.param("heed.inbox.alice.victim.dev.heed.task.completed", id="end in an inbox"),
        pytest.param("heed.redrive.mallory.spy.com.example.x", id="redrive"),
        pytest.param("heed-dead.mallory.spy", id="dead letter"),
        pytest.param("heed-work.mallory.spy.t-1", id="work of its own Agent"),
        pytest.param("heed-work.alice.victim.t-1", id="work of another Agent"),
        pytest.param("heed-work.mallory.spy_calls.t-1", id="call of its own Agent"),
        pytest.param("heed-work.alice.victim_calls.t-1", id="call of another Agent"),
        pytest.param("$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.alice_victim_calls", id="another's call"),
        pytest.param("$JS.ACK.HEED_WORK.alice_victim_calls.1.1.1.1.0", id="acknowledge another's call"),
        pytest.param("heed-decide.mallory.spy.abcd1234", id="decide request to its own Agent"),
        pytest.param("heed-decide.alice.victim.abcd1234", id="decide request"),
        pytest.param("heed-stop.mallory.spy.t-1", id="cancellation of its own Agent"),
        pytest.param("heed-stop.alice.victim.t-1", id="cancellation"),
        pytest.param("$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.alice_victim", id="another's work item"),
        pytest.param("$JS.API.CONSUMER.MSG.NEXT.HEED.x", id="an event out of the stream"),
        pytest.param("$JS.ACK.HEED_WORK.alice_victim.1.1.1.1.0", id="acknowledge another's"),
        pytest.param("$JS.ACK.HEED.x.1.1.1.1.0", id="acknowledge an event"),
        pytest.param("$JS.API.CONSUMER.INFO.HEED_WORK.mallory_spy", id="look at its queue"),
        pytest.param("$JS.API.CONSUMER.CREATE.HEED_WORK", id="consumer"),
        pytest.param("$JS.API.CONSUMER.DURABLE.CREATE.HEED_WORK.mallory_spy", id="change its queue"),
        pytest.param("$JS.API.CONSUMER.DELETE.HEED_WORK.alice_victim", id="delete another's queue"),
        pytest.param("$JS.API.STREAM.MSG.GET.HEED_WORK", id="read the queue"),
        pytest.param("$JS.API.STREAM.PURGE.HEED_WORK", id="purge the queue"),
        pytest.param("$JS.API.STREAM.MSG.GET.HEED", id="read events"),
        pytest.param("$JS.API.INFO", id="look at JetStream"),
        pytest.param("$SYS.REQ.SERVER.PING", id="system"),
        pytest.param("_INBOX.heed.abc", id="Heed's replies"),
        pytest.param("_INBOX.heed-worker.alice.victim.abc", id="replies to another worker"),
        pytest.param("_R_.abcdef.1", id="a reply that was not asked for"),
    ],
)
async def test_the_server_refuses_to_let_it_publish(
    secured: SecuredBroker, mallory: User, heed: Heed, subject: str
) -> None:
    await mallory.publish(subject, {"completed": True, "result": "forged"})

    await until(lambda: bool(mallory.errors))
    assert f'permissions violation for publish to "{subject.lower()}"' in mallory.errors[0].lower()
    assert heed.victim.ends == []
    async with secured.admin() as admin:
        assert await admin.stored() == []


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "heed.>",
        "heed-decide.>",
        "heed-decide.*.*.*",
        "heed-decide.mallory.*.*",
        "heed-decide.alice.victim.abcd1234",
        "heed-stop.>",
        "heed-stop.alice.victim.*",
        "heed-work.>",
        "heed.tasks.mallory.spy.>",
        "heed.events.mallory.>",
        "_INBOX.>",
        "_INBOX.heed.>",
        "_INBOX.heed-worker.>",
        "_INBOX.heed-worker.alice.victim.>",
        "$JS.>",
        "$SYS.>",
        "_R_.>",
    ],
)
async def test_the_server_refuses_to_let_it_listen(mallory: User, subject: str) -> None:
    await mallory.client.subscribe(subject)
    await mallory.client.flush()

    await until(lambda: bool(mallory.errors))
    assert f'permissions violation for subscription to "{subject.lower()}"' in mallory.errors[0].lower()


@pytest.mark.parametrize("way", ["work item", "acknowledgement", "confirmation"])
@pytest.mark.parametrize(
    "reply",
    [
        "heed.inbox.alice.victim.com.example.x",
        "heed.events.alice.com.example.x",
        "heed.tasks.alice.victim.t-1.dev.heed.task.done",
        "heed-work.alice.victim.t-1",
        "heed-dead.alice.victim",
        "_INBOX.heed.abc",
    ],
)
async def test_replies_of_the_broker_reach_no_stream_and_not_heed(
    secured: SecuredBroker, mallory: User, heed: Heed, way: str, reply: str
) -> None:
    """A request may name any subject for its reply; but the reply stays in the workers' account."""
    spy = heed.functions.runner_of(SPY, Owner())
    attempt = f"dig-{names.digest(way, reply, size=8)}"
    await spy.start(work(SPY, attempt, "dig", {}))
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with secured.admin() as admin:
        for subject in (
            "_INBOX.heed.abc",
            "heed.inbox.>",
            "heed.events.>",
            "heed-dead.>",
            "heed-work.alice.>",
        ):
            await admin.client.subscribe(subject, cb=hear)
        await admin.client.flush()
        before = await admin.stored()

        request = {"work item": NEXT, "acknowledgement": ACK, "confirmation": DONE}[way]
        await mallory.publish(request, {}, reply=reply)
        await mallory.request(DONE, "after")

        assert heard == []
        said = [subject for subject, _ in (await admin.stored())[len(before) :]]
        assert set(said) == {DONE}
    assert not mallory.errors
    await spy.cancel(attempt)


@pytest.mark.parametrize("way", ["work item", "acknowledgement", "confirmation"])
async def test_replies_of_the_broker_stop_no_function_of_another_agent(
    secured: SecuredBroker, mallory: User, heed: Heed, way: str
) -> None:
    spy = heed.functions.runner_of(SPY, Owner())
    async with working(secured):
        attempt = await heed.start("long")
        await until(lambda: "long" in begun)
        await spy.start(work(SPY, attempt, "dig", {"cancelled": attempt}))

        request = {"work item": NEXT, "acknowledgement": ACK, "confirmation": DONE}[way]
        await mallory.publish(request, {}, reply=names.stop_subject("alice", "victim", attempt))
        await mallory.publish(request, {}, reply=names.decide_subject("alice", "victim", code_digest(victim)))

        assert (await answer(heed)).state == {"count": 1}  # what was sent before was seen before
        assert not await is_gone(heed, attempt)
        assert heed.victim.ends == []
        assert stopped == []
        await heed.runner.cancel(attempt)
        await until(lambda: stopped == ["long"])
    await spy.cancel(attempt)


async def test_a_request_is_answered_once_and_by_who_was_asked(mallory: User, heed: Heed) -> None:
    asked: list[str] = []

    async def twice(message: Any) -> None:
        asked.append(message.reply)
        await message.respond(b'{"answers": [{"state": {"n": 1}}]}')
        await message.respond(b'{"answers": [{"state": {"n": 2}}]}')

    await mallory.client.subscribe("heed-decide.mallory.spy.*", cb=twice)
    await mallory.client.flush()

    (found,) = await heed.code.ask(SPY, "abcd1234", [CALL])

    assert getattr(found, "state", None) == {"n": 1}
    await until(lambda: bool(mallory.errors))
    assert f'permissions violation for publish to "{asked[0].lower()}"' in mallory.errors[0].lower()


async def test_a_reply_that_is_too_large_is_refused(mallory: User, heed: Heed) -> None:
    refused: list[Exception] = []

    async def much(message: Any) -> None:
        try:
            await message.respond(b"x" * (mallory.client.max_payload + 1))
        except nats.errors.MaxPayloadError as error:
            refused.append(error)
            await message.respond(b'{"answers": [{"end": true}, {"end": true}, {"end": true}]}')

    await mallory.client.subscribe("heed-decide.mallory.spy.*", cb=much)
    await mallory.client.flush()

    answers = await heed.code.ask(SPY, "abcd1234", [CALL])

    assert len(refused) == 1
    assert len(answers) == 1  # more than was asked for is passed over


async def test_it_may_not_listen_in_too_many_ways(mallory: User) -> None:
    for number in range(40):
        await mallory.client.subscribe(f"heed-stop.mallory.spy.{number}")
    await until(lambda: mallory.client.is_closed)
    assert "maximum subscriptions exceeded" in str(mallory.client.last_error)


async def test_what_signs_workers_reads_no_event_and_publishes_none(
    secured: SecuredBroker, heed: Heed
) -> None:
    """The worst that a stolen workers.seed can do is to decide for Agents in code, and to take and end their work."""
    signer = UserSigner.of(secured.keys[WORKERS_SEED])
    everything = SubjectPermissions((">",), (), (">",))
    credentials = signer.credentials("thief", everything, now=int(time.time()), lifetime=600)

    async with secured.user(credentials) as thief, secured.admin() as admin:
        heard = await thief.client.subscribe("heed.>")
        await thief.client.flush()
        for subject in (
            "heed.events.alice.com.example.x",
            "heed.inbox.alice.victim.com.example.x",
            "heed.tasks.alice.victim.t-1.dev.heed.task.result",
            "heed-dead.alice.victim",
            "heed-work.alice.victim.t-1",
            "$JS.API.STREAM.PURGE.HEED",
            "$JS.API.STREAM.PURGE.HEED_WORK",
        ):
            await thief.publish(subject, {})
        own = [await heard.next_msg(PATIENCE) for _ in range(3)]
        refused = json.loads((await thief.request("$JS.API.STREAM.MSG.GET.HEED")).data)["error"]
        await admin.request("heed.events.alice.com.example.x", "seen by nobody else")
        await thief.client.flush()

        assert refused["description"] == "JetStream not enabled for account"
        assert [message.data for message in own] == [b"{}"] * 3  # its own, which passed to nobody
        assert heard.pending_msgs == 0
        assert [subject for subject, _ in await admin.stored()] == ["heed.events.alice.com.example.x"]
