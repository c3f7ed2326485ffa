"""Kubernetes Events on Agents, as the real kubectl shows them, made with the chart's rights."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.ruling import policy, ready
from tests.cluster.stories import RESEARCHER, with_handler
from tests.cluster.watchless import AGENT
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster


def test_describe_shows_why_an_agent_is_not_ready_and_that_it_is_again(stage: Stage) -> None:
    # Given an Agent that is well from the start
    stage.apply(RESEARCHER)
    ready(stage, "True", "Subscribed")

    # When a policy stops it, and is changed
    stage.apply(policy("strict", emissions=[]))
    ready(stage, "False", "PolicyViolation")
    told(stage, "Warning", "PolicyViolation")
    stage.apply(policy("strict", emissions=["com.example.>"]))
    ready(stage, "True", "Subscribed")
    told(stage, "Normal", "Subscribed")

    # And somebody makes a mistake
    stage.apply(with_handler(name="typo", type="com.example.x", when="evnt.id == ''"))
    told(stage, "Warning", "Invalid")

    # Then that is all there is to tell, and kubectl describe shows it
    events = all_told(stage)
    assert [(item["type"], item["reason"]) for item in events] == [
        ("Warning", "PolicyViolation"),
        ("Normal", "Subscribed"),
        ("Warning", "Invalid"),
    ]
    assert {item["reportingComponent"] for item in events} == {"heed.dev/operator"}
    described = stage.plane.kubectl("describe", "agent", AGENT, "-n", stage.namespace).split("Events:")[1]
    assert f"{stage.namespace}/strict" in described
    assert "spec.handlers[3].when" in described
    assert "heed.dev/operator" in described


def test_dead_letters_that_a_policy_makes_are_told_of_once_a_minute(stage: Stage) -> None:
    # Given an Agent whose tasks' images come with its events
    manifest = copy.deepcopy(RESEARCHER)
    pod = manifest["spec"]["tasks"]["research"]["job"]["template"]["spec"]
    pod["containers"][0]["image"] = "${input.topic}"
    stage.apply(policy("images", tasks={"images": ["example/*"]}))
    stage.apply(manifest)
    ready(stage, "True", "Subscribed")

    # When many of them are not allowed
    for number in range(10):
        stage.ask(f"q-{number}", correlation=f"c-{number}", topic="evil/image:1")
    stage.until(lambda s: totals(s).get("deadLettered") == 10)

    # Then the first one is told of, with what to do
    (event,) = [item for item in all_told(stage) if item["reason"] == "PolicyViolation"]
    assert f"AgentPolicy {stage.namespace}/images" in event["message"]
    assert f"heed dead list -n {stage.namespace} --agent {AGENT} --code PolicyViolation" in event["message"]
    assert event["involvedObject"]["uid"] == stage.agent()["metadata"]["uid"]


def test_a_message_that_is_too_long_is_cut(stage: Stage) -> None:
    typos = [{"name": f"typo-{n}", "type": "com.example.x", "when": f"evnt{n}.ä == ''"} for n in range(40)]
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["handlers"] += typos

    stage.apply(manifest)

    ready(stage, "False", "Invalid")
    event = told(stage, "Warning", "Invalid")
    assert 1000 < len(event["message"].encode()) <= 1024
    assert event["message"].endswith("…")


def told(stage: Stage, type_: str, reason: str) -> dict[str, Any]:
    """An Event on the Agent, once it is there."""

    def look() -> dict[str, Any] | None:
        found = (item for item in all_told(stage) if (item["type"], item["reason"]) == (type_, reason))
        return next(found, None)

    return eventually(look, PATIENCE, what=f"an Event {type_} {reason}; log: {stage.operator.log}")


def all_told(stage: Stage) -> list[dict[str, Any]]:
    """The Events on the Agent, the oldest first."""
    answer = stage.plane.kubectl("get", "events", "-n", stage.namespace, "-o", "json")
    items = [item for item in json.loads(answer)["items"] if item["involvedObject"]["name"] == AGENT]
    return sorted(items, key=lambda item: str(item["eventTime"]))
