"""Manifests of Heed's kinds, as people apply them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from heed import names
from tests.builders.agents import ASKED, NAMESPACE

Manifest = dict[str, Any]


def document(
    kind: str, spec: Any, name: str = "it", namespace: str | None = NAMESPACE, **metadata: Any
) -> Manifest:
    """A manifest of any kind; without a namespace, where `kubectl apply -n` says it."""
    placed = {} if namespace is None else {"namespace": namespace}
    metadata = {"name": name, **placed, **metadata}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def policy_manifest(
    name: str = "strict",
    *,
    namespace: str | None = NAMESPACE,
    emissions: Iterable[str | Mapping[str, Any]] | None = None,
    **spec: Any,
) -> Manifest:
    """An AgentPolicy for all Agents of its namespace, unless it has a selector; emissions may be types alone."""
    spec = {"agentSelector": {}, **spec}
    if emissions is not None:
        spec["emissions"] = [{"type": item} if isinstance(item, str) else item for item in emissions]
    return document(names.AGENT_POLICY, spec, name, namespace)


def grant_manifest(
    *types: str, to: str = NAMESPACE, name: str = "given", namespace: str | None = NAMESPACE
) -> Manifest:
    """An EventGrant of events of its namespace to another one."""
    return document(names.EVENT_GRANT, {"from": [{"namespace": to}], "types": list(types)}, name, namespace)


def event_type_manifest(
    schema: Any,
    *examples: Any,
    type_: str = ASKED,
    name: str = "asked",
    namespace: str | None = NAMESPACE,
    created: str | None = None,
    **spec: Any,
) -> Manifest:
    """An EventType, stored at a time where one is given."""
    metadata = {} if created is None else {"creationTimestamp": created}
    given = {"examples": list(examples)} if examples else {}
    return document(
        names.EVENT_TYPE, {"type": type_, "schema": schema, **given, **spec}, name, namespace, **metadata
    )
