"""Calls of real workers on a real broker: they die in mid-call, are told to stop, and show no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.function_runner import FunctionTasks
from heed.bus.jetstream import JetStreamBus
from heed.bus.work_queue import WorkQueue
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.policy.permissions import UNRESTRICTED
from heed.engine.ports import TaskRunner
from heed.settings import Settings, StreamSettings
from heed.util.aio import stop
from heed.worker.call_items import CallWorker
from heed.worker.secrets import MountedSecrets
from tests.builders.tasks import session_task
from tests.cluster.operating import HEED
from tests.http_services import ScriptedService, reply, serving, silent_after
from tests.integration.secured import SecuredBroker
from tests.integration.waiting import until
from tests.nats_server import NatsServer, require_nats_server
from tests.unit.http.calls import TOKEN

AGENT = AgentRef("demo", "payments", "u-1")
UNSAFE = {"method": "POST", "idempotencyKey": "None"}
QUICK = StreamSettings()


class Owner:
    """An Agent that waits for all that it is told of."""

    def __init__(self) -> None:
        self.ends: list[TaskEnd] = []
        self.pending_tasks = {"charge-1": replace(session_task("s"), kind="http")}

    def waits(self, attempt_id: str) -> bool:
        return True

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end)
        return True


class Operator:
    """The operator's side of calls."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.bus, self.owner = connection, JetStreamBus(connection), Owner()
        self.tasks = FunctionTasks(connection, self.bus, QUICK, ("127.0.0.0/8",))
        self.runner: TaskRunner = self.tasks.caller_of(AGENT, self.owner, UNRESTRICTED)

    async def begin(self, task_id: str, spec: dict[str, Any]) -> None:
        """Start a call."""
        event = {"id": "1", "correlationid": "c-1"}
        work = TaskWork(AGENT, task_id, "charge", "http", "s", spec, {"event": event}, None, 0)
        await self.runner.start(work)

    async def end_of(self, attempt: str) -> dict[str, Any]:
        """What a worker says of the end of a call."""
        subject = names.task_subject("demo", "payments", attempt, names.TASK_DONE)
        found: list[Any] = []

        async def said() -> bool:
            found.append(await self.bus.last(subject))
            return found[-1] is not None

        await until(said)
        data: dict[str, Any] = found[-1].data
        return data

    async def left(self) -> int:
        """How many messages are in the work queue."""
        stream = self.connection.client.jetstream()
        return (await stream.stream_info(names.WORK_STREAM)).state.messages


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    require_nats_server()
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path) -> Path:
    """Secrets as the kubelet puts them into a pod."""
    file = tmp_path / "secrets/api/token"
    file.parent.mkdir(parents=True)
    file.write_text(f"{TOKEN}\n")
    return tmp_path / "secrets"


