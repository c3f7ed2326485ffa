"""Http tasks on a real API server: the operator keeps who makes the calls, and no secret is seen on the way.

There is no node: the worker is a process, with the files that the kubelet would mount.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Stage
from tests.cluster.test_worker_deployments import deployment, until_condition
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster

CANARY = "canary-0123456789"
SEEN: list[tuple[str, str, str | None]] = []


class Service(BaseHTTPRequestHandler):
    """Answers the first request with 503, others with what it knows; it repeats the credential."""

    def do_GET(self) -> None:
        SEEN.append((self.command, self.path, self.headers["Authorization"]))
        status, body = (503, b"") if len(SEEN) == 1 else (200, f'{{"answer": 42, "by": "{CANARY}"}}'.encode())
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    SEEN.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(stage: Stage, tmp_path: Path) -> Iterator[Path]:
    """What the Deployment's pod would run; its log."""
    file = tmp_path / "secrets/api/token"
    file.parent.mkdir(parents=True)
    file.write_text(CANARY)
    command = [str(HEED), "worker", "--agent", f"{stage.namespace}/researcher"]
    environment = {
        **os.environ,
        "HEED_NATS_URL": stage.broker.url,
        "HEED_WORKER_SECRETS": str(tmp_path / "secrets"),
        "HEED_LOG_LEVEL": "debug",
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield tmp_path / "worker.log"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def calling_agent(url: str, secret: str = "api") -> dict[str, Any]:
    header = {"name": "Authorization", "prefix": "Bearer ", "secretRef": {"name": secret, "key": "token"}}
    http = {"url": f"{url}/look", "query": {"topic": "${input}"}, "headers": [header]}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "researcher"},
        "spec": {
            "subscribe": [{"type": "com.example.question.asked"}],
            "tasks": {"look": {"http": http, "retry": {"attempts": 3, "backoff": {"initial": "1s"}}}},
            "handlers": [
                {
                    "name": "begin",
                    "type": "com.example.question.asked",
                    "start": [{"task": "look", "input": "${event.data.topic}"}],
                },
                {
                    "name": "conclude",
                    "type": names.TASK_COMPLETED,
                    "emit": [{"type": "com.example.question.answered", "data": "${event.data}"}],
                },
                {
                    "name": "give-up",
                    "type": names.TASK_FAILED,
                    "emit": [{"type": "com.example.question.failed", "data": "${event.data}"}],
                },
            ],
        },
    }


def restart(stage: Stage, **variables: str) -> None:
    stage.operator.kill()
    stage.operator.environment.update(variables)
    stage.operator.start()


def test_a_call_is_tried_again_and_answers_without_its_secret(
    stage: Stage, service: str, worker: Path
) -> None:
    restart(stage, HEED_WORKER_IMAGE="heed:1", HEED_CALL_NETWORKS="127.0.0.0/8")
    stage.apply(calling_agent(service))
    made = eventually(lambda: deployment(stage), PATIENCE, what="a Deployment")
    until_condition(stage, "False", "Progressing")

    stage.ask(topic="tides")
    (answer,) = eventually(lambda: stage.answers() or None, PATIENCE, what="an answer")

    assert answer.data == {
        "task": "look",
        "attempt": 2,
        "result": {"status": 200, "headers": {}, "body": {"answer": 42, "by": "***"}},
    }
    assert [("GET", "/look?topic=tides", f"Bearer {CANARY}")] * 2 == SEEN
    pod = made["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "heed:1"
    (volume,) = [item["projected"] for item in pod["volumes"] if "projected" in item]
    assert [source["secret"]["name"] for source in volume["sources"]] == ["api"]
    events = stage.plane.admin.get(f"/api/v1/namespaces/{stage.namespace}/events")
    published = [event.data for event in stage.broker.events("heed.>")]
    for shown in (stage.agent(), events, made, published, worker.read_text(), stage.operator.log.read_text()):
        assert CANARY not in str(shown)

    stage.apply(
        {
            **calling_agent(service),
            "spec": {**calling_agent(service)["spec"], "tasks": {"look": {"wait": {"for": "1s"}}}},
        }
    )
    eventually(lambda: deployment(stage) is None, PATIENCE, what="no Deployment")
    stage.until(lambda status: all(c["type"] != "WorkerReady" for c in status["conditions"]))


@pytest.mark.parametrize(
    ("secret", "networks", "reason"),
    [("api", "10.0.0.0/8", "HttpRefusedAddress"), ("other", "127.0.0.0/8", "SecretMissing")],
)
def test_what_is_refused_never_reaches_the_service(
    stage: Stage, service: str, worker: Path, secret: str, networks: str, reason: str
) -> None:
    restart(stage, HEED_CALL_NETWORKS=networks)
    stage.apply(calling_agent(service, secret))

    stage.ask(topic="tides")
    failed = "com.example.question.failed"
    (end,) = eventually(lambda: stage.answers(failed) or None, PATIENCE, what="a failure")

    assert isinstance(end.data, dict)
    assert (end.data["reason"], end.data["attempt"]) == (reason, 3 if reason == "SecretMissing" else 1)
    assert SEEN == []
    assert worker.exists()
