"""The worker in TypeScript, as its README runs it: the worker protocol needs no Python."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from heed import names
from heed.core.events import Event
from tests.integration.local.examples import Life, life
from tests.integration.local.runs import until
from tests.markdown import ROOT
from tests.nats_server import require_nats_server
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import typescript_worker

AGENT = ROOT / "examples/worker-typescript/agent.yaml"
CAME, SENT = "com.example.guest.came", "com.example.greeting.sent"


async def come(one: Life, id: str, name: str) -> None:
    """A guest comes."""
    event = Event(id, "/test", CAME, {"name": name}, datacontenttype="application/json")
    await one.bench.bus.publish(names.event_subject("default", CAME), event)


def greetings(one: Life) -> list[str]:
    """What was said to guests, in order."""
    effects = (effect for record in one.told("decided") for effect in record["effects"])
    return [item["emit"]["data"]["text"] for item in effects if item.get("emit", {}).get("type") == SENT]


async def test_guests_are_greeted_and_wait_where_no_worker_is(tmp_path: Path) -> None:
    require_nats_server()
    with skipping_unavailable():
        command = typescript_worker()

    async with life(AGENT, folder=tmp_path / "state") as one:
        await come(one, "1", "Ada")
        environment = {**os.environ, "HEED_NATS_URL": one.bench.url}
        worker = await asyncio.create_subprocess_exec(*command, env=environment)
        try:
            await until(lambda: greetings(one) == ["Hello, Ada!"], "the first greeting")
            await come(one, "2", "Ada")
            await come(one, "3", "Grace")
            wanted = {"Hello, Ada!", "Hello again, Ada!", "Hello, Grace!"}
            await until(lambda: set(greetings(one)) == wanted, "all greetings")
            assert len(greetings(one)) == 3
        finally:
            worker.terminate()
            assert await worker.wait() == 0
