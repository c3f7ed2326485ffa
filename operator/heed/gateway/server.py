"""The gateway's HTTP server: a bound on connections, on headers, on how long each may idle; drained when it stops."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from heed.errors import InvalidSettings
from heed.settings import GatewaySettings

log = logging.getLogger("heed.gateway")
MAX_LINE_BYTES: Final = 8 * 1024  # of the request line, which holds the URL
MAX_HEADER_BYTES: Final = 16 * 1024  # of one header: percent-encoding makes three characters of one byte
MAX_HEADERS: Final = 128
READ_BUFFER_BYTES: Final = 16 * 1024  # of each connection, in the process
RECEIVE_BUFFER_BYTES: Final = 64 * 1024  # of each connection, in the kernel
LINGER_S: Final = 2.0  # for the rest of a body whose request was refused already
HANDSHAKE_TIMEOUT_S: Final = 10.0
FINISH_TIMEOUT_S: Final = 10.0  # for requests under way, once no others are taken
CANCEL_TIMEOUT_S: Final = 1.0  # for those that are not done by then
BACKLOG: Final = 512
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 2\r\n"
    b"Connection: close\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)


def _is_ours(record: logging.LogRecord) -> bool:
    """A filter without what clients do wrong: the library writes down the headers, in which there may be tokens."""
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, HttpProcessingError)


_http_log: Final = logging.getLogger("heed.gateway.http")
_http_log.addFilter(_is_ours)


class _Turnaway(asyncio.Protocol):
    """Answers a connection beyond the bound, and closes it, without reading anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_FULL)
        transport.close()


class BoundedServer:
    """An application at its port. `address` is where it listens, once it does.

    Its end has two steps: with `hang_up` set, connections are closed once they had an answer; `stop` waits for the
    requests under way. The library alone would drop what comes of their bodies from then on.
    """

    def __init__(self, application: web.Application, settings: GatewaySettings) -> None:
        self._settings = settings
        self.turned_away = 0  # connections
        self.hang_up = False
        self._under_way = 0  # requests
        self._quiet = asyncio.Event()
        self._quiet.set()
        application.middlewares.insert(0, self._track)
        application.on_response_prepare.append(self._name_server)
        self._server: asyncio.Server | None = None
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_log,
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=LINGER_S,
            auto_decompress=False,
            shutdown_timeout=CANCEL_TIMEOUT_S,
        )

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. `port` 0 is any free one. Raises OSError."""
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._accept,
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if tls is not None else None,
        )
        for listening in self._server.sockets:  # inherited by what is accepted: bounds what one read returns
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    async def stop(self) -> None:
        """Take no more connections, wait FINISH_TIMEOUT_S for requests under way, and close all that are left."""
        self.hang_up = True
        if self._server is not None:
            self._server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await self._quiet.wait()
        await self._runner.cleanup()

    @web.middleware
    async def _track(self, request: web.Request, handler: Handle) -> web.StreamResponse:
        self._under_way += 1
        self._quiet.clear()
        try:
            response = await handler(request)
            if self.hang_up:
                response.force_close()
            return response
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def _name_server(self, request: web.Request, response: web.StreamResponse) -> None:
        """The library's header would say which versions run here."""
        response.headers["Server"] = "heed"

    def _accept(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        if self.connections >= self._settings.max_connections:
            self.turned_away += 1
            return _Turnaway()
        return self._runner.server()


@asynccontextmanager
async def serving_gateway(
    application: web.Application,
    settings: GatewaySettings,
    *,
    host: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[BoundedServer]:
    """Serve the application on the port of the settings. Raises InvalidSettings where it is taken."""
    server = BoundedServer(application, settings)
    try:
        try:
            await server.start(host, settings.port, tls)
        except OSError as error:
            message = f"HEED_GATEWAY_PORT={settings.port}: {error.strerror or error}; choose a free port"
            raise InvalidSettings(message) from None
        yield server
    finally:
        await server.stop()
