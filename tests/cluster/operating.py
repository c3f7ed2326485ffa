"""What a story about the operator needs: the operator as a process, the broker, and short ways to look at both."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import nats
import yaml

from heed import names
from heed.bus.client.connection import connect
from heed.bus.codec.cloudevents import decode
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, MalformedMessage
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.forking import Forked
from tests.patience import PATIENCE

CRDS = Path(__file__).resolve().parents[2] / "crds"
SYSTEM = "heed-system"
HEED = Path(sys.executable).with_name("heed")
DYING = Path(__file__).with_name("dying_operator.py")
LEASES = tuple(f"heed-{number}" for number in range(1, 257))
LEASE_NAMESPACE = "default"
_leases = itertools.cycle(LEASES)


def probed(port: int, path: str) -> tuple[int, str] | None:
    """Status and text of a probe of a process on this machine; None where no process answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode().strip()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()
    except OSError:
        return None


class Operator:
    """`heed operator` as a process, with the rights of the chart's service account and no more.

    It is a replica of its own unless it is given another one's lease. Started again it has the same identity, and so
    its lease back at once, whatever it died of. `fork`: see tests/forking.py; not where its memory is measured, or
    where a library is to come before all others.
    """

    def __init__(
        self,
        kubeconfig: Path,
        nats_url: str,
        folder: Path,
        port: int,
        log_level: str = "debug",
        *,
        identity: str = "operator",
        lease: str | None = None,
        lease_namespace: str = LEASE_NAMESPACE,
        metrics_port: int = 0,
        fork: bool = True,
    ) -> None:
        self.identity, self._fork = identity, fork
        self.log = folder / f"{identity}.log"
        self._port, self._metrics_port = port, metrics_port
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "HEED_NATS_URL": nats_url,
            "HEED_HEALTH_PORT": str(port),
            "HEED_METRICS_PORT": str(metrics_port),
            "HEED_LOG_LEVEL": log_level,
            "HEED_LEASE": lease or next(_leases),
            "HEED_LEASE_NAMESPACE": lease_namespace,
            "HEED_IDENTITY": identity,
        }
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def port(self) -> int:
        """Where it says how it is."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Its process, while it is there."""
        return self._process.pid if self._process else None

    def start(self, role: str = "active") -> Operator:
        """Start it and wait until it is ready: `active`, or the `standby`."""
        self._launch([str(HEED), "operator"])
        self.until(role)
        return self

    def start_unready(self) -> Operator:
        """Start it and wait until it is alive."""
        self._launch([str(HEED), "operator"])
        eventually(lambda: self.probe("healthz") == (200, "ok"), PATIENCE, what=f"life; log: {self.log}")
        return self

    def until(self, role: str, patience: float = PATIENCE) -> None:
        """Wait until it is ready as `active` or `standby`."""
        what = f"a ready operator that is {role}; its log: {self.log}"
        eventually(lambda: self.probe("readyz") == (200, role), patience, what=what)

    def probe(self, path: str) -> tuple[int, str] | None:
        """Status and text of a probe; None where nobody answers. Fails where the process has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        return probed(self._port, path)

    def metrics(self) -> str:
        """The page that Prometheus would read; empty where nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def start_dying(self, point: str, namespace: str) -> None:
        """Start one for a namespace that kills itself (SIGKILL) at a named point, see dying_operator.py."""
        self._launch([sys.executable, str(DYING), point], {"HEED_NAMESPACE": namespace})

    def wait_dead(self) -> None:
        """Until it has killed itself."""
        assert self._process is not None
        assert self._process.wait(PATIENCE) == -signal.SIGKILL, self.log.read_text()[-3000:]
        self._process = None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; returns its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: it hangs, with all its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _launch(self, command: list[str], more: Mapping[str, str] | None = None) -> None:
        environment = {**self.environment, **(more or {})}
        if self._fork:
            self._process = Forked(command, environment, self.log)
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)


