"""A service on loopback that answers as a test says, byte by byte, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it came. Header names are in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class ScriptedService:
    """Answers requests in turn; the last answer goes on. `connections` counts those that were made.

    `hung_up` is set once a client has ended its connection.
    """

    answers: Sequence[Answer]
    port: int = 0
    connections: int = 0
    requests: list[SeenRequest] = field(default_factory=list)
    serving: "set[asyncio.Task[None]]" = field(default_factory=set)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        watching: asyncio.Task[None] | None = None
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await _read(reader)
                self.requests.append(request)
                watching = asyncio.create_task(self._watch(reader))
                await self.answers[min(len(self.requests), len(self.answers)) - 1](writer)
        finally:
            if watching is not None:
                watching.cancel()
            self.serving.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()
        self.hung_up.set()


@asynccontextmanager
async def serving(*answers: Answer, host: str = "127.0.0.1") -> AsyncIterator[ScriptedService]:
    """Run a service with these answers."""
    service = ScriptedService(answers)
    server = await asyncio.start_server(service.serve, host, 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        left = list(service.serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def reply(status: int = 200, body: bytes | str = b"", **headers: str) -> Answer:
    """An answer with a body and headers, whose names are written with _ for -."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def raw(content: bytes) -> Answer:
    """These bytes, and the end of the connection."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return write


def silent_after(content: bytes = b"") -> Answer:
    """These bytes, and nothing more for ever."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await asyncio.Event().wait()

    return write


async def _read(reader: asyncio.StreamReader) -> SeenRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return SeenRequest(method, target, headers, body)
