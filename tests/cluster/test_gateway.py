"""`heed gateway` with the chart's rights and no more: who may publish, by tokens that a real API server reviews."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from heed import names
from tests.chart.rendering import NAMESPACE as RELEASED_IN
from tests.chart.rendering import render
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Broker, Stage
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster
TYPE = "com.example.order.placed"
GATEWAY = "heed-gateway"


class Gateway:
    """The process, ready, and short ways to send."""

    def __init__(self, kubeconfig: Path, broker: Broker, folder: Path, **settings: str) -> None:
        self.port, self._health = free_port(), free_port()
        self.log = folder / "gateway.log"
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "HEED_NATS_URL": broker.url,
            "HEED_HEALTH_PORT": str(self._health),
            "HEED_METRICS_PORT": "0",
            "HEED_GATEWAY_PORT": str(self.port),
            "HEED_GATEWAY_DRAIN": "0",
            **settings,
        }
        self._http = urllib3.PoolManager(retries=False)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([str(HEED), "gateway"], env=environment, stdout=log, stderr=log)

    def until_ready(self) -> None:
        """Wait for its probe."""
        eventually(self._is_ready, PATIENCE, what=f"a ready gateway; its log: {self.log}")

    @property
    def origin(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> int:
        """End it in good order; its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def post(self, path: str, token: str | None, type_: str = TYPE, id_: str = "1") -> tuple[int, str]:
        """Send an event: status and the code of the problem."""
        headers = {"ce-specversion": "1.0", "ce-id": id_, "ce-source": "/till", "ce-type": type_}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._http.request("POST", f"http://127.0.0.1:{self.port}{path}", headers=headers)
        return answer.status, json.loads(answer.data)["code"] if answer.data else ""

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self._http.request("GET", f"http://127.0.0.1:{self._health}/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False


@pytest.fixture(scope="module")
def gateway_kubeconfig(control_plane: ControlPlane) -> Path:
    """The chart's service account of the gateway with its roles."""
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    objects = [
        item
        for item in render("gateway.enabled=true", "crds.install=false")
        if item["kind"] in kinds and item["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    ]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASED_IN}}
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([namespace, *objects]))
    return control_plane.kubeconfig_for_service_account(RELEASED_IN, GATEWAY)


@pytest.fixture
def gateway(stage: Stage, broker: Broker, gateway_kubeconfig: Path, tmp_path: Path) -> Iterator[Gateway]:
    """One beside an operator, whose streams it needs."""
    started = Gateway(gateway_kubeconfig, broker, tmp_path)
    try:
        started.until_ready()
        yield started
    finally:
        assert started.stop() == 0
    assert "Traceback" not in started.log.read_text()


def account(control_plane: ControlPlane, namespace: str, name: str) -> str:
    """A new service account; its path."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    control_plane.admin.post(path, {"metadata": {"name": name}})
    return f"{path}/{name}"


def token(control_plane: ControlPlane, account: str, audience: str | None = "heed") -> str:
    """A token, as the kubelet would ask for it."""
    spec: dict[str, Any] = {"expirationSeconds": 3600} | ({"audiences": [audience]} if audience else {})
    made = control_plane.admin.post(f"{account}/token", {"spec": spec})
    return str(made["status"]["token"])


def test_a_service_account_publishes_into_its_own_namespace_and_nowhere_else(
    control_plane: ControlPlane, gateway: Gateway, namespace: str
) -> None:
    till = account(control_plane, namespace, "till")
    path = f"/v1/events/{namespace}"

    assert gateway.post(path, token(control_plane, till)) == (202, "")
    assert gateway.post("/v1/events/elsewhere", token(control_plane, till)) == (403, "NotAllowed")
    assert gateway.post(path, token(control_plane, till, None)) == (401, "Unauthorized")
    assert gateway.post(path, token(control_plane, till, "other")) == (401, "Unauthorized")
    assert gateway.post(path, None) == (401, "Unauthorized")
    good = token(control_plane, till)
    forged = good[:-8] + ("A" * 8 if good[-8:] != "A" * 8 else "B" * 8)
    assert gateway.post(path, forged) == (401, "Unauthorized")
    secrets = gateway.log.read_text()
    assert good not in secrets and forged not in secrets


def test_policies_say_who_else_may_and_are_followed(
    control_plane: ControlPlane, gateway: Gateway, namespace: str
) -> None:
    # Given a service account of another namespace
    path, other = f"/v1/events/{namespace}", f"{namespace}-partners"
    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": other}})
    theirs = token(control_plane, account(control_plane, other, "partner"))
    ours = token(control_plane, account(control_plane, namespace, "till"))
    assert gateway.post(path, theirs) == (403, "NotAllowed")

    # When a policy names it
    policies = f"/apis/{names.API_VERSION}/namespaces/{namespace}/agentpolicies"
    publishers = [
        {"serviceAccount": {"name": "partner", "namespace": other}, "types": ["com.example.order.*"]}
    ]
    spec: dict[str, Any] = {"agentSelector": {}, "publishers": publishers}
    policy = {
        "apiVersion": names.API_VERSION,
        "kind": "AgentPolicy",
        "metadata": {"name": "in"},
        "spec": spec,
    }
    control_plane.admin.post(policies, policy)

    # Then it may publish what the policy says, and those that no policy names may not any more
    eventually(lambda: gateway.post(path, theirs) == (202, ""), PATIENCE, what="the policy in force")
    assert gateway.post(path, theirs, "com.example.stock.low", "2") == (403, "TypeNotAllowed")
    assert gateway.post(path, ours) == (403, "NotAllowed")
    spec["publishers"] = [*publishers, {"group": f"system:serviceaccounts:{namespace}"}]
    control_plane.admin.patch(f"{policies}/in", {"spec": spec})
    eventually(lambda: gateway.post(path, ours) == (202, ""), PATIENCE, what="the edit in force")
    control_plane.admin.delete(f"{policies}/in")
    eventually(lambda: gateway.post(path, theirs) == (403, "NotAllowed"), PATIENCE, what="the policy gone")


def test_a_publisher_is_one_of_three_for_the_api_server_too(
    control_plane: ControlPlane, namespace: str
) -> None:
    for publisher in ({}, {"user": "a", "group": "b"}):
        spec = {"agentSelector": {}, "publishers": [publisher]}
        with pytest.raises(ApiError, match="exactly one of serviceAccount, user and group"):
            control_plane.admin.post(
                f"/apis/{names.API_VERSION}/namespaces/{namespace}/agentpolicies",
                {
                    "apiVersion": names.API_VERSION,
                    "kind": "AgentPolicy",
                    "metadata": {"name": "x"},
                    "spec": spec,
                },
            )


def test_an_event_for_an_agent_needs_the_agent(
    control_plane: ControlPlane, gateway: Gateway, namespace: str
) -> None:
    agents = f"/apis/{names.API_VERSION}/namespaces/{namespace}/agents"
    good = token(control_plane, account(control_plane, namespace, "till"))
    path = f"/v1/agents/{namespace}/{RESEARCHER['metadata']['name']}"
    assert gateway.post(path, good) == (404, "NoSuchAgent")

    control_plane.admin.post(agents, RESEARCHER)

    eventually(lambda: gateway.post(path, good) == (202, ""), PATIENCE, what="the Agent known")


def test_a_stranger_is_not_told_which_agents_there_are(
    control_plane: ControlPlane, gateway: Gateway, namespace: str
) -> None:
    good = token(control_plane, account(control_plane, namespace, "till"))

    assert gateway.post("/v1/agents/default/nobody", good) == (403, "NotAllowed")
