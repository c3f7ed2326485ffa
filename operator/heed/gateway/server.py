"""The gateway's HTTP server: a bound on connections, and on how long each may idle; drained when it stops."""

import asyncio
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from heed.errors import InvalidSettings
from heed.gateway.connection import MAX_HEADER_BYTES, MAX_HEADERS, MAX_LINE_BYTES, GatewayConnection
from heed.settings import GatewaySettings
from heed.util.aio import stop
from heed.util.clock import loop_time

log = logging.getLogger("heed.gateway")
READ_BUFFER_BYTES: Final = 16 * 1024  # of each connection, in the process
RECEIVE_BUFFER_BYTES: Final = 64 * 1024  # of each connection, in the kernel
LINGER_S: Final = 2.0  # for the rest of a body whose request was refused already
HANDSHAKE_TIMEOUT_S: Final = 10.0
FINISH_TIMEOUT_S: Final = 10.0  # for requests under way, once no others are taken
CANCEL_TIMEOUT_S: Final = 1.0  # for those that are not done by then
BACKLOG: Final = 512
ACCEPT_RETRY_S: Final = 1.0
SILENCE_S: Final = (
    2.0  # after which a connection that has asked nothing gives way to another, where there is no room
)
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


class BoundedServer:
    """An application at its port. `address` is where it listens, once it does.

    Connections are accepted here and not by asyncio, so that one counts from its first packet: with TLS each takes some
    300 KiB from then on, long before its handshake is done.

    Its end has two steps: with `hang_up` set, connections are closed once they had an answer; `stop` waits for the
    requests under way. The library alone would drop what comes of their bodies from then on.
    """

    def __init__(self, application: web.Application, settings: GatewaySettings) -> None:
        self._settings = settings
        self.turned_away = 0  # connections
        self.malformed: Counter[int] = Counter()  # by the status that was answered
        self.hang_up = False
        self._under_way = 0  # requests
        self._quiet = asyncio.Event()
        self._quiet.set()
        application.middlewares.insert(0, self._track)
        application.on_response_prepare.append(self._name_server)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CANCEL_TIMEOUT_S)
        self._tls: ssl.SSLContext | None = None
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._joining: dict[GatewayConnection, asyncio.Task[None]] = {}  # accepted, before their handshake

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._joining) + (len(self._runner.server.connections) if self._runner.server else 0)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listening[0].getsockname()[:2]
        return host, port

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. `port` 0 is any free one. Raises OSError."""
        self._tls = tls
        await self._runner.setup()
        self._listening = await _listen(host, port)
        self._accepting = [asyncio.create_task(self._accept(each)) for each in self._listening]

    async def stop(self) -> None:
        """Take no more connections, wait FINISH_TIMEOUT_S for requests under way, and close all that are left."""
        self.hang_up = True
        await asyncio.gather(*map(stop, self._accepting))
        for listening in self._listening:
            listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await self._quiet.wait()
        await asyncio.gather(*map(stop, list(self._joining.values())))
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

    async def _accept(self, listening: socket.socket) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:  # mostly: there are no file descriptors left
                log.warning("cannot accept a connection, trying again", extra={"error": str(error)})
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            is_full = self.connections >= self._settings.max_connections
            self.turned_away += is_full
            if is_full and not self._hang_up_on_a_silent_one():
                self._turn_away(accepted)
            else:
                connection = self._make_connection()
                joining = asyncio.create_task(self._join(connection, accepted))
                self._joining[connection] = joining
                joining.add_done_callback(partial(self._note_joined, connection))
            await asyncio.sleep(0)  # where more wait, accepting them does not leave this task otherwise

    def _hang_up_on_a_silent_one(self) -> bool:
        """Make room for a new connection where an older one has asked nothing for SILENCE_S. Returns whether."""
        before = loop_time() - SILENCE_S
        for connection, joining in self._joining.items():  # which are in the order in which they came
            if connection.began < before and not joining.cancelling():
                joining.cancel()
                return True
        assert self._runner.server is not None
        for each in self._runner.server.connections:
            if isinstance(each, GatewayConnection) and each.is_silent and each.began < before:
                each.force_close()
                return True
        return False

    def _turn_away(self, accepted: socket.socket) -> None:
        """Answer a connection beyond the bound, where that needs no handshake, and close it; nothing of it is read."""
        with accepted, suppress(OSError):
            if self._tls is None:
                accepted.send(_FULL)

    async def _join(self, connection: GatewayConnection, accepted: socket.socket) -> None:
        """Make a connection of a socket; a handshake that fails closes it."""
        timeout_s = None if self._tls is None else HANDSHAKE_TIMEOUT_S
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )

    def _note_joined(self, connection: GatewayConnection, _: "asyncio.Task[None]") -> None:
        del self._joining[connection]

    def _make_connection(self) -> GatewayConnection:
        assert self._runner.server is not None
        return GatewayConnection(
            self._runner.server,
            self._note_malformed,
            logger=_http_log,
            access_log=None,
            keepalive_timeout=self._settings.keepalive_timeout,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )

    def _note_malformed(self, status: int) -> None:
        self.malformed[status] += 1


async def _listen(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that listen at a port: at all addresses that a host has, None: on all interfaces. Raises OSError."""
    loop = asyncio.get_running_loop()
    bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    found = [socket.socket(fileno=os.dup(each.fileno())) for each in bound.sockets]
    bound.close()
    for listening in found:
        listening.setblocking(False)
        # Inherited by what is accepted: bounds what one read returns.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listening.listen(BACKLOG)
    return found


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
