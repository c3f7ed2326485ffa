"""What can happen to a scene, one thing at a time: each with the parts that it takes, in a long and a short form."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from heed import names
from heed.bus.client.connection import connect
from heed.settings import Settings
from tests.cluster.operating import LEASE_NAMESPACE, Operator
from tests.faults.outage import AGENTS, PATH, Scene, counter_manifest, until
from tests.nats_server import NatsServer
from tests.patience import PATIENCE
from tests.ports import free_port

Say = Callable[[str], None]
Happening = Callable[[Scene, Say], Awaitable[None]]
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
DISK = "64m"
SMALL = {"HEED_STREAM_MAX_BYTES": str(16 * 1024**2), "HEED_STREAM_DEAD_MAX_BYTES": str(4 * 1024**2)}


class Unmet(Exception):
    """This machine lacks what it takes; the message says what."""


@dataclass(frozen=True, slots=True)
class Misfortune:
    """The scene for it, and what happens there."""

    prepared: Callable[[Path], AbstractContextManager[Scene]]
    long: Happening
    short: Happening


async def decided_more(scene: Scene, events: int = 50) -> None:
    """Until every Agent has handled so many more."""

    def handled() -> int:
        return min(int(status.get("totals", {}).get("handled", 0)) for status in scene.statuses())

    wanted = await asyncio.to_thread(handled) + events
    await until(lambda: handled() >= wanted, f"{events} more events handled by all")


# ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def with_clock(folder: Path) -> Iterator[Scene]:
    """A file says how far the operator's clock is from ours."""
    if not LIBFAKETIME.exists():
        raise Unmet(f"no {LIBFAKETIME}; on Debian: apt-get install libfaketime")
    (folder / "clock").write_text("+0\n")
    variables = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Scene.set(folder, environment=variables) as scene:
        yield scene


async def clock_jumps(scene: Scene, say: Say) -> None:
    """Two hours ahead, and back; events are decided after either."""
    for offset, hours in (("+2h", 2), ("+0", 0)):
        (scene.operator.log.parent / "clock").write_text(f"{offset}\n")
        await until(lambda hours=hours: abs(ahead(scene) - hours) < 1, f"a Lease renewed at {offset}")  # type: ignore[misc]
        say(f"the operator renewed its Lease {ahead(scene):.1f} h from now")
        await decided_more(scene)


def ahead(scene: Scene) -> float:
    """How many hours from now the operator says that it has renewed its Lease."""
    lease = scene.operator.environment["HEED_LEASE"]
    path = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases/{lease}"
    renewed = datetime.fromisoformat(scene.plane.admin.get(path)["spec"]["renewTime"])
    return (renewed - datetime.now(UTC)) / timedelta(hours=1)


# ── the broker's disk ───────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def with_small_disk(folder: Path) -> Iterator[Scene]:
    """The broker's store is a small file system of its own."""
    store = folder / "nats" / "js"
    store.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", store], capture_output=True)
    if made.returncode:
        raise Unmet(f"cannot mount a small file system: {made.stderr.decode().strip()}; run it as root")
    try:
        with Scene.set(folder, environment=SMALL) as scene:
            yield scene
    finally:
        subprocess.run(["umount", "--lazy", store], check=True)


async def disk_is_full(scene: Scene, say: Say) -> None:
    """Something else fills the disk, until the broker has said so; then there is room again, and a new start."""
    log, fill = scene.nats.directory / "server.log", scene.nats.directory / "js" / "fill"
    await asyncio.to_thread(fill_up, fill)
    await until(lambda: "no space left" in log.read_text(errors="replace").lower(), "a broker without room")
    say(f"the disk is full; Agents say {scene.told()}")
    fill.unlink()
    say("there is room again; the broker is started again")
    await asyncio.to_thread(scene.nats.stop)
    await asyncio.to_thread(scene.nats.start)


def fill_up(file: Path) -> None:
    """Write until there is no room."""
    with file.open("wb", buffering=0) as target:
        try:
            while True:
                target.write(b"\0" * 4096)
        except OSError:
            return


# ── the broker hangs ────────────────────────────────────────────────────────────────────────────────────────────────


async def broker_freezes(scene: Scene, say: Say, *, seconds: float) -> None:
    """SIGSTOP, and SIGCONT a while later."""
    pid = scene.nats.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    say(f"the broker goes on after {seconds:g} s; Agents say {scene.told()}")
    await decided_more(scene)


# ── two releases ────────────────────────────────────────────────────────────────────────────────────────────────────


