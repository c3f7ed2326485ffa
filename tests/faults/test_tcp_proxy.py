"""The TCP fault proxy, in front of a server that echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.faults.tcp_proxy import TcpProxy
from tests.patience import PATIENCE

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[TcpProxy], Awaitable[Streams]]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(1000):
            writer.write(chunk)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with TcpProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[asyncio.StreamWriter] = []

    async def connect(proxy: TcpProxy) -> Streams:
        streams = await asyncio.open_connection("127.0.0.1", proxy.port)
        made.append(streams[1])
        return streams

    yield connect
    for writer in made:
        writer.transport.abort()
    await asyncio.sleep(0)


async def says(streams: Streams, word: bytes) -> bytes:
    """What comes back, b"" where the other side has ended the connection. Raises ConnectionError."""
    reader, writer = streams
    writer.write(word)
    async with asyncio.timeout(PATIENCE):
        return await reader.read(1000)


async def test_what_is_sent_comes_back_through_the_proxy(proxy: TcpProxy, connect: Connect) -> None:
    streams = await connect(proxy)
    assert await says(streams, b"hello") == b"hello"
    assert proxy.connections == 1


async def test_a_cut_is_an_end_and_the_next_connection_works(proxy: TcpProxy, connect: Connect) -> None:
    streams = await connect(proxy)
    await says(streams, b"hello")
    proxy.cut()
    async with asyncio.timeout(PATIENCE):
        assert await streams[0].read() == b""
    assert await says(await connect(proxy), b"again") == b"again"


async def test_a_reset_is_an_error(proxy: TcpProxy, connect: Connect) -> None:
    streams = await connect(proxy)
    await says(streams, b"hello")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await says(streams, b"still there?")


async def test_refused_connections_come_to_the_same_port_again_after_healing(
    proxy: TcpProxy, connect: Connect
) -> None:
    old, port = await connect(proxy), proxy.port
    await says(old, b"hello")
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    assert await says(old, b"old") == b"old", "connections that exist go on"
    await proxy.heal()
    assert proxy.port == port
    assert await says(await connect(proxy), b"new") == b"new"


async def test_a_black_hole_takes_everything_and_breaks_what_lost_bytes_when_it_closes(
    proxy: TcpProxy, connect: Connect
) -> None:
    lost, idle = await connect(proxy), await connect(proxy)
    await says(lost, b"hello")
    await says(idle, b"hello")
    proxy.swallow()
    new = await connect(proxy)
    for streams in (lost, new):
        streams[1].write(b"anybody?")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await streams[0].read(1000)
    await proxy.heal()
    for streams in (lost, new):
        with pytest.raises(ConnectionResetError):
            await says(streams, b"and now?")
    assert await says(idle, b"never noticed") == b"never noticed"


async def test_a_delay_keeps_the_order_and_loses_nothing(proxy: TcpProxy, connect: Connect) -> None:
    streams = await connect(proxy)
    await says(streams, b"hello")
    proxy.slow_down(0.2)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await says(streams, b"late") == b"late"
    assert clock() - began >= 0.4, "once in each direction"
    await proxy.heal()
    assert await says(streams, b"in time") == b"in time"


async def test_a_server_that_is_away_is_a_connection_that_breaks(connect: Connect) -> None:
    async with TcpProxy(1) as nowhere:  # nobody listens on port 1
        streams = await connect(nowhere)
        with pytest.raises(ConnectionError):
            await says(streams, b"hello")


async def test_faults_are_counted(proxy: TcpProxy) -> None:
    proxy.cut()
    proxy.cut()
    proxy.refuse()
    await proxy.heal()
    assert proxy.faults == {"cut": 2, "refuse": 1}
