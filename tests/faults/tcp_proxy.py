"""A TCP proxy that can go wrong: what a network does to a connection, switched on and off while it runs.

cut      all connections end in good order (FIN)
reset    all connections break (RST)
refuse   nobody listens any more; connections that exist go on
swallow  a black hole: what is sent, also on connections that exist, goes nowhere; new ones are accepted
delay    every chunk comes so many seconds later
heal     all is well again; connections that lost bytes break, since nothing could ever repair them
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from types import TracebackType

from tests.ports import reserved_port

CHUNK = 64 * 1024
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() sends RST
BACKLOG = 256


class _Link:
    """One connection: the client's side, and the server's as soon as there is one."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.sides = [client]
        self.lost_bytes = False

    def cut(self) -> None:
        for side in self.sides:
            side.close()

    def reset(self) -> None:
        for side in self.sides:
            raw = side.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it is closed already
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            side.transport.abort()


class TcpProxy:
    """In front of a port of this machine; use as an async context manager. `port` stays the same throughout."""

    def __init__(self, target: int) -> None:
        self.delay = 0.0  # seconds, for every chunk in either direction
        self.faults: Counter[str] = Counter()
        self._target = target
        self._reservation = reserved_port()
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._swallowing = False

    @property
    def port(self) -> int:
        """Where clients connect to."""
        return int(self._reservation.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    async def __aenter__(self) -> TcpProxy:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deafen()
        tasks = list(self._links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reservation.close()

    def cut(self) -> None:
        """End all connections."""
        self.faults["cut"] += 1
        for link in self._links:
            link.cut()

    def reset(self) -> None:
        """Break all connections."""
        self.faults["reset"] += 1
        for link in self._links:
            link.reset()

    def refuse(self) -> None:
        """Take no connections until `heal`."""
        self.faults["refuse"] += 1
        self._deafen()

    def swallow(self) -> None:
        """Be a black hole until `heal`."""
        self.faults["swallow"] += 1
        self._swallowing = True

    def slow_down(self, delay: float) -> None:
        """Delay every chunk until `heal`."""
        self.faults["delay"] += 1
        self.delay = delay

    async def heal(self) -> None:
        """Pass everything on again."""
        self.delay = 0.0
        self._swallowing = False
        for link in self._links:
            if link.lost_bytes:
                link.reset()
        await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, reuse_port=True, backlog=BACKLOG
            )

    def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            await self._carry(link, reader, writer)
        except (OSError, asyncio.CancelledError):
            link.reset()  # also where the server refuses: to the client that is a connection that breaks
        finally:
            del self._links[link]
            link.cut()

    async def _carry(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions, until one of them ends."""
        if self._swallowing:
            link.lost_bytes = True
            while await reader.read(CHUNK):
                pass
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        link.sides.append(server_writer)
        pumps = [
            asyncio.create_task(self._pump(link, reader, server_writer)),
            asyncio.create_task(self._pump(link, server_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await _either(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            if self._swallowing:
                link.lost_bytes = True
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(chunk)
            await writer.drain()


async def _either(pumps: list[asyncio.Task[None]]) -> None:
    """Raise what ended the first of them, if it was an error."""
    for pump in pumps:
        if pump.done():
            pump.result()
