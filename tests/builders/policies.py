"""Short ways to say "given a policy that …": specs become policies, grants, types, permissions and programs."""

from collections.abc import Sequence
from typing import Any

from heed.api.agent import AgentMetadata
from heed.api.event_grant import EventGrant, parse_grant
from heed.api.event_type import EventType, parse_event_type
from heed.api.policy import AgentPolicy, parse_policy
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.policy.permissions import Permissions, resolve_permissions
from heed.errors import InvalidManifest
from tests.builders.agents import AGENT, ASKED, NAMESPACE, manifest
from tests.builders.manifests import event_type_manifest, grant_manifest, policy_manifest


def policy(name: str = "strict", namespace: str = NAMESPACE, **spec: Any) -> AgentPolicy:
    """A policy for all Agents of the namespace, unless it has a selector."""
    return parse_policy(policy_manifest(name, namespace=namespace, **spec))


def grant(namespace: str, *types: str, to: str = NAMESPACE) -> EventGrant:
    """A grant of a namespace's events to another namespace."""
    return parse_grant(grant_manifest(*types, to=to, namespace=namespace))


def event_type(schema: Any, type_: str = ASKED, **more: Any) -> EventType:
    """An EventType of the namespace, named after its type if nothing else is said."""
    facts = {"name": type_.replace(".", "-"), "created": "2026-01-01T00:00:00Z", **more}
    return parse_event_type(event_type_manifest(schema, type_=type_, **facts))


def allowed_by(*policies: AgentPolicy, grants: Sequence[EventGrant] = (), **labels: str) -> Permissions:
    """What these let the Agent of `agents.manifest` do, with these labels."""
    return resolve_permissions(
        AgentMetadata(name=AGENT, namespace=NAMESPACE, labels=labels), policies, grants
    )


def restricted(may: Permissions, *handlers: dict[str, Any], **spec: Any) -> Program:
    """The Program of an Agent that may do only that. Raises InvalidManifest."""
    return compile_agent(parse_agent(manifest(*handlers, **spec)), may)


def refusal_of_agent(may: Permissions, *handlers: dict[str, Any], **spec: Any) -> InvalidManifest | None:
    """Why such an Agent may not run, None where it may."""
    try:
        restricted(may, *handlers, **spec)
    except InvalidManifest as error:
        return error
    return None
