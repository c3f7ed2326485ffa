"""Work items: what a worker takes from the work queue, runs, and says the end of."""

import asyncio
import contextlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent
from heed.util.aio import stop
from heed.util.clock import loop_time, timestamp
from heed.worker.lease import Lease, LeaseOver

log = logging.getLogger("heed.worker")

HEARTBEAT_S: Final = 10.0  # seconds between two signs of life for the work queue
FETCH_S: Final = 5.0
RETRY_S: Final = 1.0  # seconds until the queue is looked for again
MAX_MESSAGE_CHARS: Final = 1000


class WorkTaker(ABC):
    """Takes the items of one consumer of an Agent's workers from the queue, at most `concurrency` at once.

    What runs an item is for a subclass to say.
    """

    def __init__(
        self, connection: Connection, namespace: str, agent: str, consumer: str, concurrency: int
    ) -> None:
        self._connection, self._namespace, self._name = connection, namespace, agent
        self._consumer, self._bus = consumer, JetStreamBus(connection)
        self._slots = asyncio.Semaphore(concurrency)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._heard: Client | None = None  # which cancellations are heard on

    @abstractmethod
    async def _run(self, attempt: str, item: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
        """The end of an attempt, as TASK_DONE says it. Raises LeaseOver."""

    def _type_of(self, end: Mapping[str, Any]) -> str:
        """The type of the event that says the end of an attempt."""
        return names.TASK_DONE

    @property
    def has_work(self) -> bool:
        """Whether there can be anything in the queue."""
        return True

    async def run(self, stopping: asyncio.Event) -> None:
        """Take work until `stopping` is set, then finish what was taken. Cancelled, it leaves that to others."""
        taking = asyncio.create_task(self._take_for_ever()) if self.has_work else None
        try:
            await stopping.wait()
            if taking is not None:
                await stop(taking)
            if self._running:
                await asyncio.wait(self._running.values())
        finally:
            left = [*self._running.values(), *([] if taking is None else [taking])]
            await asyncio.gather(*map(stop, left))

    async def _take_for_ever(self) -> None:
        while True:
            try:
                await self._take()
            except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
                if not isinstance(error, nats.js.errors.ServiceUnavailableError):
                    log.warning("no work queue", extra={"error": repr(error)})
                await asyncio.sleep(RETRY_S)

    async def _take(self) -> None:
        """Take items as long as the connection lasts. Raises ServiceUnavailableError where nothing was queued yet."""
        client = self._connection.client
        stream = client.jetstream()
        queue = await stream.pull_subscribe_bind(self._consumer, stream=names.WORK_STREAM)
        if client is not self._heard:  # for as long as it lasts: what was taken can be cancelled to its end
            await client.subscribe(names.stop_subject(self._namespace, self._name, "*"), cb=self._stop)
            self._heard = client
        try:
            while True:
                await self._slots.acquire()
                asked_at = loop_time()
                try:
                    (message,) = await queue.fetch(1, timeout=FETCH_S)
                except BaseException as error:
                    self._slots.release()
                    if isinstance(error, nats.errors.TimeoutError):
                        continue
                    raise
                self._begin(message, Lease(asked_at, again=message.metadata.num_delivered > 1))
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await queue.unsubscribe()

    def _begin(self, message: Msg, lease: Lease) -> None:
        item = json.loads(message.data)
        attempt = str(item["attempt"])
        task = asyncio.create_task(self._work(message, attempt, item, lease))
        self._running[attempt] = task

        def over(_: object) -> None:
            self._slots.release()
            self._running.pop(attempt, None)

        task.add_done_callback(over)

    async def _stop(self, message: Msg) -> None:
        try:
            attempt = json.loads(message.data)["cancelled"]
        except (ValueError, KeyError, TypeError):  # a reply that somebody has sent here
            return
        running = self._running.get(str(attempt))
        if running is not None:
            running.cancel()

    async def _work(self, message: Msg, attempt: str, item: Mapping[str, Any], lease: Lease) -> None:
        """Run one item to its end; it leaves the queue once the stream has the end."""
        beating = asyncio.create_task(_beat(message, lease))
        try:
            end = await self._run(attempt, item, lease)
            while True:
                try:
                    await self._say(attempt, self._type_of(end), end, id=names.digest("done", attempt))
                    await message.ack()
                    return
                except MalformedEvent as error:
                    end = failed_end("BadResult", str(error))
                except (BusUnavailable, nats.errors.Error, OSError):
                    await asyncio.sleep(RETRY_S)
        except LeaseOver:
            log.warning("work left to another worker", extra={"agent": self._name, "attempt": attempt})
        finally:
            beating.cancel()

    async def _say(self, attempt: str, type_: str, data: Any, *, id: str) -> None:
        event = Event(
            id,
            names.agent_source(self._namespace, self._name),
            type_,
            data,
            subject=attempt,
            time=timestamp(),
            datacontenttype="application/json",
        )
        subject = names.task_subject(self._namespace, self._name, attempt, type_)
        await self._bus.publish(subject, event)


def failed_end(reason: str, message: str) -> dict[str, Any]:
    """The end of an attempt that failed."""
    return {"completed": False, "reason": reason, "message": message[:MAX_MESSAGE_CHARS]}


async def _beat(message: Msg, lease: Lease) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        with contextlib.suppress(nats.errors.Error, OSError):
            await message.in_progress()
            lease.renew()