async def another_works(scene: Scene, say: Say, *, events: int) -> None:
    """An operator of another lease, and so active too, works on the same Agents for a while."""
    folder = scene.operator.log.parent
    other = Operator(
        scene.plane.kubeconfig, scene.url, folder, free_port(), log_level="info", identity="another"
    )
    try:
        await asyncio.to_thread(other.start)
        say("a second operator is active")
        await decided_more(scene, events)
    finally:
        await asyncio.to_thread(other.stop)
    say("and has stopped")
    await decided_more(scene)


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def manifests_change(scene: Scene, say: Say, *, times: int) -> None:
    """Every Agent's spec is another one again and again."""
    for number in range(1, times + 1):
        for agent in range(AGENTS):
            spec = counter_manifest(agent)["spec"]
            spec["handlers"][0]["state"]["edit"] = number
            path = f"{PATH}/counter-{agent}"
            await asyncio.to_thread(scene.plane.admin.patch, path, {"spec": spec})
    wanted = times + 1

    def observed() -> bool:
        return all(status.get("observedGeneration") == wanted for status in scene.statuses())

    await until(observed, f"generation {wanted} of all Agents")
    say(f"{times} edits of {AGENTS} Agents")
    await decided_more(scene)


# ── three nodes of a broker ─────────────────────────────────────────────────────────────────────────────────────────


class Trio(NatsServer):
    """Three servers with one JetStream, each with a page for monitoring."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = [free_port() for _ in range(3)]
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.pages = {f"n{number}": free_port() for number in range(3)}
        self.servers = {
            name: NatsServer(
                folder / name,
                *("--name", name, "--cluster_name", "trio", "--routes", routes),
                *("--cluster", f"nats://127.0.0.1:{port}", "-m", str(page)),
            )
            for (name, page), port in zip(self.pages.items(), ports, strict=True)
        }
        self._running = ExitStack()

    def start(self) -> Trio:
        for server in self.servers.values():
            self._running.enter_context(server)
        self.url = ",".join(server.url for server in self.servers.values())
        return self

    def stop(self) -> None:
        self._running.close()

    def host(self, client: str) -> str:
        """The server that a client is connected to."""
        for name, port in self.pages.items():
            with urlopen(f"http://127.0.0.1:{port}/connz", timeout=PATIENCE) as page:
                if any(item.get("name", "").startswith(client) for item in json.load(page)["connections"]):
                    return name
        return ""


@contextmanager
def with_three_nodes(folder: Path) -> Iterator[Scene]:
    """Streams of three replicas on three servers."""
    with Scene.set(folder, Trio(folder / "nats"), {"HEED_STREAM_REPLICAS": "3"}) as scene:
        yield scene


async def nodes_die(scene: Scene, say: Say) -> None:
    """The stream's leader, a consumer's, and the server that the operator is connected to are killed in turn."""
    assert isinstance(scene.nats, Trio)
    trio = scene.nats
    for role, find in (
        ("the stream's leader", partial(leader, scene, f"STREAM.INFO.{names.STREAM}")),
        ("a consumer's leader", partial(leader, scene, f"CONSUMER.LIST.{names.STREAM}")),
        ("the operator's server", partial(asyncio.to_thread, trio.host, "heed")),
    ):
        name = await find()
        assert name, f"no server is {role}"
        await asyncio.to_thread(trio.servers[name].kill)
        say(f"{role}, {name}, is killed")
        await decided_more(scene)
        await asyncio.to_thread(trio.servers[name].start)
        await until_current(scene)


async def leader(scene: Scene, question: str) -> str:
    """The server that leads what the answer is about, or the first part of it."""
    answer = await ask(scene, question)
    found = answer["consumers"][0] if "consumers" in answer else answer
    return str(found["cluster"]["leader"])


async def until_current(scene: Scene) -> None:
    """Until every replica of the stream has all."""
    async with asyncio.timeout(PATIENCE):
        while True:
            cluster = (await ask(scene, f"STREAM.INFO.{names.STREAM}")).get("cluster", {})
            replicas = cluster.get("replicas", [])
            if cluster.get("leader") and len(replicas) == 2 and all(item.get("current") for item in replicas):
                return
            await asyncio.sleep(0.2)


async def ask(scene: Scene, question: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """What JetStream answers."""
    connection = await connect(Settings(nats_url=scene.url), "scenario")
    try:
        return await connection.api(question, request or {})
    finally:
        await connection.close()


MISFORTUNES = {
    "clock": Misfortune(with_clock, clock_jumps, clock_jumps),
    "disk": Misfortune(with_small_disk, disk_is_full, disk_is_full),
    "frozen": Misfortune(
        Scene.set, partial(broker_freezes, seconds=60.0), partial(broker_freezes, seconds=5.0)
    ),
    "another": Misfortune(Scene.set, partial(another_works, events=400), partial(another_works, events=100)),
    "edits": Misfortune(Scene.set, partial(manifests_change, times=50), partial(manifests_change, times=10)),
    "three-nodes": Misfortune(with_three_nodes, nodes_die, nodes_die),
}
