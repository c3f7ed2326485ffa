"""The TaskRunner of functions and calls: queued for a worker, whose word of the end comes back through the stream."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from nats.aio.msg import Msg

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.codec.cloudevents import decode
from heed.bus.transcripts import TranscriptStream
from heed.bus.work_queue import WorkQueue
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.policy.permissions import Permissions
from heed.core.tasks.kinds import WORKER_KINDS
from heed.core.tasks.losses import CALL_LOST, FUNCTION_LOST, LOSSES
from heed.engine.ports import EventBus, TaskOwner
from heed.errors import BusUnavailable, TaskUnavailable
from heed.settings import StreamSettings
from heed.util.clock import timestamp

log = logging.getLogger("heed.functions")

REASON_ERROR: Final = "Error"
MAX_REASON_CHARS: Final = 100
MAX_MESSAGE_CHARS: Final = 8000
MAX_RETRY_AFTER_S: Final = 24 * 3600.0

Report = Callable[[TaskEnd], object]


class FunctionTasks:
    """What workers do for all Agents of a process: the queues of functions and of calls, and the ends that they say.

    `networks` are those that calls of all Agents may reach, beside public addresses.
    """

    def __init__(
        self, connection: Connection, bus: EventBus, settings: StreamSettings, networks: Sequence[str] = ()
    ) -> None:
        self.networks = tuple(networks)
        self._connection, self._bus = connection, bus
        self._queue = WorkQueue(connection, settings)
        self._calls = WorkQueue(connection, settings, calls=True)
        self._transcripts = TranscriptStream(connection, settings)
        self._owners: dict[tuple[str, str], TaskOwner] = {}

    def runner_of(self, agent: AgentRef, owner: TaskOwner) -> "FunctionRunner":
        """The runner of an Agent's functions, whose ends are reported to it from now on."""
        self._owners[agent.namespace, agent.name] = owner
        return FunctionRunner(agent, self._bus, self._queue, owner.report)

    def caller_of(self, agent: AgentRef, owner: TaskOwner, permissions: Permissions) -> "FunctionRunner":
        """The runner of an Agent's calls, which may reach what is permitted at their start."""
        self._owners[agent.namespace, agent.name] = owner
        egress = permissions.egress_rules(self.networks)
        return CallRunner(agent, self._bus, self._calls, owner.report, {"egress": egress.dump()})

    def asker_of(self, agent: AgentRef, owner: TaskOwner, permissions: Permissions) -> "FunctionRunner":
        """The runner of an Agent's calls of models."""
        self._owners[agent.namespace, agent.name] = owner
        egress = permissions.egress_rules(self.networks)
        runner = ModelRunner(agent, self._bus, self._calls, owner.report, {"egress": egress.dump()})
        runner.transcripts = self._transcripts
        return runner

    async def listen(self) -> None:
        """Hear what workers say, until cancelled. What is said meanwhile is in the stream, where resuming finds it."""
        subject = names.task_subject("*", "*", "*", names.TASK_DONE)
        await self._connection.serve_clients(lambda client: client.subscribe(subject, cb=self._take))

    async def _take(self, message: Msg) -> None:
        tokens = message.subject.split(".", 5)
        owner, attempt = self._owners.get((tokens[2], tokens[3])), tokens[4]
        # A worker may say the end of what workers run, and of nothing else: no Job's, and no approval's.
        if owner is not None and _is_of_workers(owner, attempt):
            event = decode(message.headers, message.data, message.subject)
            if isinstance(event, Event):
                owner.report(read_end(attempt, event))


