"""The gateway as a process: killed under load, and asked for more than it can hold."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from tests.integration.gateway.gateway_process import GatewayProcess
from tests.integration.waiting import until
from tests.nats_server import NatsServer

TYPE = "com.example.order.placed"
BATCH = "application/cloudevents-batch+json"
SENDERS, KILLS = 12, 4
MIB = 1024**2
WAITS, RESET = "waits", "reset"


def load_event(id_: str) -> dict[str, str]:
    """An event as JSON."""
    return {"specversion": "1.0", "id": id_, "source": "/load", "type": TYPE}


async def stored(connection: Connection, namespace: str) -> Counter[str]:
    """How often the stream has each event of a namespace, by id."""
    bus = JetStreamBus(connection)
    first, last = await bus.bounds()
    found: Counter[str] = Counter()
    for begin in range(max(first, 1), last + 1, 500):
        for item in await bus.fetch(range(begin, min(begin + 500, last + 1))):
            if item is not None and names.namespace_of_subject(item.subject) == namespace:
                assert isinstance(item.event, Event)
                found[item.event.id] += 1
    return found


class Load:
    """Senders that try each request again until it is answered 202."""

    def __init__(self, gateway: GatewayProcess, namespace: str) -> None:
        self.accepted: set[str] = set()
        self.again = 0  # requests that were sent again
        self.stopping = False
        self._gateway, self._path = gateway, f"/v1/events/{namespace}"

    async def send(self, sender: int) -> None:
        """One sender: single events and batches in turn."""
        async with aiohttp.ClientSession() as http:
            for number in itertools.count():
                if self.stopping:
                    return
                ids = [f"{sender}-{number}-{index}" for index in range(1 if number % 2 else 5)]
                while not await self._try(http, ids):
                    self.again += 1
                    await asyncio.sleep(0.01)
                self.accepted |= set(ids)

    async def _try(self, http: aiohttp.ClientSession, ids: list[str]) -> bool:
        url = f"http://127.0.0.1:{self._gateway.port}{self._path}"
        body = json.dumps([load_event(item) for item in ids]).encode()
        with suppress(aiohttp.ClientError, ConnectionError):
            async with http.post(url, data=body, headers={"Content-Type": BATCH}) as response:
                return response.status == 202
        return False


async def test_whatever_was_answered_202_is_in_the_stream_once_through_kills(
    connection: Connection, nats_server: NatsServer, namespace: str
) -> None:
    gateway = GatewayProcess(nats_server.url)
    await gateway.start()
    load = Load(gateway, namespace)
    sending = [asyncio.create_task(load.send(sender)) for sender in range(SENDERS)]
    for _ in range(KILLS):
        reached = len(load.accepted) + 200
        while len(load.accepted) < reached:  # noqa: ASYNC110, what is accepted is counted by tasks
            await asyncio.sleep(0.005)
        await gateway.kill()
        await gateway.start()
    reached = len(load.accepted) + 200
    while len(load.accepted) < reached:  # noqa: ASYNC110, see above
        await asyncio.sleep(0.005)
    load.stopping = True
    await asyncio.gather(*sending)
    await gateway.stop()

    found = await stored(connection, namespace)
    assert load.again > 0, "no request was under way when the gateway was killed"
    assert {item for item in load.accepted if found[item] != 1} == set()
    assert {item for item, count in found.items() if count > 1} == set()


def resident(pid: int) -> int:
    """Bytes that a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.fixture
async def bounded(nats_server: NatsServer, connection: Connection) -> AsyncIterator[GatewayProcess]:
    """A gateway that holds few bodies, and waits long for them."""
    gateway = GatewayProcess(
        nats_server.url, HEED_GATEWAY_BODY_MEMORY=str(16 * MIB), HEED_GATEWAY_BODY_TIMEOUT="60"
    )
    await gateway.start()
    yield gateway
    await gateway.stop()


async def test_a_thousand_large_bodies_at_once_are_held_or_refused_within_a_bound(
    bounded: GatewayProcess, namespace: str
) -> None:
    head = "".join(f"ce-{name}: {value}\r\n" for name, value in load_event("1").items())
    request = f"POST /v1/events/{namespace} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}"
    request += f"Content-Type: text/plain\r\nContent-Length: {MIB}\r\n\r\n"
    almost = request.encode() + b"x" * (MIB - 1)
    idle = resident(bounded.pid)

    async def send() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """All of a body but its last byte, as far as it is taken."""
        reader, writer = await asyncio.open_connection("127.0.0.1", bounded.port)
        writer.write(almost)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(20):
                await writer.drain()
        return reader, writer

    # Given a thousand connections, each with almost a mebibyte
    opened = [
        connection
        for begin in range(0, 1000, 100)
        for connection in await asyncio.gather(*(send() for _ in range(begin, begin + 100)))
    ]
    held = resident(bounded.pid)

    # Then what could not be held was refused, and the process did not grow with what was sent
    answers = [asyncio.create_task(answer(reader)) for reader, _ in opened]
    await until(lambda: sum(not task.done() for task in answers) < 100)
    answered = Counter(task.result() if task.done() else WAITS for task in answers)
    for _, writer in opened:
        writer.transport.abort()
    await asyncio.gather(*answers)
    assert answered.keys() <= {"503", WAITS, RESET}, answered
    assert 0 < answered[WAITS] < 100, answered  # those that are held, and what of others is on its way yet
    assert answered["503"] > 0, answered
    print(f"{idle // MIB} MiB idle, {held // MIB} MiB with a thousand connections: {dict(answered)}")
    assert held - idle < 8 * 16 * MIB, f"{idle} bytes idle, {held} with a thousand connections"

    # And once they are gone it takes events as before
    headers = {f"ce-{name}": value for name, value in load_event("2").items()}

    async def taken() -> bool:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{bounded.port}") as http,
            http.post(f"/v1/events/{namespace}", headers=headers) as response,
        ):
            return response.status == 202

    await until(taken)


async def answer(reader: asyncio.StreamReader) -> str:
    """The status of an answer, or that it was lost.

    A server that closes a connection while something is sent to it resets it, and the answer may be lost then.
    """
    try:
        line = await reader.readline()
    except ConnectionError:
        return RESET
    return line.split()[1].decode() if line else RESET
