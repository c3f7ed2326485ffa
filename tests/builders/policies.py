"""Short ways to say "given a policy that …": specs become policies, grants, permissions and programs."""

from collections.abc import Sequence
from typing import Any

from heed import names
from heed.api.agent import AgentMetadata
from heed.api.policy import AgentPolicy, EventGrant, parse_grant, parse_policy
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.policy.permissions import Permissions, resolve_permissions
from heed.errors import InvalidManifest
from tests.builders.agents import AGENT, NAMESPACE, manifest


def document(kind: str, spec: Any, name: str = "it", namespace: str = NAMESPACE) -> dict[str, Any]:
    """A manifest of one of Heed's kinds."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def policy(name: str = "strict", namespace: str = NAMESPACE, **spec: Any) -> AgentPolicy:
    """A policy for all Agents of the namespace, unless it has a selector."""
    return parse_policy(document(names.AGENT_POLICY, {"agentSelector": {}, **spec}, name, namespace))


def grant(namespace: str, *types: str, to: str = NAMESPACE) -> EventGrant:
    """A grant of a namespace's events to another namespace."""
    spec = {"from": [{"namespace": to}], "types": list(types)}
    return parse_grant(document(names.EVENT_GRANT, spec, "given", namespace))


def allowed(*policies: AgentPolicy, grants: Sequence[EventGrant] = (), **labels: str) -> Permissions:
    """What these let the Agent of `agents.manifest` do, with these labels."""
    return resolve_permissions(
        AgentMetadata(name=AGENT, namespace=NAMESPACE, labels=labels), policies, grants
    )


def restricted(may: Permissions, *handlers: dict[str, Any], **spec: Any) -> Program:
    """The Program of an Agent that may do only that. Raises InvalidManifest."""
    return compile_agent(parse_agent(manifest(*handlers, **spec)), may)


def refusal(may: Permissions, *handlers: dict[str, Any], **spec: Any) -> InvalidManifest | None:
    """Why such an Agent may not run, None where it may."""
    try:
        restricted(may, *handlers, **spec)
    except InvalidManifest as error:
        return error
    return None