class FunctionRunner:
    """The TaskRunner of one Agent's function tasks. `more` is in each of their items."""

    loss = FUNCTION_LOST

    def __init__(
        self,
        agent: AgentRef,
        bus: EventBus,
        queue: WorkQueue,
        report: Report,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._agent, self._bus, self._queue, self._report, self._more = agent, bus, queue, report, more

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Queue an attempt; with `look_first` only where it is neither queued nor over. Raises TaskUnavailable."""
        try:
            if not (look_first and await self._is_known(work.attempt_id)):
                await self._queue.put(work, self._more)
        except BusUnavailable as error:
            raise TaskUnavailable(str(error)) from error

    async def cancel(self, attempt_id: str) -> None:
        """Take it from the queue and stop it. Raises TaskUnavailable."""
        try:
            await self._queue.remove(self._agent, attempt_id)
        except BusUnavailable as error:
            raise TaskUnavailable(str(error)) from error

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Report the ends that came meanwhile. One that is nowhere any more is lost."""
        try:
            if attempt_ids:
                await self._queue.prepare(self._agent)
            for attempt_id in attempt_ids:
                if not await self._is_known(attempt_id):
                    self._report(_lost(attempt_id, self.loss))
        except BusUnavailable as error:  # the loop starts over with the connection
            log.warning("cannot look for work", extra={"agent": str(self._agent), "error": str(error)})

    async def _is_known(self, attempt_id: str) -> bool:
        """Whether an attempt is queued or over; its end is reported. Raises BusUnavailable.

        The queue is asked first: an attempt leaves it only once its end is in the stream.
        """
        queued = await self._queue.holds(self._agent, attempt_id)
        agent = self._agent
        subject = names.task_subject(agent.namespace, agent.name, attempt_id, names.TASK_DONE)
        if isinstance(event := await self._bus.last(subject), Event):
            self._report(read_end(attempt_id, event))
            return True
        return queued


class CallRunner(FunctionRunner):
    """The TaskRunner of one Agent's calls."""

    loss = CALL_LOST


class ModelRunner(CallRunner):
    """The TaskRunner of one Agent's calls of models, whose reports come to the Agent itself."""

    transcripts: TranscriptStream

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Queue a call of the model. Raises TaskUnavailable."""
        try:
            await self.transcripts.prepare()
        except BusUnavailable as error:
            raise TaskUnavailable(str(error)) from error
        await super().start(work, look_first=look_first)

    async def _is_known(self, attempt_id: str) -> bool:
        """Whether a call is queued or over; where a report came, the Agent reads it in the stream."""
        queued = await super()._is_known(attempt_id)
        agent = self._agent
        subject = names.task_subject(agent.namespace, agent.name, attempt_id, names.TASK_TURN)
        return queued or await self._bus.last(subject) is not None


def _is_of_workers(owner: TaskOwner, attempt_id: str) -> bool:
    record = (owner.pending_tasks or {}).get(names.split_attempt(attempt_id)[0])
    return record is not None and record.kind in WORKER_KINDS


def read_end(attempt_id: str, event: Event) -> TaskEnd:
    """The end of an attempt as a worker said it: {completed: true, result} or {completed: false, reason, message}."""
    data: Mapping[str, Any] = event.data if isinstance(event.data, Mapping) else {}
    completed = data.get("completed") is True
    reason, message = data.get("reason"), data.get("message")
    if not isinstance(reason, str) or not reason or reason in LOSSES:  # which are not for a worker to say
        reason = REASON_ERROR
    return _end(
        attempt_id,
        event.time or timestamp(),
        completed=completed,
        result=data.get("result") if completed else None,
        reason=None if completed else reason[:MAX_REASON_CHARS],
        message=None if message is None else str(message)[:MAX_MESSAGE_CHARS],
        retryable=data.get("retryable") is not False,
        retry_after=_read_delay(data.get("retryAfter")) if not completed else None,
    )


def _read_delay(value: Any) -> float | None:
    """Seconds that a worker said, where it said a number of them that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return min(float(value), MAX_RETRY_AFTER_S)


def _lost(attempt_id: str, reason: str) -> TaskEnd:
    message = "it is neither in the work queue nor was its end said"
    return _end(attempt_id, timestamp(), completed=False, reason=reason, message=message)


def _end(attempt_id: str, at: str, *, completed: bool, **members: Any) -> TaskEnd:
    task_id, attempt = names.split_attempt(attempt_id)
    return TaskEnd(task_id, names.digest("function", attempt_id), at, completed, attempt=attempt, **members)
