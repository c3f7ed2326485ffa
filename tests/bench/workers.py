"""The measures of Agents in Python, each next to an Agent that does the same with expressions."""

from __future__ import annotations

import asyncio
import http.client
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.bench import coded
from tests.bench.measures import publish_backlog, single_events
from tests.bench.rig import AGENTS, Rig, is_ready
from tests.cluster.controlplane.waiting import eventually

Figures = dict[str, Any]
Manifest = Callable[[str], dict[str, Any]]
TWINS: tuple[tuple[str, Manifest], ...] = (("cel", coded.in_cel), ("python", coded.in_python))
FEW, MANY = 20, 200
EVENTS_EACH = 50  # for each of many Agents
EVERY_S = 0.02  # between two looks at the event loop


def workers(rig: Rig, events: int, idle: int, agents: int) -> Figures:
    """Rates, latency, and the operator's memory and the delay of its event loop with many such Agents."""
    figures = {**_backlogs(rig, events), **_latencies(rig, idle)}
    for kind, manifest in TWINS:
        figures |= _many(rig, kind, manifest, agents)
    figures["python_to_cel_committed"] = round(
        figures["python_committed_per_second"] / figures["cel_committed_per_second"], 2
    )
    figures["python_idle_latency_ms_more"] = round(
        figures["python_idle_latency_ms_median"] - figures["cel_idle_latency_ms_median"], 1
    )
    return figures


def _backlogs(rig: Rig, count: int) -> Figures:
    figures: Figures = {}
    for kind, manifest in TWINS:
        name = f"drain-{kind}"
        rig.operator.stop()
        rig.apply([manifest(name)])
        last = asyncio.run(publish_backlog(rig.nats.url, coded.type_of(name), count))
        with _working(rig, [name]), rig.watching(name) as seen:
            rig.operator.start()
            ended, _, handled = seen.until(last)
            begun, _, before = seen.commits[0]
        figures[f"{kind}_committed_per_second"] = round((handled - before) / (ended - begun))
    return figures


def _latencies(rig: Rig, count: int) -> Figures:
    """Single events to a quiet Agent: a few of the one, then of the other, and so on."""
    rounds = 10
    taken: dict[str, list[float]] = {kind: [] for kind, _ in TWINS}
    agents = {kind: f"idle-{kind}" for kind, _ in TWINS}
    rig.apply([manifest(agents[kind]) for kind, manifest in TWINS])
    with _working(rig, list(agents.values())):
        eventually(lambda: _ready(rig, agents.values()), what="both Agents to be ready")
        for turn in range(rounds):
            for kind, name in agents.items():
                with rig.watching(name) as seen:
                    first = turn * count // rounds
                    numbers = range(first, first + count // rounds)
                    taken[kind] += asyncio.run(
                        single_events(rig.nats.url, coded.type_of(name), numbers, seen)
                    )
    return {
        f"{kind}_idle_latency_ms_{figure}": round(value, 1)
        for kind, times in taken.items()
        for figure, value in (
            ("median", statistics.median(times)),
            ("p95", sorted(times)[int(len(times) * 0.95)]),
        )
    }


def _many(rig: Rig, kind: str, manifest: Manifest, count: int) -> Figures:
    """Many Agents, each with events of its own at the same time."""
    rig.operator.stop()
    agents = [f"many-{kind}-{number}" for number in range(count)]
    rig.apply([manifest(name) for name in agents])
    with _working(rig, agents):
        rig.operator.start()
        eventually(lambda: _ready(rig, agents), what="all to be ready", timeout=900.0, every=1.0)
        idle = rig.operator_memory()
        with _loop_delays(rig) as delays:
            asyncio.run(_publish_each(rig.nats.url, agents))
            eventually(
                lambda: _handled(rig, agents) == count * EVENTS_EACH,
                what="all events to be handled",
                timeout=900.0,
                every=0.5,
            )
        busy = rig.operator_memory()
    rig.operator.stop()
    rig.delete_agents(agents)
    delays.sort()
    name = f"{kind}_{count}_agents"
    return {
        f"{name}_memory_mib": idle,
        f"{name}_memory_after_{EVENTS_EACH}_events_each_mib": busy,
        f"{name}_loop_delay_ms_median": round(statistics.median(delays), 1),
        f"{name}_loop_delay_ms_p99": round(delays[int(len(delays) * 0.99)], 1),
    }


@contextmanager
def _working(rig: Rig, agents: Sequence[str]) -> Iterator[None]:
    """One process that is the worker of all these Agents; those with expressions do not ask it."""
    environment = {**os.environ, "HEED_NATS_URL": rig.nats.url}
    command = [sys.executable, "-m", "tests.bench.coded", *agents]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the worker did not start")
            yield
        finally:
            process.kill()  # many workers on one connection take their time to drain, which nothing waits for here


@contextmanager
def _loop_delays(rig: Rig) -> Iterator[list[float]]:
    """Milliseconds until the operator's event loop answered that it is alive, again and again."""
    delays: list[float] = []
    over = threading.Event()

    def look() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", rig.operator.port, timeout=60)
        while not over.wait(EVERY_S):
            begun = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            delays.append((time.perf_counter() - begun) * 1000)
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield delays
    finally:
        over.set()
        thread.join()


async def _publish_each(url: str, agents: Sequence[str]) -> None:
    for name in agents:
        await publish_backlog(url, coded.type_of(name), EVENTS_EACH)


def _agents(rig: Rig, names: Collection[str]) -> list[dict[str, Any]]:
    return [item for item in rig.plane.admin.get(AGENTS)["items"] if item["metadata"]["name"] in names]


def _ready(rig: Rig, names: Collection[str]) -> bool:
    found = _agents(rig, names)
    return len(found) == len(names) and all(map(is_ready, found))


def _handled(rig: Rig, names: Collection[str]) -> int:
    statuses = (item.get("status") or {} for item in _agents(rig, names))
    return sum((status.get("totals") or {}).get("handled", 0) for status in statuses)
