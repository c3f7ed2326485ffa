"""Work items: functions that the worker takes from the work queue, runs, and says the end of."""

import asyncio
import contextlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
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
from heed.sdk.agent import Agent
from heed.sdk.errors import CodeError
from heed.sdk.injection import AgentInfo, Resources, TaskContext, resource_of
from heed.sdk.places import failing_place
from heed.sdk.tasks import FunctionTask
from heed.util.aio import stop
from heed.util.clock import timestamp

log = logging.getLogger("heed.worker")

HEARTBEAT_S: Final = 10.0  # seconds between two signs of life for the work queue
FETCH_S: Final = 5.0
RETRY_S: Final = 1.0  # seconds until the queue is looked for again
MAX_MESSAGE_CHARS: Final = 1000


class FunctionWorker:
    """Takes the function tasks of an Agent from the queue, at most `concurrency` at once."""

    def __init__(
        self,
        agent: Agent,
        connection: Connection,
        namespace: str,
        resources: Resources,
        concurrency: int = 16,
    ) -> None:
        self._agent, self._connection, self._namespace = agent, connection, namespace
        self._bus, self._resources = JetStreamBus(connection), resources
        self._slots = asyncio.Semaphore(concurrency)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._heard: Client | None = None  # which cancellations are heard on
        self._functions = {
            task.function.__name__: task for task in agent.tasks.values() if isinstance(task, FunctionTask)
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Take work until `stopping` is set, then finish what was taken."""
        taking = asyncio.create_task(self._take_for_ever()) if self._functions else None
        await stopping.wait()
        if taking is not None:
            await stop(taking)
        if self._running:
            await asyncio.wait(self._running.values())

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
        client, name = self._connection.client, names.work_consumer(self._namespace, self._agent.name)
        stream = client.jetstream()
        queue = await stream.pull_subscribe_bind(name, stream=names.WORK_STREAM)
        if client is not self._heard:  # for as long as it lasts: what was taken can be cancelled to its end
            await client.subscribe(names.stop_subject(self._namespace, self._agent.name, "*"), cb=self._stop)
            self._heard = client
        try:
            while True:
                await self._slots.acquire()
                try:
                    (message,) = await queue.fetch(1, timeout=FETCH_S)
                except BaseException as error:
                    self._slots.release()
                    if isinstance(error, nats.errors.TimeoutError):
                        continue
                    raise
                self._begin(message)
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await queue.unsubscribe()

    def _begin(self, message: Msg) -> None:
        item = json.loads(message.data)
        attempt = str(item["attempt"])
        task = asyncio.create_task(self._work(message, attempt, item))
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

    async def _work(self, message: Msg, attempt: str, item: Mapping[str, Any]) -> None:
        """Run one item to its end; it leaves the queue once the stream has the end."""
        beating = asyncio.create_task(_beat(message))
        try:
            end = await self._run(attempt, item)
            while True:
                try:
                    await self._say(attempt, names.TASK_DONE, end, id=names.digest("done", attempt))
                    await message.ack()
                    return
                except MalformedEvent as error:
                    end = _failed("BadResult", str(error))
                except (BusUnavailable, nats.errors.Error, OSError):
                    await asyncio.sleep(RETRY_S)
        finally:
            beating.cancel()

    async def _run(self, attempt: str, item: Mapping[str, Any]) -> dict[str, Any]:
        task = self._functions.get(str(item.get("function")))
        if task is None:
            return _failed("UnknownFunction", f"the code has no task function {item.get('function')}")
        said: list[Future[None]] = []
        context = self._context(task, attempt, int(item.get("number") or 1), said)
        limit = asyncio.timeout(item.get("timeout"))
        try:
            arguments = task.parse_input(item.get("input"))
            arguments |= {name: self._injected(hint, context) for name, hint in task.injected.items()}
            async with limit:
                result = await _call(task.function, arguments)
            await asyncio.gather(*map(asyncio.wrap_future, said))  # what it said comes before its end
            return {"completed": True, "result": task.dump_result(result)}
        except CodeError as error:
            return _failed(error.code, error.message)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return _failed("DeadlineExceeded", f"not done within {item.get('timeout')} s")
            log.warning("task failed", extra={"attempt": attempt}, exc_info=True)
            return _failed(type(error).__name__, _explain(task, error))

    def _context(
        self, task: FunctionTask[Any], attempt: str, number: int, said: "list[Future[None]]"
    ) -> TaskContext:
        loop = asyncio.get_running_loop()

        def say(data: Any) -> None:
            said.append(asyncio.run_coroutine_threadsafe(self._progress(attempt, data), loop))

        return TaskContext(attempt, task.name, number, say)

    def _injected(self, hint: Any, context: TaskContext) -> Any:
        if hint is TaskContext:
            return context
        if hint is AgentInfo:
            return AgentInfo(self._agent.name, self._namespace)
        resource = resource_of(hint)
        return None if resource is None else self._resources.get(resource)

    async def _progress(self, attempt: str, data: Any) -> None:
        with contextlib.suppress(BusUnavailable, MalformedEvent):
            id = names.digest("progress", attempt, timestamp())
            await self._say(attempt, names.TASK_PROGRESS, data, id=id)

    async def _say(self, attempt: str, type_: str, data: Any, *, id: str) -> None:
        event = Event(
            id,
            names.agent_source(self._namespace, self._agent.name),
            type_,
            data,
            subject=attempt,
            time=timestamp(),
            datacontenttype="application/json",
        )
        subject = names.task_subject(self._namespace, self._agent.name, attempt, type_)
        await self._bus.publish(subject, event)


async def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    return await asyncio.to_thread(function, **arguments)


async def _beat(message: Msg) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        with contextlib.suppress(nats.errors.Error, OSError):
            await message.in_progress()


def _failed(reason: str, message: str) -> dict[str, Any]:
    return {"completed": False, "reason": reason, "message": message[:MAX_MESSAGE_CHARS]}


def _explain(task: FunctionTask[Any], error: Exception) -> str:
    place = failing_place(task.function, error)
    return str(error) if place is None else f"{error} ({place})"
