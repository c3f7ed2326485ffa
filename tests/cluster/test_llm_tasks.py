"""Tasks of models on a real API server: their tools run once while the operator is killed, and no key is seen.

There is no node: the worker is a process, with the files that the kubelet would mount.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Stage
from tests.cluster.test_worker_deployments import deployment
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster

CANARY = "canary-9876543210"
CHARGED, ASKED = list[str](), list[list[dict[str, Any]]]()
GO_ON = Event()


class Service(BaseHTTPRequestHandler):
    """A model that charges twice and then answers, once it may go on, and the service that its tool calls."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/charge":
            CHARGED.append(body["what"])
            self._reply({"charged": body["what"]})
            return
        assert self.headers["Authorization"] == f"Bearer {CANARY}"
        ASKED.append(body["messages"])
        calls = [
            {"id": key, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for key, name, arguments in (
                ("c1", "charge", {"what": "one"}),
                ("c2", "charge", {"what": "two"}),
                ("c3", "nap", {}),
            )
        ]
        GO_ON.wait(PATIENCE)
        message = (
            {"content": None, "tool_calls": calls} if len(body["messages"]) == 1 else {"content": "Both."}
        )
        self._reply(
            {
                "choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 30, "completion_tokens": 5},
            }
        )

    def _reply(self, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    CHARGED.clear()
    ASKED.clear()
    GO_ON.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    GO_ON.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(stage: Stage, tmp_path: Path) -> Iterator[Path]:
    """What the Deployment's pod would run; its log."""
    file = tmp_path / "secrets/model/key"
    file.parent.mkdir(parents=True)
    file.write_text(CANARY)
    command = [str(HEED), "worker", "--agent", f"{stage.namespace}/researcher"]
    environment = {
        **os.environ,
        "HEED_NATS_URL": stage.broker.url,
        "HEED_WORKER_SECRETS": str(tmp_path / "secrets"),
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield tmp_path / "worker.log"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def asking_agent(url: str) -> dict[str, Any]:
    llm = {
        "baseURL": f"{url}/v1",
        "model": "small",
        "key": {"secretRef": {"name": "model", "key": "key"}},
        "messages": [{"role": "user", "text": "${event.data.topic}"}],
        "tools": [{"task": "charge"}, {"task": "nap"}],
        "budget": {"turns": 3, "toolCalls": 3, "tokens": 30000},
    }
    charge = {"url": f"{url}/charge", "body": {"json": {"what": "${input.what}"}}, "idempotencyKey": "None"}
    asked = "com.example.question.asked"
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "researcher"},
        "spec": {
            "subscribe": [{"type": asked}],
            "modelBudgets": {"day": {"turns": 100}},
            "tasks": {"answer": {"llm": llm}, "charge": {"http": charge}, "nap": {"wait": {"for": "1s"}}},
            "handlers": [
                {"name": "begin", "type": asked, "start": [{"task": "answer"}]},
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


def test_a_model_and_its_tools_go_on_after_the_operator_was_killed(
    stage: Stage, service: str, worker: Path
) -> None:
    stage.operator.kill()
    stage.operator.environment.update(HEED_WORKER_IMAGE="heed:1", HEED_CALL_NETWORKS="127.0.0.0/8")
    stage.operator.start()
    stage.apply(asking_agent(service))
    made = eventually(lambda: deployment(stage), PATIENCE, what="a Deployment")
    stage.ask(topic="tides")
    eventually(lambda: ASKED, PATIENCE, what="a call of the model")

    stage.operator.kill()  # while the model thinks
    GO_ON.set()
    stage.operator.start()
    eventually(lambda: CHARGED, PATIENCE, what="a tool")
    stage.operator.kill()  # while tools run
    stage.operator.start()
    (answer,) = eventually(lambda: stage.answers() or None, PATIENCE, what="an answer")

    assert answer.data == {"task": "answer", "result": "Both."}
    assert sorted(CHARGED) == ["one", "two"]
    assert [len(messages) for messages in ASKED] == [1, 5]
    results = {item["tool_call_id"]: item["content"] for item in ASKED[1][2:]}
    assert '"charged":"one"' in results["c1"] and "until" in results["c3"]
    status = stage.agent()["status"]
    (budget,) = status["budgets"].values()
    assert budget["spent"] == {"tokens": 70, "cost": 0, "turns": 2, "toolCalls": 3}
    assert (budget.get("reserved") or {}) == {}
    (volume,) = [
        item["projected"] for item in made["spec"]["template"]["spec"]["volumes"] if "projected" in item
    ]
    assert [source["secret"]["name"] for source in volume["sources"]] == ["model"]
    published = [event.data for event in stage.broker.events("heed.>")]
    for shown in (status, made, published, worker.read_text(), stage.operator.log.read_text()):
        assert CANARY not in str(shown)
