"""A connection at whose other end is the test: it notes what is sent, answers as it was told, and plays messages.

All of it is Heed's own but the client library's `Client`, of which no more stands here than Heed asks of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heed.bus.client.connection import Connection
from heed.settings import Settings
from tests.unit.inmemory import turns

API = "$JS.API."
STREAM = "HEED"
CONSUMER = "mine"

Answer = Mapping[str, Any] | Exception | Callable[[Any], Any]


@dataclass(frozen=True)
class Sent:
    """A message that went out. `body` is its JSON, or else its bytes; None where it has none."""

    subject: str
    body: Any = None
    headers: Mapping[str, str] | None = None
    reply: str = ""


class Library(Client):
    """The client library's part: requests are answered by the test, and what is published goes nowhere."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire
        self.listening: dict[str, Callable[[Msg], Awaitable[None]]] = {}
        self.trouble: Exception | None = None  # of whatever is published or subscribed to

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        self._wire.sent.append(Sent(subject, _body(payload), headers))
        self._wire.timeouts.append(timeout)
        answer = await self._wire.answer(subject.removeprefix(API), _body(payload))
        return Msg(self, data=answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if self.trouble is not None:
            raise self.trouble
        self._wire.sent.append(Sent(subject, _body(payload), headers, reply))
        self._wire.published(subject, reply)

    async def subscribe(self, subject: str, *_: Any, cb: Any = None, **__: Any) -> Subscription:
        if self.trouble is not None:
            raise self.trouble
        self.listening[subject] = cb
        return _Listening(self, subject)


class _Listening(Subscription):
    def __init__(self, library: Library, subject: str) -> None:
        super().__init__(library, subject=subject)
        self._library = library

    async def unsubscribe(self, limit: int = 0) -> None:
        if self._library.listening.pop(self.subject, None) is None:
            raise nats.errors.BadSubscriptionError


class Wire(Connection):
    """A connection that is there. `answers` are by the beginning of the subject, without that of JetStream's API."""

    def __init__(self, answers: Mapping[str, Answer] | None = None, **settings: Any) -> None:
        super().__init__(Settings(nats_url="nats://broker:4222", **settings), "test")
        self.answers = dict(answers or {})
        self.sent: list[Sent] = []
        self.timeouts: list[float] = []
        self.library = Library(self)
        self._client = self.library
        self._change(connected=True)

    def lose(self) -> None:
        """The connection is lost."""
        self._change(connected=False)

    def find(self) -> None:
        """The connection is there again."""
        self._change(connected=True)

    async def told(self, error: Exception) -> None:
        """The library says that something went wrong."""
        await self._callbacks(self.library)["error_cb"](error)

    def takes(self, most: int) -> None:
        """The broker takes messages of so many bytes."""
        self.library._max_payload = most

    def asked(self, kind: str) -> list[Sent]:
        """What was asked of JetStream's API so far, of a kind such as CONSUMER.CREATE."""
        return [item for item in self.sent if item.subject.startswith(f"{API}{kind}.")]

    def published(self, subject: str, reply: str) -> None:
        """Something went out that is no request."""

    async def answer(self, subject: str, body: Any) -> Any:
        found = next((found for begin, found in self.answers.items() if subject.startswith(begin)), None)
        if found is None:
            raise nats.errors.NoRespondersError
        if isinstance(found, Exception):
            raise found
        if callable(found):
            found = found(body)
            found = await found if asyncio.iscoroutine(found) else found
        return found

    async def play(
        self,
        data: bytes = b"",
        headers: dict[str, str] | None = None,
        reply: str = "",
        subject: str = "",
        *,
        settle: bool = True,
    ) -> None:
        """A message comes to where somebody listens; `settle`: wait until all that follows from it is done."""
        [(inbox, callback)] = self.library.listening.items()
        await callback(Msg(self.library, subject=subject or inbox, reply=reply, data=data, headers=headers))
        if settle:
            await turns()

    async def status(self, code: str, description: str = "", unsent: int | str | None = None) -> None:
        """The server says how a request fares."""
        headers = {"Status": code, "Description": description}
        if unsent is not None:
            headers["Nats-Pending-Messages"] = str(unsent)
        await self.play(headers=headers)

    async def message(
        self, sequence: int, delivered: int, pending: int = 0, size: int = 0, **more: Any
    ) -> None:
        """The consumer delivers a message."""
        await self.play(b"x" * size, reply=ack(sequence, delivered, pending), **more)


class Shelf(Wire):
    """A connection to a stream of messages: sequence, subject and headers each. All of them come to whoever asks.

    `made` are the configurations of the consumers that were made.
    """

    def __init__(self, *messages: tuple[int, str, dict[str, str]], **settings: Any) -> None:
        super().__init__({"CONSUMER.CREATE": self._make, "CONSUMER.INFO": self._inform}, **settings)
        self.messages = list(messages)
        self.made: list[dict[str, Any]] = []
        self.pending: int | None = None  # what a consumer says that it has to deliver, if that is not all
        self.before_made: Callable[[], Awaitable[object]] | None = None
        self._delivered = 0
        self._delivering: set[asyncio.Task[None]] = set()

    async def _make(self, request: dict[str, Any]) -> dict[str, Any]:
        self.made.append(request["config"])
        self._delivered = 0
        if self.before_made is not None:
            await self.before_made()
        return consumer(len(self.messages) if self.pending is None else self.pending)

    def _inform(self, _: Any) -> dict[str, Any]:
        return consumer(0, delivered=self._delivered)

    def published(self, subject: str, reply: str) -> None:
        if ".CONSUMER.MSG.NEXT." in subject:
            task = asyncio.create_task(self._deliver(reply))
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)

    async def _deliver(self, inbox: str) -> None:
        for sequence, subject, headers in self.messages[self._delivered :]:
            self._delivered += 1
            left = len(self.messages) - self._delivered
            to = ack(sequence, self._delivered, left)
            await self.library.listening[inbox](
                Msg(self.library, subject=subject, reply=to, data=b"data", headers=headers)
            )


