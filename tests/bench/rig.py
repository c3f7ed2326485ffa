"""The real parts that a benchmark runs on: control plane, broker, and the operator as a process."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster.controlplane.build import binaries
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import CRDS, Operator
from tests.nats_server import NatsServer
from tests.patience import PATIENCE
from tests.ports import free_port

AGENTS = "/apis/heed.dev/v1alpha1/namespaces/default/agents"
QUIET = 5.0  # seconds without anything new, after which a watch is opened again
_numbers = itertools.count(1)


class Seen:
    """What a watch of one Agent has shown so far."""

    def __init__(self) -> None:
        self.commits: list[tuple[float, int, int]] = []  # when seen, cursor's sequence, events handled
        self._changed = threading.Condition()

    def saw(self, agent: dict[str, Any]) -> None:
        """The Agent, as the watch shows it now."""
        status = agent.get("status") or {}
        if cursor := status.get("cursor"):
            commit = (time.perf_counter(), cursor["sequence"], status["totals"]["handled"])
            with self._changed:
                self.commits.append(commit)
                self._changed.notify_all()

    def until(self, sequence: int, patience: float = 120.0) -> tuple[float, int, int]:
        """The first commit at or beyond a sequence. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.commits and self.commits[-1][1] >= sequence, patience):
                raise TimeoutError(f"sequence {sequence} not committed within {patience} s")
            return next(commit for commit in self.commits if commit[1] >= sequence)


class Watch:
    """A watch in a thread, opened again whenever the API server ends it, as it may at any time."""

    def __init__(self, plane: ControlPlane, path: str, saw: Callable[[dict[str, Any]], None]) -> None:
        self._admin, self._path, self._saw = plane.admin, path, saw
        self._open, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Start it. Returns when the API server has answered."""
        self._thread.start()
        if not self._open.wait(PATIENCE):
            raise TimeoutError("the API server opened no watch")

    def end(self) -> None:
        """Stop it."""
        self._over.set()
        self._thread.join(2 * QUIET)

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self._follow()

    def _follow(self) -> None:
        server = urlsplit(self._admin.server)
        context = ssl.create_default_context(cafile=str(self._admin.authority))
        connection = http.client.HTTPSConnection(server.netloc, context=context, timeout=QUIET)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {self._admin.token}"}
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            self._open.set()
            for line in response:
                item = json.loads(line)
                if item["type"] != "ERROR":
                    self._saw(item["object"])


class Rig:
    """Everything that a measure needs."""

    def __init__(self, plane: ControlPlane, nats: NatsServer, operator: Operator) -> None:
        self.plane, self.nats, self.operator = plane, nats, operator

    @classmethod
    @contextmanager
    def started(cls, folder: Path, say: Callable[[str], None]) -> Iterator[Rig]:
        """Start all but the operator."""
        plane = ControlPlane(binaries(say), crds=sorted(CRDS.glob("*.yaml")))
        with plane, NatsServer(folder / "nats") as nats:
            operator = Operator(
                plane.kubeconfig,
                nats.url,
                folder,
                free_port(),
                log_level="info",
                metrics_port=free_port(),
                fork=False,
            )
            try:
                yield cls(plane, nats, operator)
            finally:
                operator.kill()

    def new_agent(self) -> tuple[str, str]:
        """Apply the benchmark's Agent under a new name; returns name and the type it heeds."""
        number = next(_numbers)
        name, type_ = f"bench-{number}", f"com.example.bench.n{number}"
        self.apply([_manifest(name, type_)])
        return name, type_

    def new_agents(self, count: int) -> tuple[list[str], str]:
        """Apply so many of the benchmark's Agents that heed the same type; returns their names and the type."""
        number = next(_numbers)
        type_ = f"com.example.bench.n{number}"
        names = [f"bench-{number}-{index}" for index in range(count)]
        self.apply([_manifest(name, type_) for name in names])
        return names, type_

    def apply(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Apply manifests."""
        self.plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def delete_agents(self, names: Sequence[str]) -> None:
        """Delete Agents."""
        for name in names:  # kubectl would watch each until it is gone
            self.plane.admin.delete(f"{AGENTS}/{name}")

    def status(self, name: str) -> dict[str, Any]:
        """The Agent's status."""
        status: dict[str, Any] = self.plane.admin.get(f"{AGENTS}/{name}").get("status") or {}
        return status

    def operator_memory(self) -> int:
        """MiB that the operator takes now, with its children."""
        return round(sum(map(memory_of, _with_children(self.operator.pid))) / 1024)

    @contextmanager
    def watching(self, name: str) -> Iterator[Seen]:
        """Watch the Agent as any client would, on one connection."""
        seen = Seen()
        with self.following(seen.saw, f"&fieldSelector=metadata.name={name}"):
            yield seen

    @contextmanager
    def following(self, saw: Callable[[dict[str, Any]], None], selector: str = "") -> Iterator[None]:
        """Have the Agents that a watch shows told to `saw` in a thread."""
        watch = Watch(self.plane, f"{AGENTS}?watch=1{selector}", saw)
        watch.begin()
        try:
            yield
        finally:
            watch.end()

    def status_writes(self) -> int:
        """How many writes of Agents' status the API server has served."""
        text = self.plane.admin.get("/metrics")
        wanted = ('resource="agents"', 'subresource="status"', 'verb="PATCH"', 'code="200"')
        lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
        return sum(
            int(float(line.rsplit(" ", 1)[1])) for line in lines if all(part in line for part in wanted)
        )


def is_ready(agent: dict[str, Any]) -> bool:
    """Whether an Agent says that it is ready."""
    conditions = (agent.get("status") or {}).get("conditions") or []
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def memory_of(pid: int | None, what: str = "VmRSS") -> int:
    """KiB of a process: now, or at its most (VmHWM)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def _with_children(pid: int | None) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(pid or 0), *(found for child in children for found in _with_children(int(child)))]


def _manifest(name: str, type_: str) -> dict[str, Any]:
    """Three CEL conditions and one update of the state."""
    handlers = [
        {
            "name": "large",
            "type": type_,
            "when": "event.data.amount > 900",
            "state": {"large": "${event.id}"},
        },
        {
            "name": "count",
            "type": type_,
            "when": 'event.data.kind == "order" && event.source.startsWith("/bench")',
            "state": {"seen": "${state.?seen.orValue(0) + 1}", "last": "${event.data.amount}"},
        },
        {"name": "never", "type": type_, "when": "event.data.amount < 0 || has(state.closed)", "end": True},
    ]
    return {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"subscribe": [{"type": type_}], "handlers": handlers},
    }
