"""The API server stores what Python cannot parse: one such Agent must not keep the operator from seeing all others."""

from __future__ import annotations

import json

import pytest

from heed.errors import INVALID
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage
from tests.cluster.stories import RESEARCHER

pytestmark = pytest.mark.cluster
MOST = 9_000  # what the API server stores, nearly
SOME = 700  # what is parsed, and cannot be copied by copy.deepcopy
LISTS = "[" * MOST + "]" * MOST
MAPS = '{"a": ' * MOST + "1" + "}" * MOST
COPIED = "[" * SOME + "]" * SOME


def post(stage: Stage, name: str, topic: str) -> None:
    """Create a researcher whose topic is this JSON, which no client of ours could write."""
    agent = {**RESEARCHER, "metadata": {"name": name}}
    place = json.dumps(RESEARCHER["spec"]["handlers"][0]["state"])
    text = json.dumps(agent).replace(place, f'{{"topic": {topic}}}')
    admin = stage.plane.admin
    path = f"/apis/heed.dev/v1alpha1/namespaces/{stage.namespace}/agents"
    admin.send("POST", path, text.encode())


@pytest.mark.parametrize("topic", [LISTS, MAPS, COPIED], ids=["lists", "maps", "some levels"])
def test_an_agent_that_nests_too_deep_is_invalid_and_others_run(stage: Stage, topic: str) -> None:
    # Given an Agent that the operator cannot parse
    post(stage, "deep", topic)

    # Then one that comes after it runs
    post(stage, "fine", '"tides"')
    stage.until(lambda status: _ready(status) == "Subscribed", "fine", what="an Agent that runs")

    # and it is said to be invalid, also by an operator that finds both in its list
    _until_invalid(stage)
    stage.operator.stop()
    stage.plane.kubectl("patch", "agent", "deep", "-n", stage.namespace, *_STATUS)
    stage.operator.start()
    _until_invalid(stage)
    assert "RecursionError" not in stage.operator.log.read_text()


_STATUS = ("--subresource=status", "--type=merge", "-p", '{"status": {"conditions": null}}')


def _until_invalid(stage: Stage) -> None:
    """Wait for the condition by kubectl, which reads what this process could not."""

    def reason() -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].reason}'
        found = stage.plane.kubectl("get", "agent", "deep", "-n", stage.namespace, "-o", f"jsonpath={path}")
        return bool(found == INVALID)

    eventually(reason, what="an Agent that is said to be invalid")


def _ready(status: dict[str, object]) -> str | None:
    conditions = status.get("conditions") or []
    assert isinstance(conditions, list)
    return next((item["reason"] for item in conditions if item["type"] == "Ready"), None)