def ack(sequence: int, delivered: int, pending: int = 0) -> str:
    """Where a message of a consumer would be acknowledged."""
    return f"$JS.ACK.{STREAM}.{CONSUMER}.1.{sequence}.{delivered}.{sequence * 1000}.{pending}"


def stored_message(
    subject: str,
    data: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    sequence: int = 7,
    time: str = "2026-01-31T12:00:00Z",
) -> dict[str, Any]:
    """The API's answer to STREAM.MSG.GET."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    block = {"hdrs": _base64(f"NATS/1.0\r\n{lines}\r\n".encode())} if headers else {}
    return {"message": {"subject": subject, "seq": sequence, **block, "data": _base64(data), "time": time}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _body(payload: bytes) -> Any:
    try:
        return json.loads(payload) if payload else None
    except ValueError:
        return payload


def stream_info(
    first: int = 1, last: int = 100, created: str = "then", messages: int | None = None
) -> dict[str, Any]:
    """What the broker says of a stream, that lacks nothing between its bounds if nothing else is said."""
    count = last - first + 1 if messages is None else messages
    return {"created": created, "state": {"first_seq": first, "last_seq": last, "messages": count}}


def consumer(pending: int = 0, floor: int = 0, delivered: int = 0) -> dict[str, Any]:
    """What the broker says of a consumer."""
    numbers = {"stream_seq": floor, "consumer_seq": delivered}
    return {"name": CONSUMER, "delivered": numbers, "num_pending": pending}


def refusal(err_code: int = 0, code: int = 400, description: str = "no") -> dict[str, Any]:
    """The API's answer where it refuses a request."""
    return {"error": {"code": code, "err_code": err_code, "description": description}}


class Clock:
    """The time of a test's event loop, which only goes on when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = float(int(loop.time()))  # timers that run already keep their distance, to a second
        monkeypatch.setattr(loop, "time", lambda: self.now)

    async def on(self, seconds: float) -> None:
        """So many seconds later."""
        self.now += seconds
        await turns()
