"""The gateway, spoken to in bytes: no requests, requests that can be read in two ways, and some that fill memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from heed.bus.client.connection import Connection
from heed.gateway import server
from heed.gateway.connection import MAX_HEAD_BYTES
from tests.integration.gateway.gateway_process import GatewayProcess
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.gateway.test_inbound import binary, send, stored
from tests.integration.gateway.test_serving import status, write_keys
from tests.integration.gateway.test_under_load import MIB, resident
from tests.integration.waiting import until
from tests.nats_server import NatsServer

HOST = b"Host: 127.0.0.1\r\n"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture
async def gateway(connection: Connection) -> AsyncIterator[RunningGateway]:
    """As in `heed dev`."""
    async with serving(connection) as gateway:
        yield gateway


def request(
    namespace: str,
    headers: bytes = LENGTH,
    body: bytes = b"hi",
    *,
    line: str = "POST /v1/events/{} HTTP/1.1",
    host: bytes = HOST,
    id_: str = "1",
) -> bytes:
    """An event in binary mode, as bytes."""
    head = "".join(f"{name}: {value}\r\n" for name, value in binary(id=id_).items()).encode()
    first = line.format(namespace).encode() + b"\r\n"
    return first + host + head + b"Content-Type: text/plain\r\n" + headers + b"\r\n" + body


async def exchange(gateway: RunningGateway, sent: bytes) -> bytes:
    """All that is answered to something, whose last request closes the connection."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer that is a problem document, and nothing else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert "Content-Type: application/problem+json" in lines and "Server: heed" in lines, lines
    assert b"aiohttp" not in answer and b"Python" not in answer
    document = json.loads(body)
    assert int(lines[0].split()[1]) == document["status"]
    return document["status"], document["code"]


# --- what is no request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "line", "host"),
    [
        (LENGTH + LENGTH, b"hi", None, HOST),
        (LENGTH + b"Content-Length: 20\r\n", b"hi", None, HOST),
        (b"Content-Length: 2, 2\r\n", b"hi", None, HOST),
        (b"Content-Length: +2\r\n", b"hi", None, HOST),
        (b"Content-Length: 99999999999999999999999\r\n", b"hi", None, HOST),
        (LENGTH + CHUNKED, b"2\r\nhi\r\n" + LAST_CHUNK, None, HOST),
        (b"Transfer-Encoding: chunked, chunked\r\n", b"2\r\nhi\r\n" + LAST_CHUNK, None, HOST),
        (b"Transfer-Encoding: identity\r\n", b"hi", None, HOST),
        (CHUNKED, b"-2\r\nhi\r\n" + LAST_CHUNK, None, HOST),
        (CHUNKED, b"2\nhi\n0\n\n", None, HOST),
        (b"X-Note: a\r\n b\r\n" + LENGTH, b"hi", None, HOST),
        (b"X-Note : a\r\n" + LENGTH, b"hi", None, HOST),
        (b"X-Note: a\rb\r\n" + LENGTH, b"hi", None, HOST),
        (b"X-Note: a\0b\r\n" + LENGTH, b"hi", None, HOST),
        (LENGTH, b"hi", None, b""),
        (LENGTH, b"hi", None, HOST + b"Host: example.com\r\n"),
        (LENGTH, b"hi", "POST /v1/events/{} HTTP/1.2", HOST),
        (LENGTH, b"hi", "PO(ST /v1/events/{} HTTP/1.1", HOST),
    ],
)
async def test_what_is_no_request_is_refused(
    gateway: RunningGateway, namespace: str, headers: bytes, body: bytes, line: str | None, host: bytes
) -> None:
    line = line or "POST /v1/events/{} HTTP/1.1"
    answer = await exchange(gateway, request(namespace, headers, body, line=line, host=host))

    assert problem(answer) == (400, "BadRequest")
    assert b"X-Note" not in answer  # it is not shown what came: there may be a token in it
    assert await stored(gateway, namespace) == []
    page = (await gateway.context.metrics.page(""))[0].decode()
    assert 'heed_gateway_malformed_total{code="400"} 1.0' in page


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", (414, "TargetTooLong")),
        (b"POST / HTTP/1.1\r\n" + HOST + b"ce-id: " + b"x" * 17_000 + b"\r\n\r\n", (431, "HeadTooLarge")),
        (b"POST / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"\r\n", (400, "BadRequest")),
    ],
)
async def test_what_is_too_large_is_told_so(
    gateway: RunningGateway, sent: bytes, expected: tuple[int, str]
) -> None:
    assert problem(await exchange(gateway, sent)) == expected


