"""Agents that the stories are told with, beside the examples."""

from __future__ import annotations

from typing import Any

from tests.e2e.release import CONTAINER_SECURITY, SECURITY

TICK, TOCK = "com.example.tick", "com.example.tock"
ASKED, ANSWERED, FAILED = (
    "com.example.question.asked",
    "com.example.question.answered",
    "com.example.question.failed",
)
PYTHON = "docker.io/library/python:3.12-slim"
ECHO = """
import json, os, time
with open(os.environ["HEED_TASK_FILE"]) as file:
    given = json.load(file)["input"]
time.sleep(given["seconds"])
with open(os.environ["HEED_RESULT_FILE"], "w") as file:
    json.dump({"answer": given["topic"]}, file)
"""


def counter() -> dict[str, Any]:
    """Counts in one session, and says so each time."""
    handler = {
        "name": "count",
        "type": TICK,
        "state": {"count": "${has(state.count) ? state.count + 1 : 1}"},
        "emit": [{"type": TOCK, "data": {"tick": "${event.data.tick}"}}],
    }
    return _agent(
        "counter", {"subscribe": [{"type": TICK}], "session": {"key": '"all"'}, "handlers": [handler]}
    )


def slow(name: str = "slow", timeout: str = "5m") -> dict[str, Any]:
    """Each question has a Job that takes the seconds that it names, and ends in an answer or in a failure."""
    started = {"task": "echo", "input": {"topic": "${event.data.topic}", "seconds": "${event.data.seconds}"}}
    handlers = [
        {"name": "begin", "type": ASKED, "start": [started]},
        {
            "name": "conclude",
            "type": "dev.heed.task.completed",
            "emit": [{"type": ANSWERED, "data": {"answer": "${event.data.result.answer}"}}],
            "end": True,
        },
        {
            "name": "give-up",
            "type": "dev.heed.task.failed",
            "emit": [{"type": FAILED, "data": {"reason": "${event.data.reason}"}}],
            "end": True,
        },
    ]
    tasks = {"echo": {"timeout": timeout, "job": restricted_job(["python3", "-c", ECHO])}}
    return _agent(name, {"subscribe": [{"type": ASKED}], "tasks": tasks, "handlers": handlers})


def restricted_job(command: list[str], image: str = PYTHON) -> dict[str, Any]:
    """A JobSpec that Pod Security's `restricted` lets in."""
    container = {"name": "main", "image": image, "command": command, "securityContext": CONTAINER_SECURITY}
    return {"backoffLimit": 0, "template": {"spec": {"securityContext": SECURITY, "containers": [container]}}}


def _agent(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "heed.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name}, "spec": spec}
