"""The worker in TypeScript, as its README runs it: the worker protocol needs no Python."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats

from heed import names
from heed.bus.auth.accounts import ADMIN_CREDS, WORKERS_SEED
from heed.core.events import Event
from heed.local.assembly import open_dev_server
from heed.local.console import Console
from heed.settings import Settings
from heed.util.clock import timestamp
from tests.integration.local.examples import Life, life
from tests.integration.local.runs import until
from tests.integration.secured import SecuredBroker
from tests.markdown import ROOT
from tests.nats_server import require_nats_server
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import typescript_worker

AGENT = ROOT / "examples/worker-typescript/agent.yaml"
CAME, SENT = "com.example.guest.came", "com.example.greeting.sent"

DIGGER = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: digger}
spec:
  subscribe: [{type: com.example.hole.wanted}, {type: com.example.hole.unwanted}]
  session: {key: event.data.hole}
  worker: {digest: "0123456789abcdef"}
  tasks:
    dig: {timeout: 10m, function: {name: dig}}
  handlers:
    - {name: begin, type: com.example.hole.wanted, start: [{task: dig}]}
    - {name: halt, type: com.example.hole.unwanted, cancel: [{task: dig}]}
"""
# Runs in the folder of the example, on what it is made of.
DIGGING = """
import { connect } from "@nats-io/transport-node";
import { answerRequests, takeWork } from "./build/protocol.js";

const dig = (input, progress, cancelled) => new Promise((resolve) => {
  console.log("digging");
  cancelled.addEventListener("abort", () => { console.log("stopped"); resolve(null); });
});
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());
const connection = await connect({ servers: process.env.HEED_NATS_URL });
const code = { namespace: "default", agent: "digger", digest: "0123456789abcdef", handlers: {}, functions: { dig } };
answerRequests(connection, code);
connection.subscribe("heed-stop.>", { callback: (_, message) => console.log("heard " + message.string()) });
await takeWork(connection, code, stopping.signal);
await connection.drain();
"""


async def publish(one: Life, id: str, type_: str, data: Mapping[str, Any]) -> None:
    """Publish an event, as `heed publish` does."""
    event = Event(id, "/test", type_, dict(data), datacontenttype="application/json")
    await one.bench.bus.publish(names.event_subject("default", type_), event)


async def come(one: Life, id: str, name: str) -> None:
    """A guest comes."""
    await publish(one, id, CAME, {"name": name})


def greetings(one: Life) -> list[str]:
    """What was said to guests, in order."""
    effects = (effect for record in one.told("decided") for effect in record["effects"])
    return [item["emit"]["data"]["text"] for item in effects if item.get("emit", {}).get("type") == SENT]


@asynccontextmanager
async def working(
    command: Sequence[str], url: str, **more: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """A worker, and what it prints. It ends with SIGTERM, by itself."""
    worker = await asyncio.create_subprocess_exec(
        *command,
        cwd=Path(typescript_worker()[1]).parents[1],
        env={**os.environ, "HEED_NATS_URL": url, **more},
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    try:
        yield worker, worker.stdout
        worker.terminate()
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def test_guests_are_greeted_and_wait_where_no_worker_is(tmp_path: Path) -> None:
    require_nats_server()
    with skipping_unavailable():
        command = typescript_worker()

    async with life(AGENT, folder=tmp_path / "state") as one:
        await come(one, "1", "Ada")
        async with working(command, one.bench.url):
            await until(lambda: greetings(one) == ["Hello, Ada!"], "the first greeting")
            await come(one, "2", "Ada")
            await come(one, "3", "Grace")
            wanted = {"Hello, Ada!", "Hello again, Ada!", "Hello, Grace!"}
            await until(lambda: set(greetings(one)) == wanted, "all greetings")
            assert len(greetings(one)) == 3


def started(one: Life) -> list[str]:
    """The attempts that were started."""
    effects = (effect for record in one.told("decided") for effect in record["effects"])
    return [item["start"] for item in effects if "start" in item]


async def test_a_function_is_told_that_it_is_cancelled(tmp_path: Path) -> None:
    require_nats_server()
    with skipping_unavailable():
        node, _ = typescript_worker()
    (tmp_path / "agent.yaml").write_text(DIGGER)

    async with life(tmp_path / "agent.yaml", folder=tmp_path / "state") as one:
        await publish(one, "1", "com.example.hole.wanted", {"hole": "deep"})
        digging = [node, "--input-type=module", "--eval", DIGGING]
        async with asyncio.timeout(60), working(digging, one.bench.url) as (_, said):
            assert await said.readline() == b"digging\n"
            (attempt,) = started(one)
            client = await nats.connect(one.bench.url)
            stray = b'{"stream": "HEED", "seq": 1}'  # a reply of the broker, which another worker can have sent here
            await client.publish(names.stop_subject("default", "digger", attempt), stray)
            await client.close()
            assert await said.readline() == b"heard " + stray + b"\n"
            await publish(one, "2", "com.example.hole.unwanted", {"hole": "deep"})
            assert await said.readline() == f'heard {{"cancelled":"{attempt}"}}\n'.encode()
            assert await said.readline() == b"stopped\n"


def credentials(secured: SecuredBroker, folder: Path) -> Path:
    """A file for the greeter's workers, as docs/broker-security.md makes it."""
    seed, made = folder / "workers.seed", folder / "worker.creds"
    seed.write_text(secured.keys[WORKERS_SEED])
    words = ["credentials", "greeter", "-n", "default", "--worker", "greeter", "--key", str(seed)]
    command = [sys.executable, "-c", "from heed.cli.main import main; main()", *words]
    made.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return made


async def test_it_runs_functions_with_credentials_of_its_own(tmp_path: Path, secured: SecuredBroker) -> None:
    with skipping_unavailable():
        command = typescript_worker()
    admin = tmp_path / "admin.creds"
    admin.write_text(secured.keys[ADMIN_CREDS])
    settings, stream = Settings(nats_credentials=str(admin)), io.StringIO()

    async with open_dev_server(
        [AGENT],
        tmp_path / "state",
        Console(stream, timestamp, form="json"),
        settings,
        url=secured.server.url,
        port=None,
    ) as server:
        one = Life(server, stream)
        await come(one, "1", "Ada")
        creds = credentials(secured, tmp_path)
        async with working(command, secured.server.url, HEED_NATS_CREDENTIALS=str(creds)):
            await until(lambda: greetings(one) == ["Hello, Ada!"], "the greeting")
