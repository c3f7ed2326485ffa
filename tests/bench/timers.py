"""The measure of timers: what many cost while none ticks, and how soon all are heard that tick in one second."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import yaml
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from heed import names
from tests.bench.rig import AGENTS, Rig, is_ready
from tests.cluster.controlplane.waiting import eventually

TICK = "com.example.bench.tick"
PATIENCE_S = 900.0
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clockworks:
    """So many Agents with so many timers each. They have to be scheduled within `lead` seconds, and idle for `idle`."""

    agents: int
    timers: int
    lead: int
    idle: int


FEW = Clockworks(agents=100, timers=5, lead=60, idle=10)
MANY = Clockworks(agents=1000, timers=5, lead=420, idle=60)


def timers(rig: Rig, wanted: Clockworks) -> Figures:
    """Cores that the operator needs while nothing ticks, without timers and with them, and how late ticks are.

    The Agents stay: deleting a thousand takes longer than all else, so this is the last measure of a run.
    """
    rig.operator.stop()
    agents = [f"clock-{number}" for number in range(wanted.agents)]
    _apply(rig, agents, {})
    rig.operator.start()
    eventually(
        lambda: _count(rig, is_ready) == wanted.agents, what="all to be ready", timeout=PATIENCE_S, every=2.0
    )
    without = _cores(rig, wanted.idle)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=wanted.lead)
    _apply(rig, agents, _timers(wanted.timers, due))
    eventually(
        lambda: _count(rig, lambda item: _scheduled(item) == wanted.timers) == wanted.agents,
        what="all timers to be scheduled",
        every=2.0,
        timeout=max(1.0, (due - datetime.now(UTC)).total_seconds() - wanted.idle),
    )
    with_timers = _cores(rig, wanted.idle)
    late = asyncio.run(_lateness(rig.nats.url, wanted.agents, due))
    rig.operator.stop()
    name = f"timers_{wanted.agents * wanted.timers}_on_{wanted.agents}_agents"
    return {
        f"{name}_idle_cores": round(with_timers, 4),
        f"{name}_idle_cores_without_them": round(without, 4),
        f"{name}_ticks_in_one_second": len(late),
        f"{name}_first_tick_seconds_late": round(late[0], 3),
        f"{name}_median_tick_seconds_late": round(late[len(late) // 2], 3),
        f"{name}_last_tick_seconds_late": round(late[-1], 3),
    }


def _timers(count: int, due: datetime) -> dict[str, Any]:
    """Timers of which one ticks once, and the others at night in a year."""
    night = due - timedelta(days=1)
    yearly = {"cron": f"30 2 {night.day} {night.month} *", "timeZone": "Europe/Berlin"}
    once = {"at": due.isoformat(), "type": TICK}
    return {"once": once, **{f"yearly-{number}": yearly for number in range(count - 1)}}


def _apply(rig: Rig, agents: list[str], timers: dict[str, Any]) -> None:
    handlers = [{"name": "tick", "type": TICK}, {"name": "nightly", "type": names.TIMER_FIRED}]
    more = {"timers": timers} if timers else {}
    documents = [
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"subscribe": [{"type": f"{TICK}.never"}], "handlers": handlers, **more},
        }
        for name in agents
    ]
    rig.plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(documents)
    )


def _count(rig: Rig, condition: Any) -> int:
    return sum(1 for item in rig.plane.admin.get(AGENTS)["items"] if condition(item))


def _scheduled(item: dict[str, Any]) -> int:
    return len((item.get("status") or {}).get("timers") or {})


def _cores(rig: Rig, seconds: int) -> float:
    """How many cores the operator takes, on average of so many seconds."""
    begun, spent = time.perf_counter(), _cpu_seconds(rig.operator.pid)
    time.sleep(seconds)
    return (_cpu_seconds(rig.operator.pid) - spent) / (time.perf_counter() - begun)


def _cpu_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _lateness(url: str, count: int, due: datetime) -> list[float]:
    """How long after they were due the stream had the ticks, in order."""
    client = await nats.connect(url)
    subject = names.inbox_subject("default", "*", TICK)
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, filter_subject=subject, mem_storage=True
    )
    pull = await client.jetstream().pull_subscribe(subject, stream=names.STREAM, config=config)
    late: list[float] = []
    async with asyncio.timeout((due - datetime.now(UTC)).total_seconds() + 120):
        while len(late) < count:
            try:
                found = await pull.fetch(500, timeout=5)
            except TimeoutError:
                continue
            late += [(message.metadata.timestamp - due).total_seconds() for message in found]
    await client.close()
    return sorted(late)
