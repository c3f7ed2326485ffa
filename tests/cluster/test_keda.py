"""Workers scaled by the real KEDA, where it is built (`make keda`), with the ScaledObject of examples/workers.

There is no node: a worker runs as a process where its pod would. Prometheus is played: it answers the example's query
from what the operator's metrics say.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.coding import CodeWorker, ask, until_answered
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.keda.run import built, keda
from tests.cluster.operating import Broker, Operator, Stage
from tests.cluster.test_worker_deployments import deployment, run_pods, until_condition, with_template
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster
EXAMPLE = Path(__file__).parents[2] / "examples/workers/scaledobject.yaml"
NAME, IMAGE = "researcher-worker", "workers:1"
FUNCTIONS, HANDLERS = "s0-nats-jetstream-HEED_WORK", "s1-prometheus"  # what KEDA calls the triggers


@pytest.fixture(scope="module", autouse=True)
def keda_program() -> Path:
    """Before anything is started: without KEDA there is nothing to see."""
    return built()


@pytest.fixture(scope="module")
def monitoring() -> int:
    """The port that the broker tells of itself on."""
    return free_port()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, monitoring: int) -> Iterator[Broker]:
    """A broker whose monitoring port KEDA can reach."""
    require_nats_server()
    with NatsServer(tmp_path_factory.mktemp("nats"), "-m", str(monitoring)) as server:
        yield Broker(server.url)


@pytest.fixture
def operator(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> Iterator[Operator]:
    """`heed operator`, with metrics."""
    started = Operator(operator_kubeconfig, broker.url, tmp_path, free_port(), metrics_port=free_port())
    try:
        yield started.start()
    finally:
        started.kill()


@pytest.fixture(scope="module")
def running_keda(
    keda_program: Path, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """KEDA at work."""
    with keda(control_plane, tmp_path_factory.mktemp("keda")):
        yield


class Prometheus(BaseHTTPRequestHandler):
    """Answers one query: the lag of an Agent, or where none is told whether it is not ready."""

    stage: Stage
    query: str

    def do_GET(self) -> None:
        asked = parse_qs(self.path.partition("?")[2])["query"]
        answer = {"status": "error", "errorType": "bad_data", "error": f"unknown query {asked}"}
        if asked == [self.query]:
            found = [{"metric": {}, "value": [0, str(value)]} for value in self._evaluate()]
            answer = {"status": "success", "data": {"resultType": "vector", "result": found}}  # type: ignore[dict-item]
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _evaluate(self) -> list[float]:
        own = {"namespace": self.stage.namespace, "agent": "researcher"}
        values: dict[str, list[float]] = {}
        for family in text_string_to_metric_families(self.stage.operator.metrics()):
            for sample in family.samples:
                if own.items() <= sample.labels.items():
                    values.setdefault(sample.name, []).append(sample.value)
        lag, ready = (values.get(name, []) for name in ("heed_cursor_lag_events", "heed_agent_ready"))
        return [sum(lag)] if lag else [sum(1 - item for item in ready)] if ready else []

    def log_message(self, *_: Any) -> None:
        """Nothing is written."""


@pytest.fixture
def scaled_object(stage: Stage, monitoring: int) -> Iterator[dict[str, Any]]:
    """The example for this namespace, with what is here and without its patience."""
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text().replace("demo", stage.namespace))
    functions, handlers = (trigger["metadata"] for trigger in found["spec"]["triggers"])
    query = handlers["query"]
    assert re.findall(r'namespace="([^"]+)", agent="researcher"', query) == [stage.namespace] * 2
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Played", (Prometheus,), {"stage": stage, "query": query})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    functions["natsServerMonitoringEndpoint"] = f"127.0.0.1:{monitoring}"
    handlers["serverAddress"] = f"http://127.0.0.1:{server.server_port}"
    found["spec"] |= {"pollingInterval": 1, "cooldownPeriod": 2}
    yield found
    stage.plane.kubectl("delete", "scaledobject", NAME, "-n", stage.namespace)
    server.shutdown()
    server.server_close()


def unscaled(code: CodeWorker) -> dict[str, Any]:
    """An Agent whose manifest does not say how many workers there are."""
    manifest = with_template(code.manifest(), IMAGE)
    manifest["spec"]["worker"].pop("replicas")
    return manifest


def until_replicas(stage: Stage, wanted: int) -> None:
    """Wait until the Deployment is to have so many pods."""

    def look() -> bool:
        found = deployment(stage)
        return found is not None and found["spec"]["replicas"] == wanted

    eventually(look, 2 * PATIENCE, what=f"{wanted} replicas")


def said_of(stage: Stage) -> dict[str, Any]:
    """The status of the ScaledObject."""
    path = f"/apis/keda.sh/v1alpha1/namespaces/{stage.namespace}/scaledobjects/{NAME}"
    status: dict[str, Any] = stage.plane.admin.get(path).get("status") or {}
    return status


def until_active(stage: Stage, *wanted: str) -> None:
    """Wait until KEDA says of exactly these triggers that they are active."""

    def look() -> bool:
        told = said_of(stage).get("triggersActivity") or {}
        return {name for name, activity in told.items() if activity.get("isActive")} == set(wanted)

    eventually(look, PATIENCE, what=f"active triggers {wanted}")


def until_said(stage: Stage, type_: str, status: str, reason: str) -> None:
    """Wait until the ScaledObject has a condition."""

    def look() -> bool:
        return any(
            (item["type"], item["status"], item.get("reason")) == (type_, status, reason)
            for item in said_of(stage).get("conditions") or []
        )

    eventually(look, PATIENCE, what=f"{type_}={status} {reason}")


@pytest.fixture
def code(stage: Stage, tmp_path: Path) -> Iterator[CodeWorker]:
    """The researcher, who goes on with a slow question once there is a file `go`."""
    worker = CodeWorker(stage, tmp_path, "one")
    wait = (
        f'    while topic == "slow" and not Path("{tmp_path / "go"}").exists():\n        await sleep(0.05)\n'
    )
    head = "from asyncio import sleep\nfrom pathlib import Path\n"
    text = worker.file.read_text()
    worker.file.write_text(head + text.replace('    return f"', wait + '    return f"'))
    yield worker
    worker.end()


def test_workers_go_to_zero_and_back_with_what_there_is_to_do(
    stage: Stage, code: CodeWorker, scaled_object: dict[str, Any], running_keda: None, tmp_path: Path
) -> None:
    # Given an Agent with one worker
    stage.apply(unscaled(code))
    until_replicas(stage, 1)
    code.start()
    run_pods(stage, IMAGE)
    until_condition(stage, "True", "Available")

    # When there is a ScaledObject before the Agent's first function, then KEDA finds no consumer and changes nothing
    stage.plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(scaled_object))
    until_said(stage, "Ready", "False", "TriggerError")
    found = deployment(stage)
    assert found is not None
    assert found["spec"]["replicas"] == 1

    # When a function runs, then there is something to do until it ends
    ask(stage, "slow")
    until_active(stage, FUNCTIONS)
    until_said(stage, "Ready", "True", "ScaledObjectReady")
    (tmp_path / "go").touch()
    until_answered(stage, slow="one of slow")

    # Then there is nothing to do, and no worker
    until_replicas(stage, 0)
    code.end()
    until_condition(stage, "False", "ScaledToZero")
    until_active(stage)

    # When something comes, then there is a worker again
    ask(stage, "tides")
    until_active(stage, HANDLERS)
    until_replicas(stage, 1)
    code.start()
    run_pods(stage, IMAGE)
    until_answered(stage, slow="one of slow", tides="one of tides")

    # And it goes, once it is done
    until_replicas(stage, 0)