@asynccontextmanager
async def operating(server: NatsServer) -> AsyncIterator[Operator]:
    connection = await connect(Settings(nats_url=server.url), "test", attempts=3)
    try:
        await ensure_streams(connection, QUICK)
        yield Operator(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def working(server: NatsServer, secrets: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker that makes calls and runs no code; its log is in `worker.log` beside the secrets."""
    command = [str(HEED), "worker", "--agent", "demo/payments", "--secrets", str(secrets)]
    with (secrets.parent / "worker.log").open("ab") as log:
        process = await asyncio.to_thread(
            subprocess.Popen, command, env={**os.environ, "HEED_NATS_URL": server.url}, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


def paying(service: ScriptedService, **more: Any) -> dict[str, Any]:
    header = {"name": "Authorization", "prefix": "Bearer ", "secretRef": {"name": "api", "key": "token"}}
    return {"url": f"{service.url}/charges", "headers": [header], **more}


async def test_a_call_is_made_and_its_secret_is_shown_nowhere(server: NatsServer, secrets: Path) -> None:
    answer = reply(201, body=f'{{"by": "{TOKEN}"}}', Content_Type="application/json")
    async with (
        serving(answer) as service,
        operating(server) as operator,
        working(server, secrets) as worker,
    ):
        await operator.begin("charge-1", paying(service, body={"json": {"cents": 5}}))
        end = await operator.end_of("charge-1")
        await until(lambda: _is_empty(operator))
        streams = await _dump_streams(operator)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0

    assert service.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert end == {"completed": True, "result": {"status": 201, "headers": {}, "body": {"by": "***"}}}
    assert TOKEN.encode() not in streams and b"charge-1" in streams
    assert TOKEN not in (secrets.parent / "worker.log").read_text()


@pytest.mark.parametrize(
    ("more", "methods", "completed"),
    [
        ({"method": "POST"}, ["POST", "POST"], True),
        (UNSAFE, ["POST"], False),
        ({**UNSAFE, "reconcile": {"url": "RECONCILE"}}, ["POST", "GET"], True),
    ],
    ids=["repeated", "lost", "reconciled"],
)
async def test_a_worker_that_is_killed_in_mid_call_is_followed_by_one_that_is_careful(
    server: NatsServer,
    secrets: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
    methods: list[str],
    completed: bool,
) -> None:
    monkeypatch.setattr("heed.bus.work_queue.ACK_WAIT_S", 2)
    async with serving(silent_after(), reply(200, body="served")) as service:
        spec = paying(
            service, **json.loads(json.dumps(more).replace("RECONCILE", f"{service.url}/charges/1"))
        )
        async with operating(server) as operator:
            async with working(server, secrets) as worker:
                await operator.begin("charge-1", spec)
                await until(lambda: bool(service.requests))
                worker.send_signal(signal.SIGKILL)
                await asyncio.to_thread(worker.wait)
            async with working(server, secrets):
                end = await operator.end_of("charge-1")
                await until(lambda: _is_empty(operator))

    assert [seen.method for seen in service.requests] == methods
    keys = {seen.headers.get("idempotency-key") for seen in service.requests}
    assert keys == ({"charge-1"} if methods == ["POST", "POST"] else {None})
    assert end["completed"] is completed
    if not completed:
        assert (end["reason"], end["retryable"]) == ("HttpAnswerLost", False)


async def test_a_worker_that_is_told_to_stop_finishes_its_calls(server: NatsServer, secrets: Path) -> None:
    go = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await reply(200, body="finished")(writer)

    async with serving(wait) as service, operating(server) as operator, working(server, secrets) as worker:
        await operator.begin("charge-1", paying(service))
        await until(lambda: bool(service.requests))
        worker.send_signal(signal.SIGTERM)
        await until(lambda: _has_no_waiting(operator))
        go.set()
        end = await operator.end_of("charge-1")
        assert await asyncio.to_thread(worker.wait, 30) == 0

    assert end["result"]["body"] == "finished"
    assert service.connections == 1


async def test_a_call_that_is_cancelled_is_ended(server: NatsServer, secrets: Path) -> None:
    async with serving(silent_after()) as service, operating(server) as operator, working(server, secrets):
        await operator.begin("charge-1", paying(service))
        await until(lambda: bool(service.requests))
        await operator.runner.cancel("charge-1")
        await asyncio.wait_for(service.hung_up.wait(), 30)
        assert await operator.left() == 0

        await operator.runner.resume(["charge-1"])
        assert [end.reason for end in operator.owner.ends] == ["CallLost"]


async def test_calls_are_apart_from_functions(server: NatsServer) -> None:
    async with operating(server) as operator:
        await operator.begin("charge-1", {"url": "https://a.test"})
        queue = WorkQueue(operator.connection, QUICK)
        function = TaskWork(AGENT, "work-1", "work", "function", "s", {"name": "work"}, {}, None, 0)
        await queue.put(function)

        stream = operator.connection.client.jetstream()
        pending = {
            consumer: (await stream.consumer_info(names.WORK_STREAM, consumer)).num_pending
            for consumer in ("demo_payments", "demo_payments_calls")
        }
    assert pending == {"demo_payments": 1, "demo_payments_calls": 1}


async def test_a_worker_makes_calls_with_the_credentials_of_its_agent(
    secured: SecuredBroker, secrets: Path
) -> None:
    access = WorkerCredentials.of(Settings(nats_url=secured.server.url), secured.keys)
    credentials = access.credentials(AGENT, now=int(time.time()))
    inbox = names.worker_inbox(AGENT.namespace, AGENT.name)
    stopping = asyncio.Event()
    async with serving(reply(200, body="ok")) as service, secured.heed() as connection:
        operator = Operator(connection)
        listening = asyncio.create_task(operator.tasks.listen())
        theirs = await connect(
            Settings(nats_url=secured.server.url),
            "worker",
            attempts=3,
            credentials=credentials,
            inbox_prefix=inbox,
        )
        caller = CallWorker(theirs, AGENT.namespace, AGENT.name, MountedSecrets(secrets))
        running = asyncio.create_task(caller.run(stopping))
        try:
            await operator.begin("charge-1", paying(service))
            await until(lambda: bool(operator.owner.ends))
            stopping.set()
            await running
        finally:
            await stop(running)
            await theirs.close()
            await stop(listening)

    assert [end.result for end in operator.owner.ends] == [{"status": 200, "headers": {}, "body": "ok"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["worker"], "there is neither MODULE nor --agent"),
        (["worker", "--agent", "a", "--calls", "0"], "0 is not in the range 1<=x<=100000"),
    ],
)
def test_a_worker_without_code_needs_the_name_of_its_agent(words: list[str], message: str) -> None:
    done = subprocess.run([str(HEED), *words], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode != 0 and message in done.stderr


async def _is_empty(operator: Operator) -> bool:
    return await operator.left() == 0


async def _has_no_waiting(operator: Operator) -> bool:
    """Whether no worker asks for calls."""
    stream = operator.connection.client.jetstream()
    return not (await stream.consumer_info(names.WORK_STREAM, "demo_payments_calls")).num_waiting


async def _dump_streams(operator: Operator) -> bytes:
    """All that is stored, headers included."""
    stream, found = operator.connection.client.jetstream(), b""
    for name in (names.STREAM, names.DEAD_STREAM):
        state = (await stream.stream_info(name)).state
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            message = await stream.get_msg(name, sequence)
            found += message.subject.encode() if message.subject else b""
            found += (message.data or b"") + json.dumps(message.headers or {}).encode()
    return found
