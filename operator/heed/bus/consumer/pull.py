"""An ephemeral pull consumer without acks or redelivery, on which no gap goes undetected.

A request for news lingers at the server for half a minute, whatever the caller's timeout; an idle reader costs one
small message per half minute. What is known to be there is asked for when the reader's turn comes (`flow_control`).

The consumer counts what it delivers: a number left out means that messages were lost on the way, and then (as with a
lost connection or consumer, or messages that the stream dropped unread) there is nothing to repair: the reader is lost.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heed.bus.client.connection import Connection
from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache
from heed.bus.consumer.loss_detector import LossDetector
from heed.errors import BusUnavailable, ReaderLost

NEWS_EXPIRY_S: Final = 30.0  # of a request for news
TURN_EXPIRY_S: Final = 2.0  # seconds for which what is known to be there may take to come
OVERDUE_GRACE_S: Final = 5.0  # beyond either, until a request counts as lost
PULL_BATCH: Final = 500
INACTIVE_THRESHOLD_S: Final = 120.0
FIRST_MESSAGE_TIMEOUT_S: Final = 1.0  # seconds that a message which is there may take to come
TURN_POLL_INTERVAL_S: Final = 1.0  # seconds between two looks whether it still waits for its turn
_SECOND_NS: Final = 1_000_000_000


@dataclass(slots=True)  # not frozen: one is made for every message
class PulledMessage:
    """A delivered message with its metadata. `at` is in nanoseconds since the epoch, `pending` counts what is to come.

    `size` is what it counts for in the reader's credit, until it is released.
    """

    message: Msg
    sequence: int
    at: int
    pending: int
    size: int


class PullConsumer:
    """An ephemeral pull consumer of one stream.

    `floor` is the stream sequence before its first message, `pending` how many messages there were for it when it was
    made, `to_come` how many it had not sent when it last said so.

    With a surveyor, it is lost where the stream dropped messages of its before they were read.
    """

    def __init__(
        self, connection: Connection, stream: str, surveyor: StreamBoundsCache | None = None
    ) -> None:
        self.floor = 0
        self.pending = self.to_come = 0
        self.reached = 0  # the sequence of the latest message that was taken
        self._connection = connection
        self._client = connection.client
        self._stream = stream
        self._consumer = ""
        self._inbox = self._client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrivals: deque[PulledMessage] = deque()
        self._news = asyncio.Event()
        self._losses = LossDetector(surveyor, self._fail, self._news.set) if surveyor else None
        self._delivered = 0  # consumer sequence of the latest arrival
        self._asked = 0  # messages that the server still may send for the request it has
        self._batch = 0  # what that request asked for
        self._bytes = 0
        self._stopped_short = False  # by a message larger than that
        self._asking: asyncio.Task[None] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._credit = connection.credits.open(connection.max_payload, self._take_turn)
        self._failure: ReaderLost | None = None
        self._unwatch = connection.watch(lambda: self._fail("the connection was lost"))

    @classmethod
    async def open(
        cls,
        connection: Connection,
        stream: str,
        config: Mapping[str, Any],
        surveyor: StreamBoundsCache | None = None,
    ) -> "PullConsumer":
        """Create a consumer; `config` has its filters and start. Raises ApiRefused, BusUnavailable."""
        await connection.ready()
        pull = cls(connection, stream, surveyor)
        try:
            await pull._create(config)
        except BaseException:
            await pull.close()
            raise
        return pull

    async def begin(self, surveyor: StreamBoundsCache, before: StreamBounds) -> None:
        """Send the first pull request, and check that the stream was not replaced while the consumer was created.

        Then all that comes is from that stream, as a consumer goes with its stream. Raises ReaderLost, BusUnavailable,
        StreamMissing.
        """
        assert self._losses is not None
        self._ask_for_news()
        if self.pending and not self._arrivals and self._failure is None:
            await self._wait(FIRST_MESSAGE_TIMEOUT_S)
        after = await surveyor.fresh()
        if after.created != before.created:
            raise BusUnavailable(f"stream {self._stream} was replaced just now; trying again will help")
        self.check()
        self.floor = self.reached = self._losses.begin(before, after)

    async def take(self, limit: int, timeout: float) -> list[PulledMessage]:
        """Up to `limit` arrivals as soon as there is one; none after `timeout` seconds. Raises ReaderLost.

        Time spent waiting for other readers' turns does not count. What is taken must be released.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        while (ready := self._ready()) <= 0:
            self.check()
            self._ask_for_more()
            if (now := clock()) >= end and not self._credit.queued:
                if self._losses is not None and not self._arrivals:
                    await self._losses.check_silence()
                    self.check()
                return []
            await self._wait(max(end - now, TURN_POLL_INTERVAL_S))
        taken = [self._arrivals.popleft() for _ in range(min(limit, ready))]
        self.reached = taken[-1].sequence if taken else self.reached
        self._ask_for_more()  # it comes while these are being decided
        return taken

    def release(self, size: int) -> None:
        """Give back credit: `size` bytes of what was taken are durable, or not needed."""
        self._credit.free_held(size)

    @property
    def arrived(self) -> int:
        """How many messages were delivered and not taken yet."""
        return len(self._arrivals)

    def check(self) -> None:
        """Raise ReaderLost where the consumer is lost."""
        if self._failure is not None:
            raise ReaderLost(str(self._failure), self._failure.gone)

    async def has_seen_all(self) -> bool:
        """Whether every message the consumer sent was taken, with none pending and none missed.

        Raises ReaderLost where it may have missed something that the stream dropped, and BusUnavailable.
        """
        if self._arrivals:
            return False
        if self._losses is None or not self._losses.has_missed_nothing():
            self._fail("the stream dropped messages, perhaps before they were read")
        self.check()
        info = await self._info()
        return int(info["delivered"]["consumer_seq"]) == self._delivered - len(self._arrivals)

    async def is_exhausted(self) -> bool:
        """Whether the consumer has nothing more to send, and all that it has sent was taken. Raises BusUnavailable."""
        info = await self._info()
        sent = int(info["delivered"]["consumer_seq"])
        return not info["num_pending"] and sent == self._delivered and not self._arrivals

    async def _info(self) -> dict[str, Any]:
        return await self._connection.api(f"CONSUMER.INFO.{self._stream}.{self._consumer}")

    async def close(self) -> None:
        """Delete the consumer without waiting for it. Never raises, even with the broker unreachable."""
        self._unwatch()
        self._fail("it was closed")
        self._credit.close()
        self._arrivals.clear()
        if self._asking is not None:
            self._asking.cancel()
        if self._losses is not None:
            self._losses.stop()
        with contextlib.suppress(nats.errors.Error, OSError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            if self._consumer and self._connection.is_connected:
                subject = self._connection.api_subject(f"CONSUMER.DELETE.{self._stream}.{self._consumer}")
                await self._client.publish(subject)

    async def _create(self, config: Mapping[str, Any]) -> None:
        try:
            self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        except nats.errors.Error as error:
            raise BusUnavailable(f"cannot subscribe at {self._connection.url}: {error!r}") from error
        wanted = {
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(INACTIVE_THRESHOLD_S * _SECOND_NS),
            "description": self._connection.name,
            **config,
        }
        request = {"stream_name": self._stream, "config": wanted}
        info = await self._connection.api(f"CONSUMER.CREATE.{self._stream}", request)
        self._consumer = info["name"]
        self.floor = self.reached = int(info["delivered"]["stream_seq"])
        self.pending = self.to_come = int(info["num_pending"])
        if self._losses is not None:
            self._losses.note_created(self.floor, self.pending)
        if self._failure is not None:
            raise BusUnavailable(str(self._failure))

    def _ask_for_more(self) -> None:
        """Keep one pull request at the server, or queued until its turn."""
        if self._asked > 0 or len(self._arrivals) >= PULL_BATCH or self._failure is not None:
            return
        if self.to_come or self._stopped_short:
            self._credit.request_turn()
        else:
            self._ask_for_news()

    def _ask_for_news(self) -> None:
        self._ask(PULL_BATCH, self._connection.credits.standing(), NEWS_EXPIRY_S)

    def _take_turn(self, size: int) -> None:
        self._ask(max(1, min(PULL_BATCH, self.to_come)), size, TURN_EXPIRY_S)

    def _ask(self, batch: int, size: int, expiry: float) -> None:
        loop = asyncio.get_running_loop()
        self._asked, self._batch, self._bytes = batch, batch, size
        self._overdue = loop.call_later(expiry + OVERDUE_GRACE_S, self._fail, "the server forgot a request")
        request = {"batch": batch, "max_bytes": size, "expires": int(expiry * _SECOND_NS)}
        self._asking = asyncio.create_task(self._send(request))
        if self._losses is not None:
            self._losses.note_request(loop.time() + expiry)

    async def _send(self, request: Mapping[str, int]) -> None:
        subject = self._connection.api_subject(f"CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}")
        try:
            await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        except (nats.errors.Error, OSError) as error:
            self._fail(f"a request could not be sent: {error!r}")

    async def _wait(self, timeout: float) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()

    async def _on_message(self, message: Msg) -> None:
        # What a publisher sent may well carry a Status header; only the server's own messages have no reply subject.
        if self._failure is None:
            if message.reply:
                self._accept(message)
            else:
                self._on_status(message.headers or {})
        self._news.set()

    def _accept(self, message: Msg) -> None:
        tokens = message.reply.split(".")
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>
        first = 5 if len(tokens) == 9 else 7
        sequence, delivered, at, pending = map(int, tokens[first : first + 4])
        if delivered != self._delivered + 1:
            self._fail(f"message {self._delivered + 1} of its consumer is missing, {delivered} came")
            return
        self._delivered, self.to_come = delivered, pending
        self._asked -= 1
        self._stopped_short = False
        self._arrivals.append(
            PulledMessage(message, sequence, at, pending, self._credit.add_held(len(message.data)))
        )
        if self._losses is not None:
            self._losses.note_arrival(sequence, pending, more=self._asked > 0)
        if self._asked <= 0:
            self._end_request()

    def _on_status(self, headers: Mapping[str, str]) -> None:
        code, description = headers.get("Status", ""), headers.get("Description", "")
        ended = code == "409" and description.lower().endswith(("batch completed", "maxbytes"))
        if ended or code in ("404", "408"):
            # Says how much of the request was not delivered; may come before the last message that was.
            unsent = headers.get("Nats-Pending-Messages", "")
            self._asked -= int(unsent) if unsent.isdecimal() else self._asked
            if not ended:
                self.to_come = 0  # whatever was thought to be there
            elif unsent == str(self._batch):
                self._stopped_short = True
                self._credit.note_too_small(self._bytes)
            if self._asked <= 0:
                self._end_request()
                if self._losses is not None:
                    self._losses.note_request_end()
        elif code == "503":
            self._fail("its consumer is gone")
        elif code != "100":
            self._fail(f"{code} {description}".strip() or "an answer without a status")

    def _ready(self) -> int:
        """How many arrivals can be taken."""
        arrived = len(self._arrivals)
        return arrived if self._losses is None else self._losses.certain_count - self._delivered + arrived

    def _end_request(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        self._credit.end_request()

    def _fail(self, reason: str, gone: int = 0) -> None:
        self._failure = self._failure or ReaderLost(f"reader of stream {self._stream}: {reason}", gone)
        self._end_request()
        self._credit.stop()
        self._news.set()
