"""Examples in Python under `heed dev`: a chat, a graph inside a task, an Agent that works with one in TypeScript."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from heed.local import code
from tests.integration.local.examples import Life, life
from tests.integration.local.runs import until
from tests.markdown import ROOT, commands
from tests.nats_server import require_nats_server
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import graph_python, typescript_worker

EXAMPLES = ROOT / "examples"


async def publish(one: Life, id: str, type_: str, data: Mapping[str, Any]) -> None:
    """Publish an event, as `heed publish` does."""
    event = Event(id, "/test", type_, dict(data), datacontenttype="application/json")
    await one.bench.bus.publish(names.event_subject("default", type_), event)


def published(example: str) -> list[Sequence[str]]:
    """The type and the data of each event that the example's README publishes."""
    found = [
        words
        for words in commands((EXAMPLES / example / "README.md").read_text())
        if words[1:2] == ["publish"]
    ]
    assert found
    return [(words[2], words[words.index("--data") + 1]) for words in found]


def data_emitted(one: Life, type_: str) -> list[Any]:
    """The data of what was emitted of a type, in order."""
    effects = (effect for record in one.told("decided") for effect in record["effects"])
    return [item["emit"]["data"] for item in effects if item.get("emit", {}).get("type") == type_]


async def publish_as_told(one: Life, example: str) -> None:
    """Publish what the README publishes."""
    for number, (type_, data) in enumerate(published(example)):
        await publish(one, f"event-{number}", type_, json.loads(data))


async def test_a_chat_replies_with_what_its_tools_found(tmp_path: Path) -> None:
    require_nats_server()
    async with life(EXAMPLES / "chat/agent.py", folder=tmp_path / "state") as one:
        await publish_as_told(one, "chat")
        await until(lambda: bool(data_emitted(one, "com.example.chat.replied")), "the reply")
        await publish(one, "more", "com.example.chat.said", {"chat": "c-1", "text": "Thanks"})
        await until(lambda: len(data_emitted(one, "com.example.chat.replied")) == 2, "the second reply")

    replies = [data["text"] for data in data_emitted(one, "com.example.chat.replied")]
    assert replies == ["snow in Oslo; sun in Lisbon.", 'You said "Thanks".']


async def test_a_graph_of_langgraph_runs_inside_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_nats_server()
    with skipping_unavailable(fails_in_ci=True):
        python = graph_python([sysconfig.get_path("purelib"), str(ROOT / "operator")])
    monkeypatch.setattr(code, "sys", SimpleNamespace(executable=str(python)))  # what workers run with

    async with life(EXAMPLES / "graph/agent.py", folder=tmp_path / "state") as one:
        await publish_as_told(one, "graph")
        await until(lambda: bool(data_emitted(one, "com.example.poem.written")), "the poem")
        await until(lambda: bool(data_emitted(one, "com.example.poem.abandoned")), "the end of the other one")
        progress = one.told("decided", type=names.TASK_PROGRESS)

    assert data_emitted(one, "com.example.poem.written") == [
        {"text": "tides, tides\ntides, tides", "drafts": 2}
    ]
    (abandoned,) = data_emitted(one, "com.example.poem.abandoned")
    assert abandoned["reason"].startswith("3 drafts were too short (agent.py:")
    assert progress


async def test_an_agent_in_python_and_one_in_typescript_cooperate(tmp_path: Path) -> None:
    require_nats_server()
    with skipping_unavailable():
        command = typescript_worker()
    agents = [EXAMPLES / "languages/agent.py", EXAMPLES / "worker-typescript/agent.yaml"]

    async with life(*agents, folder=tmp_path / "state") as one:
        environment = {**os.environ, "HEED_NATS_URL": one.bench.url}
        worker = await asyncio.create_subprocess_exec(*command, env=environment)
        try:
            await publish_as_told(one, "languages")
            await until(lambda: bool(data_emitted(one, "com.example.room.ready")), "the room is ready")
        finally:
            worker.send_signal(signal.SIGTERM)
            await worker.wait()

    assert data_emitted(one, "com.example.room.ready") == [{"room": 7, "card": "Hello, Ada!"}]
