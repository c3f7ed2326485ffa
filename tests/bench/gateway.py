"""The gateway beside raw publishes to JetStream, in the same run: events per second, and how long one takes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import nats

from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.settings import Settings
from tests.bench.measures import PAYLOAD, bench_message
from tests.integration.gateway.gateway_process import GatewayProcess

SENDERS = 16  # connections of the gateway that send at once, one request after the other
BATCH = 50  # events in a batch
Figures = dict[str, Any]


def gateway(url: str, count: int) -> Figures:
    """Publishes one by one with bare nats-py; the same events by HTTP, alone and with SENDERS; and in batches."""
    return asyncio.run(_gateway(url, count))


async def _gateway(url: str, count: int) -> Figures:
    connection = await connect(Settings(nats_url=url), "bench", attempts=3)
    await ensure_streams(connection, Settings().stream)
    await connection.close()
    raw = await _raw(url, count)
    process = GatewayProcess(url)
    await process.start()
    try:
        alone = await _send(process.port, "alone", 1, count // 4)
        many = await _send(process.port, "many", SENDERS, count)
        batches = await _send(process.port, "batches", 4, max(count // BATCH, 4), BATCH)
    finally:
        await process.stop()
    return {
        **_named("raw_publish", raw, 1),
        **_named("gateway_alone", alone, 1),
        **_named(f"gateway_{SENDERS}_senders", many, 1),
        **_named(f"gateway_batches_of_{BATCH}", batches, BATCH),
        "gateway_to_raw": round(many[0] / raw[0], 2),
    }


def _named(name: str, found: tuple[float, list[float]], events: int) -> Figures:
    rate, taken = found
    ordered = sorted(taken)
    return {
        f"{name}_events_per_second": round(rate * events),
        f"{name}_ms_median": round(ordered[len(ordered) // 2] * 1000, 2),
        f"{name}_ms_p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
    }


async def _raw(url: str, count: int) -> tuple[float, list[float]]:
    client = await nats.connect(url)
    jetstream, taken = client.jetstream(), []
    begun = time.perf_counter()
    for number in range(count):
        subject, headers, payload = bench_message("com.bench.raw", number)
        before = time.perf_counter()
        await jetstream.publish(subject, payload, headers=headers)
        taken.append(time.perf_counter() - before)
    rate = count / (time.perf_counter() - begun)
    await client.close()
    return rate, taken


async def _send(port: int, name: str, senders: int, count: int, batch: int = 0) -> tuple[float, list[float]]:
    """Requests per second of some senders, and the seconds that each took.

    Requests are written by hand: a client in Python would take more of the machine than the gateway.
    """
    taken: list[float] = []
    each = count // senders

    async def sender(place: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(each):
            id_ = f"{name}-{place}-{number}"
            request = _batch(id_, batch) if batch else _single(id_)
            before = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            taken.append(time.perf_counter() - before)
            assert answer.startswith(b"HTTP/1.1 202 "), answer
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*map(sender, range(senders)))
    return each * senders / (time.perf_counter() - begun), taken


def _single(id_: str) -> bytes:
    body = b'{"pad": "' + b"x" * (PAYLOAD - 11) + b'"}'
    attributes = {"specversion": "1.0", "id": id_, "source": "/bench", "type": "com.bench.http"}
    head = "".join(f"ce-{name}: {value}\r\n" for name, value in attributes.items())
    return _request(head + "Content-Type: application/json\r\n", body)


def _batch(id_: str, count: int) -> bytes:
    pad = "x" * (PAYLOAD - 11)
    event = (
        '{{"specversion":"1.0","id":"{}","source":"/bench","type":"com.bench.http","data":{{"pad":"{}"}}}}'
    )
    body = "[" + ",".join(event.format(f"{id_}-{index}", pad) for index in range(count)) + "]"
    return _request("Content-Type: application/cloudevents-batch+json\r\n", body.encode())


def _request(head: str, body: bytes) -> bytes:
    begin = f"POST /v1/events/bench HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    return begin.encode() + body
