"""Sinks that mean harm, or are broken: absurd answers, bodies that never come, certificates, and slots of others."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heed.bus.client.connection import Connection
from heed.bus.codec.event_requests import write_request
from heed.core.events import Event
from heed.core.policy.addresses import LOOPBACK
from heed.gateway.subscriptions import part
from heed.gateway.subscriptions.sink import SinkClient
from heed.gateway.subscriptions.slots import RequestSlots
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.gateway.sinks import Answer, Sink, sink_at
from tests.integration.gateway.test_inbound import stored
from tests.integration.gateway.test_serving import status, write_keys
from tests.integration.gateway.test_subscriptions import PATIENT, PLACED, Subscriptions
from tests.integration.waiting import until

ONCE = {"attempts": 1}
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def subscriptions(connection: Connection, tmp_path: Path, namespace: str) -> Subscriptions:
    """None yet."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    return Subscriptions(connection, folder, namespace)


@pytest.fixture
async def gateway(
    connection: Connection, subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningGateway]:
    """A gateway that serves them, with four slots, two of them for a namespace."""
    monkeypatch.setattr(part, "RequestSlots", lambda: RequestSlots(most=4, most_of_namespace=2))
    async with serving(connection, manifests=[subscriptions.folder]) as gateway:
        yield gateway


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A sink that takes everything."""
    async with sink_at() as sink:
        yield sink


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A sink in bytes, which closes no connection: its address, and the heads that came."""
    heads: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}", heads
        for writer in writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("asked", ["Sat, 31 Jan 99999999999999999999 12:00:00 GMT", "-9", "NaN", "1e999"])
async def test_an_absurd_wish_for_time_is_no_wish(
    subscriptions: Subscriptions, sink: Sink, asked: str
) -> None:
    answers: list[Answer] = [(503, {"Retry-After": asked}), 204]
    sink.answer = lambda request: answers[len(sink.requests) - 1]
    subscriptions.put(sink.url, delivery={"retry": PATIENT})
    await subscriptions.begun()

    await subscriptions.send("a")
    await until(lambda: len(sink.requests) == 2)

    assert sink.ids == ["a", "a"]


async def test_an_answer_whose_body_never_comes_is_an_answer() -> None:
    client = SinkClient(LOOPBACK)
    request = write_request(Event("a", "/shop", PLACED), "Binary")
    try:
        for head in (b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
            async with answering(OK + head) as (address, heads):
                answer = await client.send(f"http://{address}/", request, {}, 60.0)
            assert (answer.status, answer.problem, len(heads)) == (200, "", 1)
    finally:
        await client.close()


async def test_a_certificate_that_is_not_trusted_gets_no_event(
    connection: Connection, namespace: str, tmp_path: Path
) -> None:
    trust = write_keys(tmp_path)
    client = SinkClient(LOOPBACK)
    request = write_request(Event("a", "/shop", PLACED), "Binary")
    async with serving(connection, certificate=str(tmp_path)) as sink:
        host, port = sink.address
        await until(lambda: accepts(sink, namespace, trust))

        answer = await client.send(f"https://{host}:{port}/v1/events/{namespace}", request, {}, 60.0)
        await client.close()

        assert (answer.status, answer.problem) == (0, "the sink's certificate is not trusted")
        assert [event.id for _, event in await stored(sink, namespace)] == ["1"]


async def accepts(sink: RunningGateway, namespace: str, trust: ssl.SSLContext) -> bool:
    """Whether it takes an event, with id 1, of who trusts it."""
    return await status(sink, namespace, trust) == 202


@pytest.mark.usefixtures("gateway")
async def test_sinks_that_never_answer_take_nothing_from_another_namespace(
    subscriptions: Subscriptions, connection: Connection, namespace: str, sink: Sink
) -> None:
    mallory = Subscriptions(connection, subscriptions.folder, f"{namespace}-m")
    async with answering(b"") as (address, heads):
        # Given a namespace whose sinks never answer, with more under way than there are slots
        mallory.put(f"http://{address}/", "hang", delivery={"timeout": "60s", "maxInFlight": 8})
        await mallory.begun("hang")
        await mallory.send(*map(str, range(8)))
        await until(lambda: len(heads) == 2)

        # Then an event of another namespace is delivered, at its first and only attempt
        subscriptions.put(sink.url, delivery={"timeout": "10s", "retry": ONCE})
        await subscriptions.begun()
        await subscriptions.send("a")
        await until(lambda: sink.ids == ["a"])
        assert len(heads) == 2


@pytest.mark.usefixtures("gateway")
async def test_to_wait_for_a_slot_is_no_attempt(subscriptions: Subscriptions, sink: Sink) -> None:
    async with sink_at() as slow:
        slow.delay_s = 5  # more than twice as long as the other one has to answer
        subscriptions.put(slow.url, "slow", delivery={"timeout": "60s", "maxInFlight": 2})
        await subscriptions.begun("slow")
        await subscriptions.send("1", "2")
        await until(lambda: slow.under_way == 2)

        subscriptions.put(
            sink.url, "quick", delivery={"timeout": "2s", "retry": ONCE}, types=["com.example.invoice.sent"]
        )
        await subscriptions.begun("quick")
        await subscriptions.send("a", type_="com.example.invoice.sent")
        await until(lambda: sink.ids == ["a"])

        assert slow.under_way < 2  # it was sent once one of them had made room
    assert await subscriptions.letters("quick") == []
