"""`heed worker` as a Deployment runs it: probed, asked whether it is there, and of no other code than it should be."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from heed import names
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.code_workers import NatsCodeWorkers
from heed.bus.work_queue import WorkQueue
from heed.core.effects import AgentRef, TaskWork
from heed.sdk.loading import load_agent
from heed.sdk.manifest import code_digest
from heed.settings import Settings, StreamSettings
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, probed
from tests.integration.waiting import until
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE
from tests.ports import free_port

CODE = """
from heed.sdk import Agent, Event, State

class Asked(Event, type="com.example.asked"):
    topic: str

first = Agent("first", state=State)
second = Agent("second", state=State)

@first.on
def begin(event: Asked):
    return None

@second.on
def start(event: Asked):
    return None
"""

SLOW = """
import pathlib, time
from heed.sdk import Agent, Event

class Asked(Event, type="com.example.asked"):
    topic: str

agent = Agent("first")

@agent.on
def begin(event: Asked):
    here = pathlib.Path(__file__).parent
    (here / "begun").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
"""
ENDLESS = """
import asyncio, pathlib
from heed.sdk import Agent, Event

class Asked(Event, type="com.example.asked"):
    topic: str

agent = Agent("first")

@agent.task()
async def work():
    (pathlib.Path(__file__).parent / "begun").touch()
    await asyncio.Event().wait()

@agent.on
def begin(event: Asked):
    return work.start()
"""
CALL = {
    "function": "begin",
    "variables": {
        "event": {
            "id": "1",
            "source": "/s",
            "type": "com.example.asked",
            "specversion": "1.0",
            "data": {"topic": "x"},
        },
        "agent": {"name": "first", "namespace": "demo", "labels": {}},
        "session": {"key": "s", "startedAt": "2026-01-01T12:00:00.000000Z"},
        "task": {},
        "input": {},
    },
    "state": {},
    "pending": {},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    require_nats_server()
    with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "agent.py"
    file.write_text(CODE)
    return file


def environment(server: NatsServer, module: Path, port: int, digest: str | None = None) -> dict[str, str]:
    """What a Deployment sets."""
    return {
        **os.environ,
        "HEED_NATS_URL": server.url,
        "HEED_NAMESPACE": "demo",
        "HEED_WORKER_AGENT": "first",
        "HEED_WORKER_DIGEST": digest or code_digest(load_agent(f"{module}:first")),
        "HEED_WORKER_HEALTH_PORT": str(port),
    }


def answering(url: str, agent: AgentRef, digest: str) -> bool:
    return asyncio.run(_ask(url, agent, digest))


async def _ask(url: str, agent: AgentRef, digest: str) -> bool:
    connection = await connect(Settings(nats_url=url), "test", attempts=3)
    try:
        return await NatsCodeWorkers(connection).answers(agent, digest)
    finally:
        await connection.close()


def test_it_is_ready_once_it_can_be_asked(server: NatsServer, module: Path) -> None:
    port, url = free_port(), server.url
    given = environment(server, module, port)
    process = subprocess.Popen([str(HEED), "worker", str(module)], env=given)
    try:
        eventually(lambda: probed(port, "readyz") == (200, "ready"), PATIENCE, what="a worker that is ready")
        digest = given["HEED_WORKER_DIGEST"]
        assert answering(url, AgentRef("demo", "first", "u-1"), digest)
        assert not answering(url, AgentRef("demo", "first", "u-1"), "0123456789abcdef")
        assert not answering(url, AgentRef("other", "first", "u-1"), digest)

        server.stop()
        eventually(
            lambda: (probed(port, "readyz") or (0, ""))[0] == 503, PATIENCE, what="a worker that is not ready"
        )
        server.start()
        eventually(
            lambda: probed(port, "readyz") == (200, "ready"), PATIENCE, what="a worker that is ready again"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_it_stops_also_where_there_is_no_broker(server: NatsServer, module: Path) -> None:
    server.stop()
    given = environment(server, module, 0)
    process = subprocess.Popen(
        [str(HEED), "worker", str(module)], env=given, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr as told:
        assert "broker not reached" in told.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_it_runs_no_other_code_than_the_manifest_names(server: NatsServer, module: Path) -> None:
    given = environment(server, module, 0, digest="0123456789abcdef")

    done = subprocess.run([str(HEED), "worker", str(module)], env=given, capture_output=True, text=True)

    assert done.returncode == 2
    assert "HEED_WORKER_DIGEST=0123456789abcdef" in done.stderr


def test_it_answers_what_it_has_taken_before_it_ends(server: NatsServer, module: Path) -> None:
    module.write_text(SLOW)
    given = environment(server, module, free_port())
    process = subprocess.Popen([str(HEED), "worker", str(module)], env=given)

    async def act() -> bytes:
        connection = await connect(Settings(nats_url=server.url), "test", attempts=3)
        workers, agent = NatsCodeWorkers(connection), AgentRef("demo", "first", "u-1")
        digest = given["HEED_WORKER_DIGEST"]

        async def unasked() -> bool:
            return not await workers.answers(agent, digest)

        try:
            await until(lambda: workers.answers(agent, digest), PATIENCE)
            subject = names.decide_subject("demo", "first", digest)
            request = json.dumps({"calls": [CALL]}).encode()
            reply = asyncio.create_task(connection.request(subject, request, timeout=PATIENCE))
            await until((module.parent / "begun").exists, PATIENCE)
            process.send_signal(signal.SIGTERM)
            await until(unasked, PATIENCE)
            (module.parent / "go").touch()
            return (await reply).data
        finally:
            await connection.close()

    try:
        assert json.loads(asyncio.run(act())) == {"answers": [{"place": "agent.py:10"}]}
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def test_what_it_finishes_can_be_cancelled_to_its_end(server: NatsServer, module: Path) -> None:
    module.write_text(ENDLESS)
    process = subprocess.Popen([str(HEED), "worker", str(module)], env=environment(server, module, 0))
    agent = AgentRef("demo", "first", "u-1")
    item = TaskWork(agent, "work-1", "work", "function", "s", {"name": "work"}, {"input": {}}, None, 0)

    async def act() -> None:
        connection = await connect(Settings(nats_url=server.url), "test", attempts=3)
        await ensure_streams(connection, StreamSettings())
        queue, stream = WorkQueue(connection, StreamSettings()), connection.client.jetstream()

        async def left() -> bool:
            consumer = names.work_consumer(agent.namespace, agent.name)
            return not (await stream.consumer_info(names.WORK_STREAM, consumer)).num_waiting

        try:
            await queue.put(item)
            await until((module.parent / "begun").exists, PATIENCE)
            process.send_signal(signal.SIGTERM)
            await until(left, PATIENCE)
            await queue.remove(agent, item.attempt_id)
        finally:
            await connection.close()

    try:
        asyncio.run(act())
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
