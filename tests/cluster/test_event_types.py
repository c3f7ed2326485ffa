"""What event types do to Agents that run, on a real API server with the chart's rights."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest

from tests.builders.agents import ASKED
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.ruling import accepted, event_type, ready
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
LONG: dict[str, Any] = {"type": "object", "properties": {"topic": {"type": "string", "minLength": 5}}}
SHORT: dict[str, Any] = {"type": "object", "properties": {"topic": {"type": "string", "maxLength": 4}}}
_numbers = itertools.count()


def test_a_type_is_enforced_from_when_it_is_there_until_it_is_gone(stage: Stage) -> None:
    # Given an Agent that takes anything
    stage.apply(RESEARCHER)
    ready(stage, "True", "Subscribed")
    asked(stage, "moon", handled=1)

    # When its events get a type
    stage.apply(event_type(LONG, name="asked"))
    said(stage, "asked", "True", "Accepted")

    # Then what does not fit is dead-lettered
    asked(stage, "moon", dead=1)
    asked(stage, "tides", handled=2)
    (letter,) = eventually(lambda: stage.broker.letters(stage.namespace, AGENT), PATIENCE, what="a letter")
    assert "SchemaViolation" in letter.values()

    # And a change of its mode counts as well as its end
    stage.apply(event_type(LONG, name="asked", mode="Warn"))
    said(stage, "asked", "True", "Accepted", generation=2)
    asked(stage, "moon", handled=3)
    assert totals(stage.status())["schemaWarnings"] == 1
    stage.plane.kubectl("delete", "eventtype", "asked", "-n", stage.namespace)
    asked(stage, "moon", handled=4)


def test_of_two_types_for_the_same_events_the_older_one_counts(stage: Stage) -> None:
    # Given
    stage.apply(RESEARCHER)
    stage.apply(event_type(LONG, name="long"))
    said(stage, "long", "True", "Accepted")
    eventually(lambda: seconds(stage, "long"), PATIENCE, what="another second")
    stage.apply(event_type(SHORT, name="short"))

    # Then
    conflict = said(stage, "short", "False", "Conflict")
    assert "long" in conflict["message"]
    asked(stage, "tides", handled=1)

    # And when it goes, the other one counts
    stage.plane.kubectl("delete", "eventtype", "long", "-n", stage.namespace)
    said(stage, "short", "True", "Accepted")
    asked(stage, "tides", handled=1, dead=1)
    asked(stage, "moon", handled=2)


def test_a_type_that_is_wrong_says_so_and_checks_nothing(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.apply(event_type({"$ref": "file:///etc/passwd"}, name="asked"))

    wrong = said(stage, "asked", "False", "Invalid")
    assert "$ref" in wrong["message"]
    asked(stage, "moon", handled=1)

    stage.apply(event_type(LONG, name="asked"))
    said(stage, "asked", "True", "Accepted", generation=2)
    asked(stage, "moon", handled=1, dead=1)


@pytest.mark.parametrize("levels", [480, 3000])
def test_a_type_that_nests_too_deep_is_nothing_to_the_others(stage: Stage, levels: int) -> None:
    # Given one that the API server takes, and Python's own functions do not
    schema = '{"properties":{"a":' * levels + "{}" + "}}" * levels
    head = {"apiVersion": "heed.dev/v1alpha1", "kind": "EventType", "metadata": {"name": "deep"}}
    deep = json.dumps(head)[:-1] + ',"spec":{"type":"com.example.deep","schema":' + schema + "}}"
    stage.plane.kubectl("create", "-n", stage.namespace, "-f", "-", stdin=deep)
    eventually(lambda: judgement(stage, "deep") == "False Invalid", PATIENCE, what="a judgement")

    # When there are others, and the operator starts over
    stage.apply(RESEARCHER)
    stage.apply(event_type(LONG, name="asked"))
    said(stage, "asked", "True", "Accepted")
    stage.operator.kill()
    stage.operator.start()

    # Then they count
    asked(stage, "moon", dead=1)
    asked(stage, "tides", handled=1, dead=1)


def judgement(stage: Stage, name: str) -> str:
    """What is said of a type that nobody here could parse."""
    path = "{.status.conditions[0].status} {.status.conditions[0].reason}"
    return stage.plane.kubectl("get", "eventtype", name, "-n", stage.namespace, "-o", f"jsonpath={path}")


def test_what_an_agent_emits_is_checked_too(stage: Stage) -> None:
    # Given an Agent that passes on what it hears
    manifest = copy.deepcopy(RESEARCHER)
    echo = {"type": "com.example.echo", "data": {"topic": "${event.data.topic}"}}
    manifest["spec"]["handlers"] = [{"name": "echo", "type": ASKED, "emit": [echo]}]
    stage.apply(event_type(LONG, name="echo", type_="com.example.echo"))
    stage.apply(manifest)
    said(stage, "echo", "True", "Accepted")
    ready(stage, "True", "Subscribed")

    asked(stage, "moon", dead=1)
    asked(stage, "tides", handled=1, dead=1)

    stage.until(lambda s: not s["outbox"], what="an outbox that is sent")
    assert [event.data for event in stage.answers("com.example.echo")] == [{"topic": "tides"}]


def asked(stage: Stage, topic: str, *, handled: int = 0, dead: int = 0) -> None:
    """Ask, as a session of its own, until the totals are at least these."""
    number = next(_numbers)
    stage.ask(f"q-{number}", correlation=f"c-{number}", topic=topic)
    stage.until(
        lambda s: totals(s).get("handled", 0) >= handled and totals(s).get("deadLettered", 0) >= dead,
        what=f"{handled} handled and {dead} dead",
    )


def said(stage: Stage, name: str, status: str, reason: str, generation: int = 1) -> dict[str, Any]:
    """The condition of a type, once it says this, and the Agent is compiled with it."""
    return accepted(stage.plane, stage.namespace, "eventtypes", name, status, reason, generation)


def seconds(stage: Stage, name: str) -> bool:
    """Whether what is made now is younger: times of creation are whole seconds."""
    made = stage.plane.kubectl(
        "get", "eventtype", name, "-n", stage.namespace, "-o", "jsonpath={.metadata.creationTimestamp}"
    )
    now = stage.plane.kubectl(
        "create", "configmap", "now", "-n", stage.namespace, "-o", "jsonpath={.metadata.creationTimestamp}"
    )
    stage.plane.kubectl("delete", "configmap", "now", "-n", stage.namespace)
    return now > made
