"""A worker that speaks the protocol, and badly: `python -m tests.faults.rogue_worker MODULE NAMESPACE`.

It answers decide requests twice with different answers, after the deadline, to the reply subject of an earlier request,
with fewer answers than calls or more, or with what is no answer. Of functions it tells the end twice, with different
runs, or tells it and goes on without an acknowledgement. And it answers where no request should come: for the code
STRANGER, which no manifest names.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import uuid
from types import ModuleType
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.bus.codec.cloudevents import encode
from heed.core.events import Event
from heed.sdk.injection import Resources
from heed.sdk.loading import find_agents, load_module
from heed.sdk.manifest import code_digest
from heed.util.clock import timestamp
from heed.worker.decide_requests import answer_request
from tests.faults.doomed_operator import ANSWER_TIMEOUT_S
from tests.faults.spec_parts import STRANGER

STRANGE_EDITION = -1
PAUSE_S = 0.1
BAD_HABITS = ("twice", "late", "earlier", "fewer", "more", "nonsense", "unavailable", "silent")
HABITS = (*BAD_HABITS, *["right"] * 16)  # else no operator of a storm lives until a batch is answered


class Rogue:
    """One of a group of workers, on a client of its own."""

    def __init__(self, module: ModuleType, namespace: str, client: Client) -> None:
        (self._agent,) = find_agents(module).values()
        self._module, self._namespace, self._client = module, namespace, client
        self._earlier: list[Msg] = []
        self._going: set[asyncio.Task[None]] = set()
        self._answering = asyncio.Lock()

    async def run(self) -> None:
        """Answer and work until the process ends."""
        name = self._agent.name
        subject = names.decide_subject(self._namespace, name, code_digest(self._agent))
        await self._client.subscribe(subject, queue="decide", cb=self._take)
        strange = names.decide_subject(self._namespace, name, STRANGER)
        await self._client.subscribe(strange, queue="decide", cb=self._answer_as_a_stranger)
        while True:
            try:
                await self._work()
            except (nats.errors.Error, nats.js.errors.Error, OSError):
                await asyncio.sleep(PAUSE_S)

    async def _take(self, message: Msg) -> None:
        task = asyncio.create_task(self._answer(message))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def _answer(self, message: Msg) -> None:
        how = random.choice(HABITS)
        if how == "silent":
            return
        if how == "late":
            await asyncio.sleep(ANSWER_TIMEOUT_S * 1.2)
        if how == "earlier":
            for earlier in self._earlier:
                await earlier.respond(await self._reply(message))
        for reply in await self._replies(how, message):
            await message.respond(reply)
        self._earlier = [*self._earlier, message][-5:]  # whose answers are not waited for any more

    async def _replies(self, how: str, message: Msg) -> list[bytes]:
        if how == "nonsense":
            return [random.choice((b"", b"[]", b"{", b'{"answers": []}', b'{"answers": 7}'))]
        if how == "unavailable":
            return [json.dumps({"unavailable": "I would rather not"}).encode()]
        if how == "twice":
            return [await self._reply(message), await self._reply(message)]
        answers = json.loads(await self._reply(message))["answers"]
        if how == "fewer":
            answers = answers[:1]
        if how == "more":
            answers += answers[-1:]
        return [json.dumps({"answers": answers}).encode()]

    async def _reply(self, message: Msg, *, strange: bool = False) -> bytes:
        """What the code answers, in a thread, as handlers may be async. One at a time: they share the edition."""
        async with self._answering:
            own = self._module.EDITION
            self._module.EDITION = STRANGE_EDITION if strange else own  # type: ignore[attr-defined]
            try:
                return await asyncio.to_thread(answer_request, self._agent, message.data, Resources())
            finally:
                self._module.EDITION = own  # type: ignore[attr-defined]

    async def _answer_as_a_stranger(self, message: Msg) -> None:
        await message.respond(await self._reply(message, strange=True))

    async def _work(self) -> None:
        """Take one function task, and tell of two ends that it came to."""
        stream = self._client.jetstream()
        name = names.work_consumer(self._namespace, self._agent.name)
        queue = await stream.pull_subscribe_bind(name, stream=names.WORK_STREAM)
        try:
            (message,) = await queue.fetch(1, timeout=1)
        finally:
            await queue.unsubscribe()
        item = json.loads(message.data)
        if item["task"] != "steep":
            await message.nak(delay=PAUSE_S)
            return
        for _ in range(2):
            await self._tell(str(item["attempt"]), item["input"])
        if random.random() < 0.5:
            await message.ack()

    async def _tell(self, attempt: str, input: dict[str, Any]) -> None:
        run, nonce = uuid.uuid4().hex[:12], input["nonce"]
        self._module.note({"what": "began", "attempt": attempt, "nonce": nonce, "run": run})
        self._module.note({"what": "done", "attempt": attempt, "nonce": nonce, "run": run})
        data = {"completed": True, "result": {"value": input["leaf"], "nonce": nonce, "run": run}}
        source = names.agent_source(self._namespace, self._agent.name)
        event = Event(
            run,
            source,
            names.TASK_DONE,
            data,
            subject=attempt,
            time=timestamp(),
            datacontenttype="application/json",
        )
        headers, payload = encode(event)
        subject = names.task_subject(self._namespace, self._agent.name, attempt, names.TASK_DONE)
        await self._client.jetstream().publish(subject, payload, headers=headers, timeout=2)


async def _ignored(_: Exception) -> None:
    """The broker is killed all the time."""


async def main() -> None:
    """Be one."""
    path, namespace = sys.argv[1:]
    module = load_module(path)
    url = os.environ["HEED_NATS_URL"]
    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=PAUSE_S, error_cb=_ignored
    )
    await Rogue(module, namespace, client).run()


if __name__ == "__main__":
    asyncio.run(main())
