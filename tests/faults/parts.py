"""The real parts of a storm, and the faulty wires between them.

    operator ──▶ TCP proxy ──▶ API proxy ──▶ API server ──▶ etcd ◀── witness
        └──────▶ TCP proxy ──▶ nats-server ◀── publishers, judge
    workers ───▶ TCP proxy ────────┘

Whoever is not the operator (publishers, the player of pods, people, the judge) takes the direct way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from heed.bus.auth.jwt import NatsKey
from tests.cluster.controlplane.api import Api
from tests.cluster.controlplane.build import binaries
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.helm import helm
from tests.cluster.operating import CRDS, SYSTEM, Operator
from tests.cluster.resources.kinds import GROUP, definition, install
from tests.faults.agents import NAMESPACES
from tests.faults.api_proxy import ApiProxy
from tests.faults.approvers import employ
from tests.faults.plan import RANDOM, Death
from tests.faults.tcp_proxy import TcpProxy
from tests.faults.witness import Witness
from tests.nats_server import NatsServer
from tests.ports import free_port

CHART = Path(__file__).resolve().parents[2] / "charts" / "heed"
RELEASE = "heed"
POLICY = "ValidatingAdmissionPolicy"
FORGETFUL = 10  # seconds for which the broker knows a message again; outages outlast that
Say = Callable[[str], None]


class Plane(ControlPlane):
    """A control plane whose etcd can be asked."""

    @property
    def etcd(self) -> Path:
        """The socket that etcd serves."""
        return self._folder / "etcd.sock"

    def return_apiserver(self) -> None:
        """Start it again, and the controllers, which after an outage would wait for up to half a minute."""
        self.start_apiserver()
        self._controllers.kill()
        self._controllers.start()


class DoomedOperator(Operator):
    """The operator of doomed_operator.py; each one started takes the place of the one before."""

    def __init__(self, kubeconfig: Path, nats_url: str, folder: Path) -> None:
        super().__init__(kubeconfig, nats_url, folder, free_port(), log_level="debug")
        self.passed = folder / "passed.log"
        self.passed.touch()
        seed = folder / "account.seed"  # the broker asks for no credentials, and Jobs get theirs all the same
        seed.write_text(NatsKey.new("account").seed)
        seed.chmod(0o600)
        self._more = {
            "HEED_NATS_SIGNING_KEY": str(seed),
            "HEED_LEASE": RELEASE,
            "HEED_LEASE_NAMESPACE": SYSTEM,
            "HEED_IDENTITY": "storm",  # whoever comes back has its lease back at once
            "HEED_STREAM_DUPLICATE_WINDOW": str(FORGETFUL),
            "HEED_PASSED": str(self.passed),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def start_doomed(self, death: Death | None) -> None:
        """Start it; without a death it lives until it is killed."""
        doom = {} if death is None or death.point == RANDOM else {"HEED_DIE": str(death)}
        self._launch([sys.executable, "-m", "tests.faults.doomed_operator"], self._more | doom)

    def is_ready(self) -> bool:
        """Whether it says so."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def has_ended(self) -> bool:
        """Whether there is no process any more."""
        return self._process is None or self._process.poll() is not None

    def tail(self, size: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else "no log"


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them, running; the operator is there to be started."""

    plane: Plane
    nats: NatsServer
    witness: Witness
    api_proxy: ApiProxy
    api_wire: TcpProxy
    nats_wire: TcpProxy
    worker_wire: TcpProxy
    operator: DoomedOperator
    people: dict[str, Api]


@asynccontextmanager
async def assembled(folder: Path, seed: int, say: Say) -> AsyncIterator[Parts]:
    """Start everything but the operator. Raises Unavailable of the control plane or of helm."""
    chart = _chart_rights()
    async with AsyncExitStack() as running:
        plane = running.enter_context(Plane(binaries(say), crds=sorted(CRDS.glob("*.yaml"))))
        nats = running.enter_context(NatsServer(folder / "nats"))
        witness = await running.enter_async_context(Witness(plane.etcd))
        api_proxy = await running.enter_async_context(
            ApiProxy(plane.admin.server, plane.admin.authority, seed)
        )
        api_wire = await running.enter_async_context(TcpProxy(api_proxy.port))
        nats_wire = await running.enter_async_context(TcpProxy(nats.port))
        worker_wire = await running.enter_async_context(TcpProxy(nats.port))
        for namespace in (SYSTEM, *NAMESPACES):
            plane.admin.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(chart))
        people = employ(plane)
        install(plane, definition("widgets", "Widget"))
        account = next(item["metadata"]["name"] for item in chart if item["kind"] == "ServiceAccount")
        token = plane.as_service_account(SYSTEM, account).token
        kubeconfig = _kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{api_wire.port}", token)
        policy = next(item["metadata"]["name"] for item in chart if item["kind"] == POLICY)
        operator = DoomedOperator(kubeconfig, f"nats://127.0.0.1:{nats_wire.port}", folder)
        operator.environment |= {"HEED_ANSWER_POLICY": policy, "HEED_CALL_NETWORKS": "127.0.0.0/8"}
        running.callback(operator.kill)
        yield Parts(plane, nats, witness, api_proxy, api_wire, nats_wire, worker_wire, operator, people)


def _chart_rights() -> list[dict[str, Any]]:
    """The service account of the chart and its roles: what the operator may do in a cluster, and no more.

    And the admission policy by which the API server vouches for who answers approvals.
    """
    signing = ["--set", "nats.signing.secretName=signing"]
    creatable = f"tasks.resources={json.dumps([{'group': GROUP, 'resources': ['widgets']}])}"
    command = [str(helm()), "template", RELEASE, str(CHART), "--namespace", SYSTEM, *signing]
    command += ["--set-json", creatable]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    wanted = (*rights, POLICY, f"{POLICY}Binding")
    return [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in wanted]


def _kubeconfig(path: Path, server: str, token: str) -> Path:
    """JSON is YAML. The way to the proxies is plain HTTP; only the token says who asks."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "storm",
        "clusters": [{"name": "storm", "cluster": {"server": server}}],
        "users": [{"name": "storm", "user": {"token": token}}],
        "contexts": [{"name": "storm", "context": {"cluster": "storm", "user": "storm"}}],
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path
