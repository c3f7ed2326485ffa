"""The measure of many Agents that each have the same backlog to read, over one connection, next to one Agent alone."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nats

from heed import names
from heed.bus.codec.cloudevents import encode
from heed.core.events import Event
from tests.bench.rig import Rig, memory_of

PATIENCE = 1800.0
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backlog:
    """So many Agents, each with so many events of so many bytes to read."""

    agents: int
    events: int
    size: int


LONG = (Backlog(60, 100, 400_000), Backlog(200, 600, 1_000))
SHORT = (Backlog(12, 25, 400_000), Backlog(40, 100, 1_000))


def backlogs(rig: Rig, wanted: Sequence[Backlog]) -> Figures:
    """Time, spread, reconnections and memory of each, and its time as a multiple of one Agent's."""
    rig.operator.stop()
    figures: Figures = {}
    for item in wanted:
        alone = _drained(rig, Backlog(1, item.events, item.size))
        together = _drained(rig, item)
        name = f"backlog_of_{item.agents}"
        figures |= {
            f"{name}_events": f"{item.events} of {item.size} bytes",
            f"{name}_seconds": round(together.last, 1),
            f"{name}_to_one_agents_times_{item.agents}": round(together.last / alone.last / item.agents, 2),
            f"{name}_last_to_first": round(together.last / together.first, 2),
            f"{name}_last_to_median": round(together.last / together.median, 2),
            f"{name}_reconnections": together.reconnections,
            f"{name}_memory_mib": together.memory,
            f"{name}_memory_of_one_mib": alone.memory,
        }
    return figures


@dataclass(frozen=True, slots=True)
class _Drained:
    """Seconds from the operator's start until the first, the median and the last Agent had decided all."""

    first: float
    median: float
    last: float
    reconnections: int
    memory: int  # MiB, at its most


def _drained(rig: Rig, backlog: Backlog) -> _Drained:
    """Publish for Agents that nobody runs, then start the operator."""
    agents, type_ = rig.new_agents(backlog.agents)
    last = asyncio.run(_publish(rig.nats.url, type_, backlog))
    reached = _Reached()
    with rig.following(reached.saw):
        began = time.perf_counter()
        rig.operator.start()
        reached.until(agents, last)
    page = rig.operator.metrics()
    memory = memory_of(rig.operator.pid, "VmHWM") // 1024
    rig.operator.stop()
    rig.delete_agents(agents)
    times = sorted(max(0.01, at - began) for at in reached.times(agents, last))
    return _Drained(times[0], times[len(times) // 2], times[-1], _disconnected(page), memory)


class _Reached:
    """How far the Agents are, as a watch of all of them shows it."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}
        self._changed = threading.Condition()

    def saw(self, agent: dict[str, Any]) -> None:
        """An Agent, as the watch shows it now."""
        if cursor := (agent.get("status") or {}).get("cursor"):
            with self._changed:
                seen = self._seen.setdefault(agent["metadata"]["name"], [])
                seen.append((time.perf_counter(), cursor["sequence"]))
                self._changed.notify_all()

    def until(self, agents: Sequence[str], sequence: int) -> None:
        """Wait until all of them are at a sequence. Raises TimeoutError."""

        def all_there() -> bool:
            return all(name in self._seen and self._seen[name][-1][1] >= sequence for name in agents)

        with self._changed:
            if not self._changed.wait_for(all_there, PATIENCE):
                raise TimeoutError(f"not all Agents came to {sequence} within {PATIENCE} s")

    def times(self, agents: Sequence[str], sequence: int) -> Iterator[float]:
        """When each of them came there."""
        for name in agents:
            yield next(at for at, there in self._seen[name] if there >= sequence)


async def _publish(url: str, type_: str, backlog: Backlog) -> int:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    last = 0
    for number in range(backlog.events):
        data = {"kind": "order", "amount": number % 900, "pad": "x" * backlog.size}
        event = Event(f"{type_}-{number}", "/bench", type_, data, datacontenttype="application/json")
        headers, payload = encode(event)
        subject = names.event_subject("default", type_)
        last = (await jetstream.publish(subject, payload, headers=headers, timeout=30)).seq
    await client.close()
    return last


def _disconnected(page: str) -> int:
    found = re.search(r'^heed_nats_errors_total\{kind="disconnected"\} (\S+)', page, re.MULTILINE)
    return int(float(found[1])) if found else 0