@pytest.mark.parametrize(
    "codings",
    [
        (
            b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n" + LENGTH,
            b"hi",
            (415, "ContentEncoding"),
        ),
        (b"Content-Encoding: identity, br\r\n" + LENGTH, b"hi", (415, "ContentEncoding")),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"2\r\nhi\r\n" + LAST_CHUNK, (501, "TransferCoding")),
    ],
)
async def test_codings_of_a_body_are_refused(
    gateway: RunningGateway, namespace: str, codings: tuple[bytes, bytes, tuple[int, str]]
) -> None:
    headers, body, expected = codings

    answer = await exchange(gateway, request(namespace, headers + b"Connection: close\r\n", body))

    assert problem(answer) == expected
    assert await stored(gateway, namespace) == []


# --- what might be read in two ways ---------------------------------------------------------------------------------


async def test_the_body_of_a_refused_request_is_no_request(gateway: RunningGateway, namespace: str) -> None:
    hidden = request(namespace, id_="hidden")
    length = f"Content-Length: {len(hidden)}\r\n".encode()
    last = request(namespace, LENGTH + b"Connection: close\r\n", id_="last")

    answer = await exchange(gateway, request(namespace, length, hidden, line="POST /nothing HTTP/1.1") + last)

    assert [line.split()[1] for line in answer.split(b"HTTP/1.1 ")[1:]] != []
    assert answer.count(b"HTTP/1.1 404 ") == 1 and answer.count(b"HTTP/1.1 202 ") == 1
    assert [event.id for _, event in await stored(gateway, namespace)] == ["last"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("POST /v1/%65vents/{} HTTP/1.1", b"202"),
        ("POST /v1/events/{}?a=b HTTP/1.1", b"202"),
        ("POST http://127.0.0.1/v1/events/{} HTTP/1.1", b"202"),
        ("POST /v1/events/{} HTTP/1.0", b"202"),
        ("POST /v1/hooks/x/../../events/{} HTTP/1.1", b"404"),
        ("POST /v1/hooks/x/%2e%2e/%2e%2e/events/{} HTTP/1.1", b"404"),
        ("POST //v1/events/{} HTTP/1.1", b"404"),
        ("POST /v1/events/{}%0a HTTP/1.1", b"404"),
        ("POST /v1/events/{}%2fx HTTP/1.1", b"404"),
        ("POST /v1/events/{}/ HTTP/1.1", b"404"),
        ("POST http://example.com/v1/events/{} HTTP/1.1", b"403"),  # of another host than this machine
        ("OPTIONS * HTTP/1.1", b"404"),
        ("CONNECT example.com:80 HTTP/1.1", b"404"),
        ("PUT /v1/events/{} HTTP/1.1", b"405"),
    ],
)
async def test_a_path_is_what_it_says(
    gateway: RunningGateway, namespace: str, line: str, expected: bytes
) -> None:
    sent = request(namespace, LENGTH + b"Connection: close\r\n", line=line)

    answer = await exchange(gateway, sent)

    assert answer.split()[1] == expected
    assert len(await stored(gateway, namespace)) == (expected == b"202")


async def test_requests_that_come_at_once_are_answered_in_turn(
    gateway: RunningGateway, namespace: str
) -> None:
    count = 100  # more than the library reads ahead
    sent = [request(namespace, id_=str(number)) for number in range(count)]
    sent.append(request(namespace, LENGTH + b"Connection: close\r\n", id_=str(count)))

    answer = await exchange(gateway, b"".join(sent))

    assert answer.count(b"HTTP/1.1 202 ") == count + 1
    assert [event.id for _, event in await stored(gateway, namespace)] == [str(n) for n in range(count + 1)]


# --- what would fill its memory -------------------------------------------------------------------------------------


