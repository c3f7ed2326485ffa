"""The worker's process: subscribed to its Agent's subjects, until it is told to stop; then it drains."""

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heed import names
from heed.bus.client.connection import Connection
from heed.sdk.agent import Agent
from heed.sdk.injection import Resources
from heed.sdk.manifest import code_digest
from heed.util.aio import stop
from heed.worker.call_items import CALLS, CallWorker
from heed.worker.decide_requests import answer_request
from heed.worker.functions import FunctionWorker
from heed.worker.options import WorkerOptions
from heed.worker.purity import VARIABLE, PurityCheck
from heed.worker.secrets import MountedSecrets
from heed.worker.work_items import WorkTaker

log = logging.getLogger("heed.worker")

QUEUE: Final = "decide"
MAX_WAITING_BYTES: Final = 64 * 1024**2  # of requests that were taken and are not answered
OVERLOADED: Final = b'{"unavailable": "the worker has too much to answer"}'


def make_caller(connection: Connection, namespace: str, agent: str, options: WorkerOptions) -> CallWorker:
    """What makes an Agent's calls."""
    secrets = MountedSecrets(Path(options.secrets))
    return CallWorker(connection, namespace, agent, secrets, options.calls or CALLS)


class Worker:
    """Runs one Agent's code on a connection. Handlers run in threads, each decide request in one."""

    def __init__(
        self,
        agent: Agent,
        connection: Connection,
        namespace: str,
        options: WorkerOptions | None = None,
    ) -> None:
        self._options = options or WorkerOptions()
        self.agent, self.digest = agent, code_digest(agent)
        self._asked: Client | None = None
        self._requests: Subscription | None = None
        self._waiting = 0  # bytes of requests
        self._connection, self._namespace = connection, namespace
        self._resources = Resources()
        self._purity = PurityCheck() if os.environ.get(VARIABLE) == "1" else None
        self._threads = ThreadPoolExecutor(self._options.handlers, thread_name_prefix="handler")
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def subject(self) -> str:
        """Where it is asked."""
        return names.decide_subject(self._namespace, self.agent.name, self.digest)

    def missing(self) -> str | None:
        """Why it cannot be asked now, or None."""
        if not self._connection.is_connected:
            return "not connected to NATS"
        return None if self._asked is self._connection.client else "not subscribed yet"

    async def run(self, stopping: asyncio.Event) -> None:
        """Answer until `stopping` is set, then drain. It subscribes again on each new connection."""
        functions = FunctionWorker(
            self.agent, self._connection, self._namespace, self._resources, self._options.functions
        )
        answering = asyncio.create_task(self._connection.serve_clients(self._subscribe))
        takers: list[WorkTaker] = [functions]
        if self._options.calls is not None:
            takers.append(make_caller(self._connection, self._namespace, self.agent.name, self._options))
        try:
            await asyncio.gather(*(taker.run(stopping) for taker in takers))
        finally:
            await stop(answering)
            await self._drain()

    async def _subscribe(self, client: Client) -> None:
        self._requests = await client.subscribe(self.subject, queue=QUEUE, cb=self._take)
        await client.flush()
        self._asked = client
        log.info("worker ready", extra={"agent": self.agent.name, "digest": self.digest})

    async def _take(self, message: Msg) -> None:
        size = len(message.data)
        if self._busy and self._waiting + size > MAX_WAITING_BYTES:
            with contextlib.suppress(nats.errors.Error, OSError):
                await message.respond(OVERLOADED)
            return
        task = asyncio.create_task(self._answer(message))
        self._busy.add(task)
        self._waiting += size

        def over(done: asyncio.Task[None]) -> None:
            self._busy.discard(done)
            self._waiting -= size

        task.add_done_callback(over)

    async def _answer(self, message: Msg) -> None:
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(
            self._threads, answer_request, self.agent, message.data, self._resources, self._purity
        )
        with contextlib.suppress(nats.errors.Error, OSError):  # who asks again gets another answer
            await message.respond(reply)

    async def _drain(self) -> None:
        """Take no more requests, and answer those that were taken before the connection ends."""
        with contextlib.suppress(nats.errors.Error, OSError):
            if self._requests is not None:
                await self._requests.drain()  # type: ignore[no-untyped-call]
        if self._busy:
            await asyncio.wait(self._busy)
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._connection.client.drain()
        self._threads.shutdown(wait=False)
