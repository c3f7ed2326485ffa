"""Agents that are suspended, resumed and limited, as people see it: heed's commands, kubectl's columns, conditions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from heed.api.conditions import find_condition
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage
from tests.cluster.stories import RESEARCHER, researcher
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., str]


@pytest.fixture
def heed(stage: Stage, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`heed` in a process of its own, in the namespace; its exit code, and what it wrote."""

    def call(command: str, *arguments: str) -> tuple[int, str]:
        cluster = ["--kubeconfig", str(stage.plane.kubeconfig), "-n", stage.namespace]
        words = [
            sys.executable,
            "-c",
            "from heed.cli.main import main; main()",
            command,
            *arguments,
            *cluster,
        ]
        done = run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return call


def condition(status: dict[str, Any], type_: str) -> tuple[str | None, str | None]:
    found = find_condition(status.get("conditions") or [], type_) or {}
    return found.get("status"), found.get("reason")


def columns(kubectl: Kubectl, stage: Stage) -> dict[str, str]:
    """The columns of the researcher in `kubectl get agents`."""
    head, row = kubectl("get", "agent", "researcher", "-n", stage.namespace).splitlines()
    starts = [(head.index(title), title) for title in head.split()]
    ends = [start for start, _ in starts[1:]] + [len(row) + 1]
    return {title: row[start:end].strip() for (start, title), end in zip(starts, ends, strict=True)}


def test_a_suspended_agents_task_runs_on_and_its_end_is_decided_when_it_is_resumed(
    stage: Stage, pods: PodPhases, kubectl: Kubectl, heed: Callable[..., tuple[int, str]]
) -> None:
    # Given an Agent whose task runs
    stage.apply(RESEARCHER)
    stage.ask("q-1", correlation="c-1")
    job = stage.until_job()
    stage.until(lambda s: [task["phase"] for task in s["pendingTasks"].values()] == ["Started"])

    # When it is suspended, twice
    assert heed("suspend", "researcher") == (0, f"agent {stage.namespace}/researcher suspended\n")
    assert heed("suspend", "researcher") == (0, f"agent {stage.namespace}/researcher is so already\n")
    stage.until(lambda s: condition(s, "Suspended") == ("True", "AgentSuspended"))
    assert condition(stage.status(), "Ready") == ("True", "Suspended")
    assert columns(kubectl, stage)["SUSPEND"] == "true"

    # And its task ends, and an event comes
    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')
    inbox = f"heed.inbox.{stage.namespace}.researcher.>"
    stage.plane.kubectl(
        "wait", "--for=condition=Complete", "job", job["metadata"]["name"], "-n", stage.namespace
    )
    assert len(eventually(lambda: stage.broker.events(inbox), PATIENCE, what="the end of the task")) == 1
    stage.ask("q-2", correlation="c-2")

    # Then nothing is decided, also by an operator that begins anew
    stage.operator.stop()
    stage.operator.start()
    status = stage.status()
    assert totals(status) == {"handled": 1, "tasksStarted": 1}
    assert len(status["pendingTasks"]) == 1

    # Until it is resumed
    code, said = heed("resume", "--all", "-o", "json")
    assert (code, [item["outcome"] for item in json.loads(said)]) == (0, ["resumed"])
    status = stage.until(lambda s: totals(s).get("tasksStarted") == 2 and totals(s).get("emitted"))
    assert status["sessions"]["c-1"]["state"] == {"topic": "tides", "answer": "the moon"}
    assert condition(status, "Suspended") == ("False", "AgentResumed")
    assert columns(kubectl, stage)["SUSPEND"] == "false"


def test_an_agent_that_does_not_exist_is_said_to_and_an_invalid_one_is_suspended(
    stage: Stage, heed: Callable[..., tuple[int, str]]
) -> None:
    # Given one whose last valid generation runs
    stage.apply(RESEARCHER)
    stage.until(lambda s: condition(s, "Ready")[0] == "True")
    handlers = [{**RESEARCHER["spec"]["handlers"][0], "when": "nothing"}]
    stage.apply(researcher(handlers=handlers))
    stage.until(lambda s: condition(s, "Ready") == ("False", "Invalid"))

    # When
    code, said = heed("suspend", "researcher", "nobody")

    # Then
    assert code == 1
    assert f"agent {stage.namespace}/researcher suspended\n" in said
    assert f"agent {stage.namespace}/nobody does not exist; " in said
    status = stage.until(lambda s: condition(s, "Suspended") == ("True", "AgentSuspended"))
    assert condition(status, "Ready") == ("False", "Invalid")
    stage.ask("q-1")
    heed("resume", "researcher")
    stage.until(lambda s: totals(s).get("handled") == 1)


def test_a_limit_that_holds_events_back_is_said(stage: Stage) -> None:
    # Given an Agent that takes one event in an hour
    stage.apply(researcher(rateLimit={"events": 1, "per": "1h"}))
    stage.until(lambda s: condition(s, "Ready")[0] == "True")

    # When one comes
    stage.ask("q-1")

    # Then it is held back, and said to be, and decided once the limit is gone
    status = stage.until(lambda s: condition(s, "RateLimited") == ("True", "EventsHeldBack"))
    assert totals(status) == {}
    stage.apply(RESEARCHER)
    stage.until(lambda s: totals(s).get("handled") == 1)
