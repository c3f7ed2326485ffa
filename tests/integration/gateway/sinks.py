"""A sink in this process: an HTTP server that answers as a test says, and remembers what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = int | tuple[int, dict[str, str]]


@dataclass(frozen=True, slots=True)
class SunkRequest:
    """A request that came: headers by lower-case name."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the event in it, in binary mode."""
        return self.headers.get("ce-id", "")


@dataclass(slots=True)
class Sink:
    """Its URL, what came, and how it answers: `answer` is asked with each request.

    `most_under_way` is how many requests it has had to answer at once.
    """

    url: str = ""
    requests: list[SunkRequest] = field(default_factory=list)
    answer: Callable[[SunkRequest], Answer] = lambda request: 204
    delay_s: float = 0.0  # until it answers
    under_way: int = 0
    most_under_way: int = 0

    @property
    def ids(self) -> list[str]:
        """The ids of all that came, in order."""
        return [item.id for item in self.requests]

    async def take(self, request: web.Request) -> web.Response:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        headers = {name.lower(): value for name, value in request.headers.items()}
        sunk = SunkRequest(request.path, headers, await request.read())
        self.requests.append(sunk)
        await asyncio.sleep(self.delay_s)
        self.under_way -= 1
        answer = self.answer(sunk)
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=more, text="a secret of the sink" if status >= 300 else "")


@asynccontextmanager
async def sink_at(port: int = 0) -> AsyncIterator[Sink]:
    """A sink on loopback; port 0 is any free one."""
    sink = Sink()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", sink.take)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    sink.url = f"http://{host}:{port}/events"
    try:
        yield sink
    finally:
        await runner.cleanup()
