"""Agents in Python on a real API server: their worker is a process apart, which may come, go and be another one."""

from __future__ import annotations

import signal

import pytest

from tests.cluster.coding import CodeWorker, ask, until_answered
from tests.cluster.operating import Stage

pytestmark = pytest.mark.cluster


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
