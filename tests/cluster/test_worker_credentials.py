"""Workers of a Deployment at a broker in JWT mode: their Secret goes with the ReplicaSet whose pods mount it."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed import names
from tests.chart.rendering import NAMESPACE
from tests.cluster.coding import CodeWorker
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.keyed import SECRET, KeyedBroker, KeyedOperator, installed
from tests.cluster.operating import HEED, Broker, Stage
from tests.cluster.tenancy import make_namespace
from tests.cluster.test_worker_deployments import run_pods, until_condition, until_deployed, with_template
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane) -> Path:
    make_namespace(control_plane, NAMESPACE)
    return installed(control_plane, "workers.enabled=true")


@pytest.fixture
def keys(control_plane: ControlPlane, tmp_path: Path) -> Iterator[KeyedBroker]:
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    control_plane.kubectl("delete", "secret", "-n", NAMESPACE, SECRET, "--ignore-not-found")
    control_plane.admin.post(path, {"metadata": {"name": SECRET}})
    broker = KeyedBroker(control_plane, tmp_path / "broker", free_port())
    yield broker
    broker.stop()


@pytest.fixture
def operator(kubeconfig: Path, keys: KeyedBroker, tmp_path: Path) -> Iterator[KeyedOperator]:
    made = KeyedOperator(kubeconfig, keys.url, tmp_path, free_port())
    yield made
    made.kill()


def begin(operator: KeyedOperator, keys: KeyedBroker) -> None:
    operator.launch()
    eventually(lambda: keys.keys, PATIENCE, what=f"keys; log: {operator.log}")
    keys.start()
    operator.until("active")


def secrets(stage: Stage) -> list[dict[str, Any]]:
    query = f"labelSelector={names.LABEL_WORKER_OF}=researcher"
    found = stage.plane.admin.get(f"/api/v1/namespaces/{stage.namespace}/secrets?{query}")["items"]
    return sorted(found, key=lambda item: int(item["metadata"]["resourceVersion"]))


def replica_sets(stage: Stage) -> dict[str, dict[str, Any]]:
    query = f"labelSelector={names.LABEL_WORKER_OF}=researcher"
    found = stage.plane.admin.get(f"/apis/apps/v1/namespaces/{stage.namespace}/replicasets?{query}")["items"]
    return {item["metadata"]["uid"]: item for item in found}


def mounted(workload: dict[str, Any]) -> str:
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    return str(next(item["secret"]["secretName"] for item in volumes if "secret" in item))


def test_a_worker_gets_what_its_agent_needs_and_events_are_decided(
    control_plane: ControlPlane, namespace: str, operator: KeyedOperator, keys: KeyedBroker, tmp_path: Path
) -> None:
    begin(operator, keys)
    stage = Stage(control_plane, namespace, operator, Broker(keys.url))
    code = CodeWorker(stage, tmp_path, "one")
    stage.apply(with_template(code.manifest()))

    (secret,) = eventually(lambda: secrets(stage), PATIENCE, what=f"a Secret; log: {operator.log}")
    (owner,) = secret["metadata"]["ownerReferences"]
    replica_set = replica_sets(stage)[owner["uid"]]
    assert owner["kind"] == "ReplicaSet"
    assert mounted(replica_set) == mounted(until_deployed(stage)) == secret["metadata"]["name"]
    assert secret["immutable"] is True

    credentials = tmp_path / "nats.creds"
    credentials.write_text(base64.b64decode(secret["data"]["nats.creds"]).decode())
    environment = {**os.environ, "HEED_NATS_URL": keys.url, "HEED_NATS_CREDENTIALS": str(credentials)}
    command = [str(HEED), "worker", str(code.file), "-n", namespace]
    worker = subprocess.Popen(command, env=environment)
    try:
        run_pods(stage, "workers:1")
        until_condition(stage, "True", "Available")
        keys.ask(namespace)
        stage.until(
            lambda s: s["totals"].get("tasksStarted") == 1 and not s.get("pendingTasks"), "researcher"
        )
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(PATIENCE)


def test_credentials_are_renewed_by_new_pods_before_they_expire(
    control_plane: ControlPlane, namespace: str, operator: KeyedOperator, keys: KeyedBroker, tmp_path: Path
) -> None:
    operator.environment["HEED_WORKER_CREDENTIALS_LIFETIME"] = "30"
    begin(operator, keys)
    stage = Stage(control_plane, namespace, operator, Broker(keys.url))
    stage.apply(with_template(CodeWorker(stage, tmp_path, "one").manifest()))

    first, second = eventually(
        lambda: found if len(found := secrets(stage)) == 2 else None,
        PATIENCE + 30,
        what=f"renewed credentials; log: {operator.log}",
    )

    assert first["data"] != second["data"]
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in (first, second)}
    assert owners == set(replica_sets(stage))
    assert mounted(until_deployed(stage)) == second["metadata"]["name"]
