"""Tasks that ask a model, in `heed dev`: a real broker, a worker, and an endpoint that plays a script."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from tests.http_services import Answer, ScriptedService, reply, serving
from tests.integration.local.examples import Life, life
from tests.nats_server import require_nats_server

ASKED = "com.example.asked"
ANSWERED, FAILED = "com.example.answered", "com.example.failed"
KEY = "sk-canary-0f2e"
MANIFEST = """\
apiVersion: v1
kind: Secret
metadata: {name: model, namespace: demo}
stringData: {key: CANARY}
---
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: clerk, namespace: demo}
spec:
  subscribe: [{type: com.example.asked}]
  tasks:
    answer:
      timeout: 10m
      llm:
        baseURL: ENDPOINT/v1
        model: small
        key: {secretRef: {name: model, key: key}}
        messages: [{role: user, text: "${event.data.text}"}]
        tools:
          - task: look-up
            name: look_up
            input: {type: object, properties: {what: {type: string}}, required: [what]}
          - task: nap
        budget: {turns: 4}
    look-up:
      job:
        backoffLimit: 0
        template:
          spec:
            containers:
              - name: main
                image: example/look-up:1
                command: [sh, look-up.sh]
                args: ["${input.what}"]
    nap:
      wait: {for: 1s}
  handlers:
    - {name: begin, type: com.example.asked, start: [{task: answer}]}
    - name: done
      type: dev.heed.task.completed
      emit: [{type: com.example.answered, data: {answer: "${event.data.result}"}}]
      end: true
    - name: failed
      type: dev.heed.task.failed
      emit: [{type: com.example.failed, data: {reason: "${event.data.reason}", message: "${event.data.message}"}}]
      end: true
"""
SCRIPT = """\
echo $1 >> runs
test "$1" = lost && exit 3
printf '{"found": "%s"}' "$1" > $HEED_RESULT_FILE
"""


def says(text: str | None = None, *calls: tuple[str, str, dict[str, Any]]) -> Answer:
    """What the model says: text, or calls of tools by id and name."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": key, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for key, name, arguments in calls
        ]
    body = {
        "model": "small-1",
        "choices": [{"message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 7},
    }
    return reply(200, json.dumps(body), Content_Type="application/json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    require_nats_server()
    made = tmp_path / "agents"
    made.mkdir()
    (made / "look-up.sh").write_text(SCRIPT)
    return made


@asynccontextmanager
async def clerk(folder: Path, *answers: Answer) -> AsyncIterator[tuple[Life, ScriptedService]]:
    """`heed dev` with the Agent, and its endpoint."""
    async with serving(*answers) as endpoint:
        text = MANIFEST.replace("ENDPOINT", endpoint.url).replace("CANARY", KEY)
        (folder / "agent.yaml").write_text(text)
        async with life(folder / "agent.yaml", folder=folder.parent / "state") as one:
            yield one, endpoint


async def ask(one: Life, text: str = "How are you?") -> None:
    event = Event("a-1", "/test", ASKED, {"text": text}, datacontenttype="application/json")
    await one.bench.bus.publish(names.event_subject("demo", ASKED), event)


def messages_of(endpoint: ScriptedService, number: int) -> list[dict[str, Any]]:
    """What the model was told in a request."""
    found: list[dict[str, Any]] = json.loads(endpoint.requests[number].body)["messages"]
    return found


async def test_a_model_answers(folder: Path) -> None:
    async with clerk(folder, says("Fine.")) as (one, endpoint):
        await ask(one)

        assert await one.emitted(ANSWERED) == {"answer": "Fine."}
        (request,) = endpoint.requests
        assert request.target == "/v1/chat/completions"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert messages_of(endpoint, 0) == [{"role": "user", "content": "How are you?"}]


async def test_tools_are_run_and_their_results_go_back(folder: Path) -> None:
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("c1", "look_up", {"what": "shoes"}),
        ("c2", "look_up", {"what": "lost"}),
        ("c3", "nap", {}),
        ("c4", "look_up", {}),
    )
    async with clerk(folder, says("Let me see.", *calls), says("Two left.")) as (one, endpoint):
        await ask(one)

        assert await one.emitted(ANSWERED) == {"answer": "Two left."}
        told = messages_of(endpoint, 1)
        assert told[1]["content"] == "Let me see." and len(told[1]["tool_calls"]) == 4
        results = {item["tool_call_id"]: item["content"] for item in told[2:]}
        assert json.loads(results["c1"]) == {"found": "shoes"}
        assert results["c2"].startswith("The tool failed: ") and "until" in results["c3"]
        assert "what" in results["c4"]
        assert sorted((folder / "runs").read_text().split()) == ["lost", "shoes"]
        assert KEY not in json.dumps(one.told("decided"))


async def test_a_model_that_never_stops_is_stopped_by_its_budget(folder: Path) -> None:
    async with clerk(folder, says(None, ("c1", "look_up", {"what": "more"}))) as (one, endpoint):
        await ask(one)

        failed = await one.emitted(FAILED)
        assert failed["reason"] == "BudgetExceeded" and "4 turns" in failed["message"]
        assert len(endpoint.requests) == 4
        assert (folder / "runs").read_text().split() == ["more"] * 4


async def test_a_refused_key_fails_the_task_at_once(folder: Path) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}})
    async with clerk(folder, reply(401, body)) as (one, endpoint):
        await ask(one)

        failed = await one.emitted(FAILED)
        assert failed["reason"] == "NotAuthorized" and KEY not in json.dumps(failed)
        assert len(endpoint.requests) == 1


async def test_an_endpoint_that_is_busy_is_asked_again(folder: Path) -> None:
    busy = reply(429, json.dumps({"error": {"message": "slow down"}}), Retry_After="1")
    async with clerk(folder, busy, says("Fine.")) as (one, endpoint):
        await ask(one)

        assert await one.emitted(ANSWERED) == {"answer": "Fine."}
        assert len(endpoint.requests) == 2
