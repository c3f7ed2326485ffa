"""A long outage of one server under load: `python -m tests.faults.outage nats --seconds 600`, or `apiserver`.

before     Agents at work, events published all the time
outage     the server is killed; what its clients do, say and need is noted
after      the server is back, and nobody else lifts a hand
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from heed import names
from heed.bus.client.connection import connect
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.errors import HeedError
from heed.settings import Settings
from tests.cluster.controlplane.build import binaries
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import CRDS, Operator
from tests.nats_server import NatsServer
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import condition

AGENTS = 5
RATE = 20.0  # events a second
TYPE, COUNTED = "com.example.tick", "com.example.counted"
PATH = f"/apis/{names.API_VERSION}/namespaces/default/agents"
LINE = re.compile(r"^\S+ \S+ (WARNING|ERROR|CRITICAL)\s+(\S+): (.*?)(  .*)?$")


@dataclass(slots=True)
class Report:
    """What was seen. Memory in MiB, times in seconds."""

    server: str
    seconds: float
    memory_before: float = 0.0
    memory_most: float = 0.0
    memory_after: float = 0.0
    said_after: float | None = None  # until the conditions (or the probe) told of the outage
    probe: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    log_lines: dict[str, int] = field(default_factory=dict)
    recovered_after: float = 0.0
    events: int = 0
    same_process: bool = False


class Load:
    """Events that are published until each one is acknowledged, at a steady rate, whatever the broker does."""

    def __init__(self, url: str) -> None:
        self.published = 0
        self._url, self._over = url, False
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> int:
        """No more than the one under way, which counts too; returns how many events there are."""
        self._over = True
        await self._task
        return self.published

    async def _publish(self) -> None:
        connection = await connect(Settings(nats_url=self._url), "load")
        bus, subject = JetStreamBus(connection), names.event_subject("default", TYPE)
        try:
            while not self._over:
                event = Event(
                    f"tick-{self.published}",
                    "/load",
                    TYPE,
                    {"n": self.published},
                    datacontenttype="application/json",
                    extensions={"correlationid": f"s-{self.published % 7}"},
                )
                try:
                    await bus.publish(subject, event)
                    self.published += 1
                except HeedError:
                    pass  # the same one again; its id says that it is
                await asyncio.sleep(1 / RATE)
        finally:
            await connection.close()


def counter_manifest(number: int) -> dict[str, Any]:
    """An Agent that counts, and tells of every count."""
    count = {
        "name": "count",
        "type": TYPE,
        "state": {"n": "${state.?n.orValue(0) + 1}"},
        "emit": [{"type": COUNTED, "data": "${event.data.n}", "to": f"reader-{number}"}],
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": f"counter-{number}", "namespace": "default"},
        "spec": {"subscribe": [{"type": TYPE}], "handlers": [count]},
    }


class Scene:
    """The parts, and what can be seen of them."""

    def __init__(self, plane: ControlPlane, nats: NatsServer, operator: Operator) -> None:
        self.plane, self.nats, self.operator, self.url = plane, nats, operator, nats.url
        self.events = 0  # that were published so far

    @classmethod
    @contextmanager
    def set(
        cls, folder: Path, nats: NatsServer | None = None, environment: Mapping[str, str] | None = None
    ) -> Iterator[Scene]:
        """Everything runs, and the Agents are ready. `environment` is the operator's, beside what it needs."""
        plane = ControlPlane(binaries(lambda line: None), crds=sorted(CRDS.glob("*.yaml")))
        with plane, nats or NatsServer(folder / "nats") as server:
            operator = Operator(
                plane.kubeconfig, server.url, folder, free_port(), log_level="info", fork=False
            )
            operator.environment.update(environment or {})
            try:
                operator.start()
                documents = [counter_manifest(number) for number in range(AGENTS)]
                plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
                scene = cls(plane, server, operator)
                eventually(lambda: scene.ready() == ["True"] * AGENTS, PATIENCE, what="ready Agents")
                yield scene
            finally:
                operator.kill()

    def statuses(self) -> list[dict[str, Any]]:
        """The status of every Agent."""
        return [item.get("status") or {} for item in self.plane.admin.get(PATH)["items"]]

    def ready(self) -> list[str]:
        """What every Agent's condition Ready says."""
        return [condition(status, "Ready").get("status", "") for status in self.statuses()]

    def told(self) -> list[str]:
        """The reasons that the Agents' conditions give for not being ready."""
        found = (condition(status, "Ready") for status in self.statuses())
        return [f"{item['reason']}: {item['message']}" for item in found if item.get("status") == "False"]

    def memory(self) -> float:
        """The operator's resident memory in MiB."""
        text = Path(f"/proc/{self.operator.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def log_lines(self, since: int) -> Counter[str]:
        """How often each warning or error was logged since a place of the log."""
        lines = self.operator.log.read_text(errors="replace")[since:].splitlines()
        found = (LINE.match(line) for line in lines)
        return Counter(f"{match[1]} {match[2]}: {match[3]}"[:100] for match in found if match)

    def is_done(self, events: int) -> bool:
        """Whether every Agent has counted every event, and told of it."""
        done = [(s.get("totals", {}).get("handled"), s.get("outbox", {})) for s in self.statuses()]
        return done == [(events, {})] * AGENTS and self.ready() == ["True"] * AGENTS


async def outage(scene: Scene, server: str, seconds: float, say: Callable[[str], None]) -> Report:
    """Let it happen, and look. Fails by AssertionError where the world does not recover."""
    report, pid = Report(server, seconds), scene.operator.pid
    load = Load(scene.nats.url)
    await until(lambda: load.published > 5 * RATE, "some load")
    report.memory_before, place = scene.memory(), len(scene.operator.log.read_text(errors="replace"))
    say(f"{server} goes; the operator has {report.memory_before:.0f} MiB")
    await asyncio.to_thread(scene.nats.kill if server == "nats" else scene.plane.kill_apiserver)
    await _watch(scene, report, say)
    report.log_lines = dict(scene.log_lines(place))
    await asyncio.to_thread(scene.nats.start if server == "nats" else scene.plane.start_apiserver)
    back, last = time.monotonic(), load.published
    say(f"{server} is back; log lines meanwhile: {sum(report.log_lines.values())}")
    await until(lambda: load.published > last + 5 * RATE, "new load")
    report.events = await load.stop()
    await until(lambda: scene.is_done(report.events), f"{report.events} events counted by all")
    report.recovered_after = round(time.monotonic() - back, 1)
    report.memory_after = scene.memory()
    report.same_process = scene.operator.pid == pid and scene.operator.probe("healthz") == (200, "ok")
    return report


async def _watch(scene: Scene, report: Report, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    while (past := time.monotonic() - began) < report.seconds:
        report.memory_most = max(report.memory_most, scene.memory())
        assert scene.operator.probe("healthz") == (200, "ok"), "alive, so that nobody restarts it"
        probe = scene.operator.probe("readyz")
        text = re.sub(r"[\d.]+ s\b", "… s", str(probe))
        if text not in report.probe:
            report.probe.append(text)
            say(f"after {past:.0f} s /readyz says {probe}")
        for told in scene.told() if report.server == "nats" else []:
            if told not in report.conditions:
                report.conditions.append(told)
                say(f"after {past:.0f} s a condition says {told}")
        said = (
            report.conditions if report.server == "nats" else [item for item in report.probe if "503" in item]
        )
        if said and report.said_after is None:
            report.said_after = round(past, 1)
        await asyncio.sleep(1)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition of the whole scene."""
    await asyncio.to_thread(eventually, condition, 2 * PATIENCE, what, 0.2)


@contextmanager
def explained(scene: Scene, say: Callable[[str], None]) -> Iterator[None]:
    """Where it ends in an assertion that does not hold, say how far the Agents are and what the operator wrote last."""
    try:
        yield
    except AssertionError:
        say(f"totals and outboxes: {[(s.get('totals'), s.get('outbox')) for s in scene.statuses()]}")
        say("\n".join(scene.operator.log.read_text(errors="replace").splitlines()[-30:]))
        raise


def run(server: str, seconds: float, say: Callable[[str], None]) -> Report:
    """One outage from nothing to its report."""
    with (
        tempfile.TemporaryDirectory(prefix="heed-outage-") as folder,
        Scene.set(Path(folder)) as scene,
        explained(scene, say),
    ):
        return asyncio.run(outage(scene, server, seconds, say))


def main() -> int:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.outage", description=__doc__.splitlines()[0]
    )
    parser.add_argument("server", choices=["nats", "apiserver"])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long it is away")
    options = parser.parse_args()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    print(json.dumps(asdict(run(options.server, options.seconds, say)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
