"""Function tasks: functions of the Agent's code, run for the items of its work queue."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from heed import names
from heed.bus.client.connection import Connection
from heed.errors import BusUnavailable, MalformedEvent
from heed.sdk.agent import Agent
from heed.sdk.errors import CodeError
from heed.sdk.injection import AgentInfo, Resources, TaskContext, resource_of
from heed.sdk.places import failing_place
from heed.sdk.tasks import FunctionTask
from heed.util.clock import timestamp
from heed.worker.lease import Lease
from heed.worker.work_items import WorkTaker, failed_end

log = logging.getLogger("heed.worker")


class FunctionWorker(WorkTaker):
    """Runs the function tasks of an Agent, at most `concurrency` at once."""

    def __init__(
        self,
        agent: Agent,
        connection: Connection,
        namespace: str,
        resources: Resources,
        concurrency: int = 16,
    ) -> None:
        consumer = names.work_consumer(namespace, agent.name)
        super().__init__(connection, namespace, agent.name, consumer, concurrency)
        self._agent, self._resources = agent, resources
        self._functions = {
            task.function.__name__: task for task in agent.tasks.values() if isinstance(task, FunctionTask)
        }

    @property
    def has_work(self) -> bool:
        """Whether the Agent has functions."""
        return bool(self._functions)

    async def _run(self, attempt: str, item: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
        task = self._functions.get(str(item.get("function")))
        if task is None:
            return failed_end("UnknownFunction", f"the code has no task function {item.get('function')}")
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
            return failed_end(error.code, error.message)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return failed_end("DeadlineExceeded", f"not done within {item.get('timeout')} s")
            log.warning("task failed", extra={"attempt": attempt}, exc_info=True)
            return failed_end(type(error).__name__, _explain(task, error))

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


async def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    return await asyncio.to_thread(function, **arguments)


def _explain(task: FunctionTask[Any], error: Exception) -> str:
    place = failing_place(task.function, error)
    return str(error) if place is None else f"{error} ({place})"