def filler(size: int) -> bytes:
    """Headers of some size together."""
    return b"".join(b"X-%03d: %s\r\n" % (number, b"v" * 992) for number in range(size // 1001))


async def test_headers_have_a_bound_together(gateway: RunningGateway, namespace: str) -> None:
    large = LENGTH + b"Connection: close\r\n" + filler(MAX_HEAD_BYTES - 2000)
    assert (await exchange(gateway, request(namespace, large))).startswith(b"HTTP/1.1 202 ")

    larger = LENGTH + b"Connection: close\r\n" + filler(MAX_HEAD_BYTES + 2000)
    assert problem(await exchange(gateway, request(namespace, larger))) == (431, "HeadTooLarge")


async def test_a_head_that_does_not_end_is_given_up(gateway: RunningGateway, namespace: str) -> None:
    endless = request(namespace, filler(100_000))[:-4]
    reader, writer = await asyncio.open_connection(*gateway.address)
    answering = asyncio.create_task(reader.read())
    with suppress(ConnectionError):  # it is hung up on in the middle
        for begin in range(0, len(endless), 10_000):
            writer.write(endless[begin : begin + 10_000])
            await writer.drain()
            await asyncio.sleep(0)
    with suppress(ConnectionError):
        answer = await answering
        assert answer == b"" or problem(answer) == (431, "HeadTooLarge")
    writer.close()
    page = (await gateway.context.metrics.page(""))[0].decode()
    assert 'heed_gateway_malformed_total{code="431"} 1.0' in page


async def test_a_large_body_in_small_chunks_is_no_head(gateway: RunningGateway, namespace: str) -> None:
    body = b"1\r\nx\r\n" * 30_000 + LAST_CHUNK  # five times as many bytes around the data as there are data
    answer = await exchange(gateway, request(namespace, CHUNKED + b"Connection: close\r\n", body))

    assert answer.startswith(b"HTTP/1.1 202 ")
    [(_, event)] = await stored(gateway, namespace)
    assert event.data == "x" * 30_000


@pytest.mark.parametrize("part", ["head", "trailers"])
async def test_heads_that_never_end_take_no_memory(
    nats_server: NatsServer, namespace: str, part: str
) -> None:
    endless = filler(100_000) * 10
    sent = request(namespace, CHUNKED, b"2\r\nhi\r\n0\r\n") + endless
    if part == "head":
        sent = request(namespace, endless)
    process = GatewayProcess(nats_server.url)
    await process.start()
    idle = resident(process.pid)

    async def flood() -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(10):
                writer.write(sent)
                await writer.drain()
        return writer

    writers = [
        writer for _ in range(0, 200, 50) for writer in await asyncio.gather(*(flood() for _ in range(50)))
    ]
    held = resident(process.pid)
    for writer in writers:
        writer.transport.abort()
    await process.stop()

    print(f"{idle // MIB} MiB idle, {held // MIB} MiB with 200 connections of {len(sent) // MIB} MiB")
    assert held - idle < 200 * 5 * MAX_HEAD_BYTES, f"{idle} bytes idle, {held} with 200 connections"


async def test_handshakes_that_never_come_count_as_connections(
    connection: Connection, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = write_keys(tmp_path)
    async with serving(connection, certificate=str(tmp_path), max_connections=2) as gateway:
        # Given two connections that say nothing
        monkeypatch.setattr(server, "SILENCE_S", 600.0)
        silent = [await asyncio.open_connection(*gateway.address) for _ in range(2)]
        await until(lambda: gateway.server.connections == 2)

        # Then a third one is closed, and costs no handshake
        reader, writer = await asyncio.open_connection(*gateway.address)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert gateway.server.turned_away == 1

        # But once they have been silent for long, it takes the place of one
        monkeypatch.setattr(server, "SILENCE_S", 0.0)
        assert await status(gateway, namespace, trust) == 202

        # And when they are gone there is room again
        for _, each in silent:
            each.close()
        await until(lambda: gateway.server.connections == 0)
        assert await status(gateway, namespace, trust) == 202
        assert gateway.server.turned_away == 2


async def test_what_a_proxy_says_of_a_sender_changes_nothing(connection: Connection, namespace: str) -> None:
    async with serving(connection, sender_rate=1, sender_burst=1) as gateway:
        path = f"/v1/events/{namespace}"
        assert (await send(gateway, path, binary()))[0] == 202
        for header in ("X-Forwarded-For", "X-Real-IP"):
            assert (await send(gateway, path, {**binary(), header: "192.0.2.1"}))[0] == 429