class Broker:
    """The broker as a publisher and a curious person use it. Blocking."""

    def __init__(self, url: str) -> None:
        self.url = url

    def publish(self, subject: str, event: Event, *, deduplicate: bool = True) -> int:
        """Publish an event; returns its stream sequence."""

        async def act() -> int:
            connection = await connect(Settings(nats_url=self.url), "test", attempts=3)
            try:
                return await JetStreamBus(connection).publish(subject, event, deduplicate=deduplicate)
            finally:
                await connection.close()

        return asyncio.run(act())

    def publish_raw(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Publish any message."""

        async def act() -> int:
            client = await nats.connect(self.url)
            try:
                return (await client.jetstream().publish(subject, payload, headers=dict(headers or {}))).seq
            finally:
                await client.close()

        return asyncio.run(act())

    def events(self, subject: str) -> list[Event]:
        """The well-formed events that a stream holds on a subject."""
        found = (decode(headers, payload, subject) for _, headers, payload, subject in self.messages(subject))
        return [event for event in found if not isinstance(event, MalformedMessage)]

    def letters(self, namespace: str, agent: str) -> list[dict[str, str]]:
        """The headers of an Agent's dead letters."""
        return [
            headers
            for _, headers, _, _ in self.messages(names.dead_subject(namespace, agent), names.DEAD_STREAM)
        ]

    def messages(
        self, subject: str, stream: str = names.STREAM
    ) -> list[tuple[int, dict[str, str], bytes, str]]:
        """Sequence, headers, payload and subject of all messages that match a subject."""

        async def act() -> list[tuple[int, dict[str, str], bytes, str]]:
            client = await nats.connect(self.url)
            try:
                jetstream = client.jetstream()
                pull = await jetstream.pull_subscribe(subject, stream=stream)
                pending = (await pull.consumer_info()).num_pending or 0
                found = await pull.fetch(pending, timeout=PATIENCE) if pending else []
                while len(found) < pending:
                    found += await pull.fetch(pending - len(found), timeout=PATIENCE)
                await pull.unsubscribe()
                return [(m.metadata.sequence.stream, dict(m.headers or {}), m.data, m.subject) for m in found]
            finally:
                await client.close()

        return asyncio.run(act())


class Stage:
    """One namespace of the cluster with the operator and the broker: where a story plays."""

    def __init__(self, plane: ControlPlane, namespace: str, operator: Operator, broker: Broker) -> None:
        self.plane, self.namespace, self.operator, self.broker = plane, namespace, operator, broker

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """`kubectl apply` into the namespace."""
        self.plane.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(dict(manifest)))

    def agent(self, name: str = "researcher") -> dict[str, Any]:
        """The Agent as the API server has it."""
        return self._get(f"/apis/{names.API_VERSION}", f"agents/{name}")

    def status(self, name: str = "researcher") -> dict[str, Any]:
        """Its status, {} before there is one."""
        status: dict[str, Any] = self.agent(name).get("status") or {}
        return status

    def jobs(self) -> list[dict[str, Any]]:
        """All Jobs of the namespace."""
        items: list[dict[str, Any]] = self._get("/apis/batch/v1", "jobs")["items"]
        return items

    def ask(self, id: str = "q-1", *, correlation: str = "c-1", topic: str = "tides", **options: Any) -> int:
        """Publish a question to the researcher."""
        type_ = "com.example.question.asked"
        event = Event(
            id,
            "/test",
            type_,
            {"topic": topic},
            datacontenttype="application/json",
            extensions={"correlationid": correlation},
        )
        return self.broker.publish(names.event_subject(self.namespace, type_), event, **options)

    def answers(self, type_: str = "com.example.question.answered") -> list[Event]:
        """The follow-up events in the stream."""
        return self.broker.events(names.event_subject(self.namespace, type_))

    def until(
        self, holds: Callable[[dict[str, Any]], Any], name: str = "researcher", what: str = ""
    ) -> dict[str, Any]:
        """The status once a condition holds of it; one that asks for what is not there yet does not."""

        def look() -> dict[str, Any] | None:
            status = self.status(name)
            with suppress(KeyError):
                return status if status and holds(status) else None
            return None

        return eventually(
            look, PATIENCE, what=f"{what or 'condition on the status'}; log: {self.operator.log}"
        )

    def until_job(self) -> dict[str, Any]:
        """The one Job, once it is there."""
        return eventually(lambda: next(iter(self.jobs()), None), PATIENCE, what="a Job")

    def _get(self, group: str, rest: str) -> dict[str, Any]:
        """Straight from the API server: who waits for something asks often, and kubectl is a process each time."""
        answer: dict[str, Any] = self.plane.admin.get(f"{group}/namespaces/{self.namespace}/{rest}")
        return answer
