"""The measures. Each returns named figures."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from heed import names
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.codec.cloudevents import encode
from heed.core.events import Event
from heed.kube.client.client import KubeApi, agent_path
from heed.settings import Settings
from tests.bench.rig import Rig, Seen
from tests.cluster.controlplane.waiting import eventually

PAYLOAD = 1024
SESSIONS = 50
Figures = dict[str, Any]


def bench_message(type_: str, number: int) -> tuple[str, dict[str, str], bytes]:
    """Subject, headers and 1 KB of data of an event."""
    data = {"kind": "order", "amount": number % 900, "pad": ""}
    data["pad"] = "x" * (PAYLOAD - 40)
    event = Event(
        f"{type_}-{number}",
        "/bench",
        type_,
        data,
        datacontenttype="application/json",
        extensions={"correlationid": f"s-{number % SESSIONS}"},
    )
    headers, payload = encode(event)
    return names.event_subject("default", type_), headers, payload


def ensure_streams_of(rig: Rig) -> None:
    """Make Heed's streams, so that events can be published before an operator runs."""

    async def act() -> None:
        settings = Settings(nats_url=rig.nats.url)
        connection = await connect(settings, "bench", attempts=3)
        await ensure_streams(connection, settings.stream)
        await connection.close()

    asyncio.run(act())


def raw_patches(rig: Rig, count: int) -> Figures:
    """Merge patches of a small status, one after the other, as Heed sends them."""
    name, _ = rig.new_agent()

    async def act() -> float:
        api = await KubeApi.connect(str(rig.plane.kubeconfig))
        begun = time.perf_counter()
        for number in range(count):
            patch = {"status": {"cursor": {"stream": names.STREAM, "sequence": number}}}
            await api.merge(agent_path("default", name, "status"), patch)
        taken = time.perf_counter() - begun
        await api.close()
        return count / taken

    rate = asyncio.run(act())
    rig.plane.kubectl("delete", "agent", name)
    return {"raw_status_patches_per_second": round(rate)}


def backlog(rig: Rig, count: int) -> Figures:
    """Publish a backlog, fetch it with bare nats-py, then let the operator drain it."""
    name, type_ = rig.new_agent()
    last = asyncio.run(publish_backlog(rig.nats.url, type_, count))
    fetched = asyncio.run(_raw_fetch(rig.nats.url, names.event_subject("default", type_), count))
    writes = rig.status_writes()
    with rig.watching(name) as seen:
        rig.operator.start()
        ended, _, handled = seen.until(last)
        begun, _, before = seen.commits[0]
    committed = (handled - before) / (ended - begun)
    return {
        "events": f"{count} with data of {PAYLOAD} bytes",
        "raw_fetch_per_second": round(fetched),
        "committed_per_second": round(committed),
        "committed_to_fetched": round(committed / fetched, 3),
        "status_writes_per_1000_events": round((rig.status_writes() - writes) / count * 1000, 2),
    }


def idle_latency(rig: Rig, count: int) -> Figures:
    """Single events to a quiet Agent: from just before the publish until a watch shows the commit."""
    name, type_ = rig.new_agent()
    _until_ready(rig, name)

    with rig.watching(name) as seen:
        taken = sorted(asyncio.run(single_events(rig.nats.url, type_, range(count), seen)))
    return {
        "idle_latency_ms_median": round(statistics.median(taken), 1),
        "idle_latency_ms_p95": round(taken[int(len(taken) * 0.95)], 1),
    }


async def single_events(url: str, type_: str, numbers: Iterable[int], seen: Seen) -> list[float]:
    """Milliseconds from just before the publish until the watch shows the commit, of one event after the other."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    taken = []
    for number in numbers:
        subject, headers, payload = bench_message(type_, number)
        begun = time.perf_counter()
        sequence = (await jetstream.publish(subject, payload, headers=headers)).seq
        committed, _, _ = await asyncio.to_thread(seen.until, sequence)
        taken.append((committed - begun) * 1000)
        await asyncio.sleep(0.3)
    await client.close()
    return taken


def writes_by_rate(rig: Rig, seconds: float) -> Figures:
    """Status writes per second while events are offered at growing rates."""
    figures: Figures = {}
    for rate in (50, 500, 2000):
        name, type_ = rig.new_agent()
        _until_ready(rig, name)
        before = rig.status_writes()
        begun = time.perf_counter()
        with rig.watching(name) as seen:
            ended, _, _ = seen.until(asyncio.run(_offer(rig.nats.url, type_, rate, seconds)))
        figures[f"status_writes_per_second_at_{rate}"] = round(
            (rig.status_writes() - before) / (ended - begun), 1
        )
    return figures


def _until_ready(rig: Rig, name: str) -> None:
    eventually(lambda: rig.status(name).get("conditions"), what=f"agent {name} to be ready")


async def publish_backlog(url: str, type_: str, count: int) -> int:
    """Publish so many events as fast as it goes; returns the last sequence."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    last = 0
    for start in range(0, count, 500):
        messages = [bench_message(type_, number) for number in range(start, min(start + 500, count))]
        acks = await asyncio.gather(
            *(jetstream.publish(s, payload, headers=headers) for s, headers, payload in messages)
        )
        last = max(ack.seq for ack in acks)
    await client.close()
    return last


async def _offer(url: str, type_: str, rate: int, seconds: float) -> int:
    """Publish at a steady rate; returns the last sequence."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    begun, sent, last = time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - begun) < seconds:
        due = int(elapsed * rate) - sent
        if due > 0:
            messages = [bench_message(type_, number) for number in range(sent, sent + due)]
            acks = await asyncio.gather(
                *(jetstream.publish(s, p, headers=headers) for s, headers, p in messages)
            )
            sent, last = sent + due, max(ack.seq for ack in acks)
        await asyncio.sleep(0.01)
    await client.close()
    return last


async def _raw_fetch(url: str, subject: str, count: int) -> float:
    client = await nats.connect(url)
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, filter_subject=subject, mem_storage=True
    )
    pull = await client.jetstream().pull_subscribe(subject, stream=names.STREAM, config=config)
    begun, seen = time.perf_counter(), 0
    while seen < count:
        seen += len(await pull.fetch(500, timeout=5))
    taken = time.perf_counter() - begun
    await pull.unsubscribe()
    await client.close()
    return seen / taken
