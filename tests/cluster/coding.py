"""Agents in Python on a real API server: the code of two versions, its workers, and what is asked of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Stage
from tests.patience import PATIENCE

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


def ask(stage: Stage, topic: str) -> None:
    stage.ask(topic, correlation=topic, topic=topic)


def answers(stage: Stage) -> dict[str, str]:
    found = [event.data for event in stage.answers("com.example.question.answered")]
    return {item["topic"]: item["answer"] for item in found if isinstance(item, dict)}


def until_answered(stage: Stage, **wanted: str) -> None:
    eventually(lambda: answers(stage) == wanted or None, what=f"the answers {wanted}")
