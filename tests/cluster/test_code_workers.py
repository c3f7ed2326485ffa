"""Agents in Python on a real API server: their worker is a process apart, which may come, go and be another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Stage
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster

CODE = """
from heed.sdk import Agent, Completed, Event, State, TaskContext, emit


class Asked(Event, type="com.example.question.asked"):
    topic: str


class Answered(Event, type="com.example.question.answered"):
    topic: str
    answer: str


class Research(State):
    topic: str | None = None


agent = Agent("researcher", state=Research)


@agent.task(timeout="10m")
async def research(topic: str, task: TaskContext) -> str:
    task.progress({"looking": topic})
    return f"VERSION of {topic}"


@agent.on
def begin(event: Asked, state: Research):
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on(research.completed)
def conclude(done: Completed[str], state: Research):
    return emit(Answered(topic=state.topic or "", answer=done.result))
"""


class CodeWorker:
    """`heed worker` as a process, for the code of one version."""

    def __init__(self, stage: Stage, folder: Path, version: str) -> None:
        self.file = folder / version / "agent.py"
        self.file.parent.mkdir()
        self.file.write_text(CODE.replace("VERSION", version))
        self._environment = {**os.environ, "HEED_NATS_URL": stage.broker.url}
        self._command = [str(HEED), "worker", str(self.file), "-n", stage.namespace]
        self._process: subprocess.Popen[bytes] | None = None

    def manifest(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "heed.worker", str(self.file), "--describe"]
        described = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        (found,) = (item["document"] for item in described if item["document"]["kind"] == names.KIND)
        return dict(found)

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=PATIENCE)


@pytest.fixture
def workers(stage: Stage, tmp_path: Path) -> Iterator[tuple[CodeWorker, CodeWorker]]:
    made = CodeWorker(stage, tmp_path, "one"), CodeWorker(stage, tmp_path, "two")
    yield made
    for worker in made:
        worker.end()


def ask(stage: Stage, topic: str) -> None:
    stage.ask(topic, correlation=topic, topic=topic)


def answers(stage: Stage) -> dict[str, str]:
    found = [event.data for event in stage.answers("com.example.question.answered")]
    return {item["topic"]: item["answer"] for item in found if isinstance(item, dict)}


def until_answered(stage: Stage, **wanted: str) -> None:
    eventually(lambda: answers(stage) == wanted or None, what=f"the answers {wanted}")


def test_events_wait_for_a_worker_and_for_the_code_that_the_manifest_names(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    one, two = workers
    stage.apply(one.manifest())
    ask(stage, "comets")
    waiting = stage.until(
        lambda s: any(c["type"] == "Ready" and c["reason"] == "CodeUnavailable" for c in s["conditions"]),
        "researcher",
    )
    assert not waiting.get("sessions")

    one.start()
    until_answered(stage, comets="one of comets")

    one.end(signal.SIGKILL)
    ask(stage, "tides")
    one.start()
    until_answered(stage, comets="one of comets", tides="one of tides")

    stage.apply(two.manifest())  # the worker of the old code answers nothing of the new generation
    ask(stage, "ink")
    stage.until(
        lambda s: any(c["type"] == "Ready" and c["reason"] == "CodeUnavailable" for c in s["conditions"]),
        "researcher",
    )
    stage.operator.kill()
    stage.operator.start()
    one.end()
    two.start()
    until_answered(stage, comets="one of comets", tides="one of tides", ink="two of ink")
    stage.until(lambda s: s["totals"]["tasksStarted"] == 3 and not s.get("pendingTasks"), "researcher")
