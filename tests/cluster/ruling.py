"""Policies, grants and event types of stories, and short ways to see what came of them."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import yaml

from heed import names
from heed.api.conditions import find_condition
from heed.core.events import Event
from tests.builders.manifests import event_type_manifest, grant_manifest, policy_manifest
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Stage
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE

ANSWERS = "com.example.question.*"
# kubectl is told the namespace
policy = partial(policy_manifest, namespace=None)
grant = partial(grant_manifest, namespace=None)
event_type = partial(event_type_manifest, namespace=None)


def listener(
    namespace: str | None, pattern: str = "com.example.order.>", name: str = "researcher"
) -> dict[str, Any]:
    """An Agent that notes the orders of a namespace."""
    subscription = {"type": pattern} | ({"namespace": namespace} if namespace else {})
    note = {"name": "note", "type": pattern, "state": {"heard": "${event.id}"}}
    manifest = {
        **RESEARCHER,
        "metadata": {"name": name},
        "spec": {"subscribe": [subscription], "handlers": [note]},
    }
    return copy.deepcopy(manifest)


def order(stage: Stage, namespace: str, id: str) -> int:
    """Publish an order in a namespace."""
    type_ = "com.example.order.placed"
    event = Event(id, "/test", type_, {"sum": 7}, datacontenttype="application/json")
    return stage.broker.publish(names.event_subject(namespace, type_), event)


def ready(
    stage: Stage, status: str, reason: str, name: str = "researcher", *, says: str = ""
) -> dict[str, Any]:
    """The condition Ready of an Agent, once it says this."""

    def look() -> dict[str, Any] | None:
        found = find_condition(stage.status(name).get("conditions") or [], "Ready")
        fits = found and (found["status"], found["reason"]) == (status, reason) and says in found["message"]
        return dict(found) if found and fits else None

    what = f"Ready={status}, {reason}, {says!r}; log: {stage.operator.log}"
    return eventually(look, PATIENCE, what=what)


def accepted(
    plane: ControlPlane, namespace: str, plural: str, name: str, status: str, reason: str, generation: int = 1
) -> dict[str, Any]:
    """The condition Accepted of an object, once it says this of a generation."""

    def look() -> dict[str, Any] | None:
        body = plane.admin.get(f"/apis/{names.API_VERSION}/namespaces/{namespace}/{plural}/{name}")
        found = find_condition((body.get("status") or {}).get("conditions") or [], "Accepted")
        if found is None or body["status"]["observedGeneration"] != generation:
            return None
        return dict(found) if (found["status"], found["reason"]) == (status, reason) else None

    return eventually(look, PATIENCE, what=f"{plural} {name}: Accepted={status}, {reason}")


def apply(plane: ControlPlane, namespace: str, *manifests: dict[str, Any]) -> None:
    """`kubectl apply` into a namespace."""
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(manifests))
