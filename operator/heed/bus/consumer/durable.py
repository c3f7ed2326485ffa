"""A durable pull consumer with acknowledgements, shared by any number of processes: work that is done at least once.

Not for Agents, whose cursor is in their ledger. Here the broker remembers what is done: a message that is not
acknowledged in time is delivered again, to whichever process asks next.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.client.stored_messages import StoredMessages
from heed.bus.consumer.start import start_since
from heed.errors import BusUnavailable, ReaderLost

REQUEST_EXPIRY_S: Final = 30.0
OVERDUE_GRACE_S: Final = 5.0  # beyond that, until a request counts as lost
ERR_CONSUMER_NOT_FOUND: Final = 10014
CONSUMER_PAGE: Final = 256
SECOND_NS: Final = 1_000_000_000
_STARTS: Final = ("deliver_policy", "opt_start_time", "opt_start_seq")
_COMPARED: Final = ("filter_subjects", "ack_wait", "max_ack_pending", "max_deliver", "metadata")


@dataclass(frozen=True, slots=True)
class DurableSpec:
    """A consumer as it should be. `since` is a stream time (RFC 3339) to begin at; None: what comes from now on."""

    name: str
    subjects: Sequence[str]
    since: str | None
    ack_wait_s: float
    max_ack_pending: int
    metadata: Mapping[str, str]

    def config(self) -> dict[str, Any]:
        """The broker's configuration, but for where a consumer begins that is made."""
        return {
            "durable_name": self.name,
            "name": self.name,
            "ack_policy": "explicit",
            "replay_policy": "instant",
            "filter_subjects": list(self.subjects),
            "ack_wait": int(self.ack_wait_s * SECOND_NS),
            "max_ack_pending": self.max_ack_pending,
            "max_deliver": -1,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class LeasedMessage:
    """A message that is this process' until it is acknowledged, or its time is over.

    `attempt` counts its deliveries, from 1; `at` is when the stream stored it, in nanoseconds since the epoch.
    """

    message: Msg
    sequence: int
    attempt: int
    at: int


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """How many messages a consumer has not delivered yet, and how many are under way or wait for another attempt."""

    waiting: int
    unacknowledged: int

    @property
    def total(self) -> int:
        """All that are not done."""
        return self.waiting + self.unacknowledged


class DurableConsumer:
    """One process' share of a durable consumer. It is closed and opened again after ReaderLost."""

    def __init__(self, connection: Connection, stream: str, spec: DurableSpec) -> None:
        self._connection, self._stream, self._spec = connection, stream, spec
        self._client = connection.client
        self._inbox = self._client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrivals: list[LeasedMessage] = []
        self._asked = 0
        self._news = asyncio.Event()
        self._failure: str | None = None
        self._unwatch = connection.watch(lambda: self._fail("the connection was lost"))

    @classmethod
    async def open(cls, connection: Connection, stream: str, spec: DurableSpec) -> "DurableConsumer":
        """Make the consumer, or make it as the spec says, and join it. Raises BusUnavailable."""
        await connection.ready()
        await ensure_consumer(connection, stream, spec)
        consumer = cls(connection, stream, spec)
        try:
            consumer._subscription = await consumer._client.subscribe(
                consumer._inbox, cb=consumer._on_message
            )
        except (nats.errors.Error, OSError) as error:
            await consumer.close()
            raise BusUnavailable(f"cannot subscribe at {connection.url}: {error!r}") from error
        return consumer

    async def take(self, limit: int) -> list[LeasedMessage]:
        """Messages, as soon as there are some; none where none came for a while. Raises ReaderLost, BusUnavailable.

        At most `limit` are asked for at a time; whatever was asked for may come.
        """
        if not self._arrivals and self._asked <= 0:
            await self._ask(limit)
        if not self._arrivals and self._failure is None:
            self._news.clear()
            try:
                async with asyncio.timeout(REQUEST_EXPIRY_S + OVERDUE_GRACE_S):
                    await self._news.wait()
            except TimeoutError:
                self._fail("the server forgot a request")
        if not self._arrivals and self._failure is not None:
            raise ReaderLost(f"consumer {self._spec.name}: {self._failure}")
        taken, self._arrivals = self._arrivals, []
        return taken

    async def acknowledge(self, leased: LeasedMessage) -> None:
        """It is done. Where that does not reach the broker, it is delivered again."""
        await self._say(leased, b"+ACK")

    async def release(self, leased: LeasedMessage, delay_s: float) -> None:
        """It is to be delivered again, after a delay."""
        await self._say(leased, b"-NAK " + json.dumps({"delay": int(delay_s * SECOND_NS)}).encode())

    async def extend(self, leased: LeasedMessage) -> None:
        """It is under way still: its time begins again."""
        await self._say(leased, b"+WPI")

    async def lag(self) -> ConsumerLag:
        """How much waits. Raises BusUnavailable."""
        info = await self._connection.api(f"CONSUMER.INFO.{self._stream}.{self._spec.name}")
        return ConsumerLag(int(info["num_pending"]), int(info["num_ack_pending"]))

    async def close(self) -> None:
        """Leave it, and what was delivered here and not taken to others. Never raises."""
        self._unwatch()
        self._fail("it was closed")
        waiting, self._arrivals = self._arrivals, []
        for leased in waiting:
            await self.release(leased, 0.0)
        with contextlib.suppress(nats.errors.Error, OSError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    async def _say(self, leased: LeasedMessage, what: bytes) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._connection.client.publish(leased.message.reply, what)

    async def _ask(self, batch: int) -> None:
        self._asked = batch
        request = {"batch": batch, "expires": int(REQUEST_EXPIRY_S * SECOND_NS)}
        subject = self._connection.api_subject(f"CONSUMER.MSG.NEXT.{self._stream}.{self._spec.name}")
        try:
            await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        except (nats.errors.Error, OSError) as error:
            self._fail(f"a request could not be sent: {error!r}")

    async def _on_message(self, message: Msg) -> None:
        # What a publisher sent may carry a Status header; only the server's own messages have no reply subject.
        if message.reply:
            self._asked -= 1
            self._arrivals.append(_leased(message))
        else:
            self._on_status(message.headers or {})
        self._news.set()

    def _on_status(self, headers: Mapping[str, str]) -> None:
        code, description = headers.get("Status", ""), headers.get("Description", "").lower()
        if code in ("404", "408") or (
            code == "409" and description.endswith(("batch completed", "maxbytes"))
        ):
            self._asked = 0
        elif code == "409" and "exceeded" in description:
            self._asked = 0  # as many requests wait as may; another one in a moment
        elif code == "503":
            self._fail("it is gone")
        elif code != "100":
            self._fail(f"{code} {description}".strip() or "an answer without a status")

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._news.set()


async def ensure_consumer(connection: Connection, stream: str, spec: DurableSpec) -> None:
    """Make a consumer, or change one to what it should be; where it began stays. Raises BusUnavailable."""
    wanted = spec.config()
    create = f"CONSUMER.CREATE.{stream}.{spec.name}"
    try:
        found = (await connection.api(f"CONSUMER.INFO.{stream}.{spec.name}"))["config"]
    except ApiRefused as error:
        if error.err_code != ERR_CONSUMER_NOT_FOUND:
            raise
        wanted |= await _start(connection, stream, spec)
    else:
        if all(_is_same(name, found, wanted) for name in _COMPARED):
            return
        wanted |= {name: found[name] for name in _STARTS if name in found}
    await connection.api(create, {"stream_name": stream, "config": wanted})


async def _start(connection: Connection, stream: str, spec: DurableSpec) -> dict[str, Any]:
    """Where a new consumer begins. Raises BusUnavailable."""
    if spec.since is None:
        return {"deliver_policy": "new"}
    messages = StoredMessages(connection, stream)
    newest = await messages.last(">")
    return await start_since(messages, spec.subjects, spec.since, 0 if newest is None else newest[0])


async def delete_consumer(connection: Connection, stream: str, name: str) -> None:
    """Delete a consumer. Idempotent. Raises BusUnavailable."""
    try:
        await connection.api(f"CONSUMER.DELETE.{stream}.{name}")
    except ApiRefused as error:
        if error.err_code != ERR_CONSUMER_NOT_FOUND:
            raise


async def find_consumers(connection: Connection, stream: str, prefix: str) -> dict[str, Mapping[str, str]]:
    """The durable consumers whose names begin with a prefix, with their metadata. Raises BusUnavailable."""
    found: dict[str, Mapping[str, str]] = {}
    offset, total = 0, 1
    while offset < total:
        page = await connection.api(f"CONSUMER.LIST.{stream}", {"offset": offset})
        items, total = page.get("consumers") or [], int(page.get("total", 0))
        found |= {
            item["name"]: item["config"].get("metadata") or {}
            for item in items
            if item["name"].startswith(prefix)
        }
        offset += len(items) or CONSUMER_PAGE
    return found


def _is_same(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if name == "metadata":  # to which the broker adds some of its own
        return set(wanted[name].items()) <= set((found.get(name) or {}).items())
    if name == "filter_subjects":
        subjects = found.get(name) or ([found["filter_subject"]] if found.get("filter_subject") else [])
        return sorted(subjects) == sorted(wanted[name])
    return bool(found.get(name) == wanted[name])


def _leased(message: Msg) -> LeasedMessage:
    # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>
    tokens = message.reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    attempt, sequence, _, at = map(int, tokens[first : first + 4])
    return LeasedMessage(message, sequence, attempt, at)
