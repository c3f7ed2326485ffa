"""The work queue: functions and calls in a stream; each is taken by one worker, and by another if that one dies."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from heed import names
from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.core.codec.canonical_json import dump_compact
from heed.core.effects import AgentRef, TaskWork
from heed.errors import BusUnavailable
from heed.settings import StreamSettings

ACK_WAIT_S: Final = 30  # seconds without a sign of life after which another worker gets the work
_NOT_FOUND: Final = (10037, 10059)  # no message on the subject, no stream
_SECOND_NS: Final = 1_000_000_000


class WorkQueue:
    """The stream HEED_WORK, made when it is first needed: of functions, or of `calls`, which are apart from them."""

    def __init__(self, connection: Connection, settings: StreamSettings, *, calls: bool = False) -> None:
        self._connection, self._settings, self._calls = connection, settings, calls
        self._ready = False
        self._consumers: set[str] = set()

    async def put(self, work: TaskWork, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Queue an attempt, with `more` in its item; again is harmless as long as the broker remembers it.

        Raises BusUnavailable.
        """
        agent = work.agent
        await self.prepare(agent)
        item = {**(_call(work) if self._calls else _function(work)), **more}
        headers = {HEADER_MESSAGE_ID: names.digest("work", agent.uid, work.attempt_id)}
        subject = self._subject(agent, work.attempt_id)
        reply = await self._connection.request(subject, dump_compact(item).encode(), headers)
        if (error := json.loads(reply.data).get("error")) is not None:
            raise BusUnavailable(f"the broker did not take work for {agent}: {error.get('description')}")

    async def holds(self, agent: AgentRef, attempt: str) -> bool:
        """Whether an attempt is queued or being worked on. Raises BusUnavailable."""
        subject = self._subject(agent, attempt)
        try:
            await self._connection.api(f"STREAM.MSG.GET.{names.WORK_STREAM}", {"last_by_subj": subject})
        except ApiRefused as error:
            if error.err_code in _NOT_FOUND:
                return False
            raise
        return True

    async def remove(self, agent: AgentRef, attempt: str) -> None:
        """Take an attempt out of the queue, and tell the worker that has it. Raises BusUnavailable."""
        subject = self._subject(agent, attempt)
        try:
            await self._connection.api(f"STREAM.PURGE.{names.WORK_STREAM}", {"filter": subject})
        except ApiRefused as error:
            if error.err_code not in _NOT_FOUND:
                raise
        # Workers take nothing else for a cancellation: other workers can have the broker send its replies there.
        said = dump_compact({"cancelled": attempt}).encode()
        await self._connection.client.publish(names.stop_subject(agent.namespace, agent.name, attempt), said)

    async def prepare(self, agent: AgentRef) -> None:
        """Make the stream, and the consumer of an Agent's workers, where they are missing. Raises BusUnavailable."""
        if not self._ready:
            await self._connection.api(f"STREAM.CREATE.{names.WORK_STREAM}", self._stream())
            self._ready = True
        name = names.work_consumer(agent.namespace, self._pool(agent))
        if name not in self._consumers:
            wanted = {"stream_name": names.WORK_STREAM, "config": _consumer(name, self._subject(agent, ">"))}
            await self._connection.api(f"CONSUMER.DURABLE.CREATE.{names.WORK_STREAM}.{name}", wanted)
            self._consumers.add(name)

    def _pool(self, agent: AgentRef) -> str:
        return names.call_pool(agent.name) if self._calls else agent.name

    def _subject(self, agent: AgentRef, attempt: str) -> str:
        return names.work_subject(agent.namespace, self._pool(agent), attempt)

    def _stream(self) -> dict[str, Any]:
        return {
            "name": names.WORK_STREAM,
            "description": "Functions that Heed's workers are to run",
            "subjects": list(names.WORK_STREAM_SUBJECTS),
            "retention": "workqueue",
            "storage": "file",
            "num_replicas": self._settings.replicas,
            "duplicate_window": self._settings.duplicate_window * _SECOND_NS,
            "allow_direct": True,
        }


def _function(work: TaskWork) -> dict[str, Any]:
    return {**_attempt(work), "function": work.spec.get("name"), "input": work.document.get("input")}


def _call(work: TaskWork) -> dict[str, Any]:
    """What a worker of Heed's is to do: `spec` is rendered, and names Secrets without their values."""
    event = work.document.get("event") or {}
    flow = {
        "source": names.agent_source(work.agent.namespace, work.agent.name),
        "taskId": work.id,
        "startedAt": event.get("time"),
        "correlationid": event.get("correlationid"),
    }
    return {**_attempt(work), "kind": work.kind, "spec": work.spec, "call": flow}


def _attempt(work: TaskWork) -> dict[str, Any]:
    return {
        "attempt": work.attempt_id,
        "task": work.task,
        "number": work.attempt,
        "timeout": work.timeout,
    }


def _consumer(name: str, subject: str) -> dict[str, Any]:
    return {
        "durable_name": name,
        "filter_subject": subject,
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * _SECOND_NS,
        "max_ack_pending": -1,
    }
