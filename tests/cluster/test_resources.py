"""Proves that the API server takes the four CRDs, refuses what their rules refuse, and explains their fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane.run import KubectlError

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., str]

POLICY: dict[str, Any] = {
    "agentSelector": {
        "matchLabels": {"app.kubernetes.io/part-of": "shop"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
    },
    "subscriptions": [{"type": "com.example.>"}, {"type": "org.example.*", "namespace": "shop"}],
    "emissions": [],
    "tasks": {"kinds": ["job"], "images": ["ghcr.io/example/*"], "serviceAccounts": ["default"]},
    "limits": {"sessions": 0, "pendingTasks": 3, "tasksPerMinute": 10, "hops": 4},
}
GRANT: dict[str, Any] = {"from": [{"namespace": "demo"}], "types": ["com.example.*"]}
TYPE: dict[str, Any] = {
    "type": "com.example.order.placed",
    "description": "Somebody placed an order.",
    "schema": {"type": "object", "required": ["id"], "properties": {"id": {"const": None}}},
    "examples": [{"id": "7"}, 7],
}
SPECS = {"AgentPolicy": POLICY, "EventGrant": GRANT, "EventType": TYPE}


@pytest.fixture
def apply(kubectl: Kubectl, namespace: str, tmp_path: Path) -> Callable[[str, Any], Any]:
    """Create an object of a kind with a spec; what the API server then has."""

    def create(kind: str, spec: Any) -> Any:
        file = tmp_path / "document.json"
        document = {"apiVersion": "heed.dev/v1alpha1", "kind": kind, "metadata": {"name": "it"}, "spec": spec}
        file.write_text(json.dumps(document))
        return json.loads(kubectl("-n", namespace, "create", "-f", str(file), "-o", "json"))

    return create


@pytest.mark.parametrize("kind", SPECS)
def test_an_object_of_each_kind_is_kept_as_it_was_written(
    kind: str, apply: Callable[[str, Any], Any]
) -> None:
    given = SPECS[kind]

    kept = apply(kind, given)["spec"]

    defaults = {"mode": "Enforce"} if kind == "EventType" else {}
    assert kept == {**given, **defaults}


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("AgentPolicy", {"agentSelector": None}, "agentSelector"),
        ("AgentPolicy", {"agentSelector": {"matchLabels": {"not a key": "x"}}}, "must be label keys"),
        ("AgentPolicy", {"agentSelector": {"matchLabels": {"a": "not a value"}}}, "matchLabels"),
        (
            "AgentPolicy",
            {"agentSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "In and NotIn need values",
        ),
        (
            "AgentPolicy",
            {"agentSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
            "must have none",
        ),
        (
            "AgentPolicy",
            {"agentSelector": {"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}},
            "Unsupported value",
        ),
        ("AgentPolicy", {"subscriptions": [{"type": "com.>.example"}]}, "subscriptions[0].type"),
        (
            "AgentPolicy",
            {"subscriptions": [{"type": "a.b", "namespace": "No"}]},
            "subscriptions[0].namespace",
        ),
        ("AgentPolicy", {"emissions": [{"type": ""}]}, "emissions[0].type"),
        ("AgentPolicy", {"emissions": [{"type": "a b"}]}, "emissions[0].type"),
        ("AgentPolicy", {"tasks": {"kinds": ["jobs"]}}, "Unsupported value"),
        ("AgentPolicy", {"tasks": {"images": [""]}}, "tasks.images[0]"),
        ("AgentPolicy", {"tasks": {"images": ["a b"]}}, "tasks.images[0]"),
        ("AgentPolicy", {"tasks": {"serviceAccounts": ["Robot"]}}, "tasks.serviceAccounts[0]"),
        ("AgentPolicy", {"limits": {"sessions": -1}}, "limits.sessions"),
        ("AgentPolicy", {"limits": {"hops": 1.5}}, "limits.hops"),
        ("AgentPolicy", {"limit": {"hops": 1}}, "unknown field"),
        ("EventGrant", {"from": []}, "spec.from"),
        ("EventGrant", {"types": []}, "spec.types"),
        ("EventGrant", {"types": ["a..b"]}, "spec.types[0]"),
        ("EventGrant", {"from": [{"namespace": "*"}]}, "spec.from[0].namespace"),
        ("EventType", {"type": "com.example.*"}, "spec.type"),
        ("EventType", {"mode": "Ignore"}, "Unsupported value"),
        ("EventType", {"schema": None}, "spec.schema"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    kind: str, change: dict[str, Any], said: str, apply: Callable[[str, Any], Any]
) -> None:
    spec = {key: value for key, value in {**SPECS[kind], **change}.items() if value is not None}

    with pytest.raises(KubectlError) as refused:
        apply(kind, spec)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("agentpolicies.spec.limits.tasksPerMinute", "Tasks started within a minute"),
        ("agentpolicy.spec.agentSelector", "{} selects all of them"),
        ("agp.spec.subscriptions.namespace", "policy's own"),
        ("eventgrants.spec.from.namespace", "namespace of the Agents"),
        ("eg.spec.types", "NATS patterns"),
        ("eventtypes.spec.schema", "JSON Schema 2020-12"),
        ("et.status.conditions", "Accepted says whether it counts"),
        ("agents.spec.subscribe.namespace", "EventGrant there"),
        ("agents.spec.tasks.publish", "HEED_NATS_*"),
    ],
)
def test_kubectl_explains_the_fields(kubectl: Kubectl, field: str, says: str) -> None:
    explained = " ".join(kubectl("explain", field).split())

    assert says in explained


@pytest.mark.parametrize("wanted", ["completed", "failed", "progress", "*", ">"])
def test_an_agent_may_react_to_what_tasks_send(wanted: str, apply: Callable[[str, Any], Any]) -> None:
    handlers = [
        {"name": "one", "type": f"dev.heed.task.{wanted}"},
        {"name": "two", "type": "dev.heed.tasks.x"},
    ]

    kept = apply("Agent", {"subscribe": [{"type": "com.example.*"}], "handlers": handlers})["spec"]

    assert [handler["type"] for handler in kept["handlers"]] == [handler["type"] for handler in handlers]


@pytest.mark.parametrize("wanted", ["complete", "result", "completed.now", "*.failed"])
def test_an_agent_that_reacts_to_what_no_task_sends_is_refused(
    wanted: str, apply: Callable[[str, Any], Any]
) -> None:
    handler = {"name": "one", "type": f"dev.heed.task.{wanted}"}

    with pytest.raises(KubectlError) as refused:
        apply("Agent", {"subscribe": [{"type": "com.example.*"}], "handlers": [handler]})

    assert "spec.handlers[0]: Invalid value" in str(refused.value)
    assert "no task sends events of this type" in str(refused.value)
