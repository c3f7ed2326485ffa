"""What a role lets somebody do, and what they did, as sets that can be compared; and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rbac.md"
REASONS = {
    "agentpolicies": "what they allow is part of every Agent that they select",
    "agentpolicies/status": "whether they are accepted",
    "agents": "what there is to run; the ledger, again from the API server after a conflict",
    "agents/status": "the ledger and the conditions",
    "approvalanswers": "answers to approvals; deleted an hour after they were judged",
    "approvalanswers/status": "what became of them",
    "customresourcedefinitions": "kopf waits for the kinds that it watches",
    "deployments": "workers of Agents with `spec.worker.template`: made, changed, removed",
    "eventgrants": "which events of other namespaces an Agent may see",
    "eventgrants/status": "whether they are accepted",
    "events": "Kubernetes Events on Agents; warnings are listed where a task has had no pod for a minute",
    "eventtypes": "the schemas of events",
    "eventtypes/status": "whether they are accepted",
    "jobs": "tasks: started, found again, ended in time; resumed once the credentials of one that publishes are there",
    "leases": "who is active",
    "pods": "the answer of a task is the termination message of its pod; why one does not run, too",
    "replicasets": "what the credentials of workers belong to",
    "secrets": "credentials of a Job that publishes, and of workers",
    "secrets, named": "the keys of the embedded broker and of the webhook, which the operator makes",
    "validatingadmissionpolicies": "whether the API server vouches for who answers approvals",
    "validatingadmissionpolicybindings": "whether the API server vouches for who answers approvals",
    "validatingwebhookconfigurations": "the certificate of the webhook's authority, for the API server",
}

GATEWAY_REASONS = {
    "agentpolicies": "who may publish",
    "eventsources": "webhooks",
    "eventsources/status": "whether they are accepted, and their URL",
    "subscriptions": "endpoints that events are delivered to",
    "subscriptions/status": "whether they are accepted, and how far they are",
    "agents": "whether there is an Agent of a name, and its labels",
    "tokenreviews": "whose token it is",
    "approvalanswers": "answers by approval links; whether a link was used",
    "subjectaccessreviews": "whether who shows a token may make approval links",
    "secrets": "the key of approval links, which it makes",
}
CREATED = 201
OPERATOR, GATEWAY = "operator", "gateway"
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource; `names` where only objects of these names are meant."""

    where: str  # "everywhere" or "own namespace"
    group: str
    resource: str  # with its subresource, if any
    verb: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One request from the audit log."""

    group: str
    resource: str
    verb: str
    namespace: str
    name: str
    uri: str
    allowed: bool
    time: str


def rights(roles: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Of ClusterRoles and Roles, which are taken to be of the release's namespace."""
    return {
        Right(where, group, resource, verb, tuple(sorted(rule.get("resourceNames") or ())))
        for role in roles
        for where in ["everywhere" if role["kind"] == "ClusterRole" else "own namespace"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def requests(log: Path, user: str) -> Iterator[Request]:
    """Of one user, for resources and for the API server's own pages (`resource` is empty then).

    A server-side apply that makes an object is a patch, for which the API server asks for the right to create, too.
    """
    with log.open() as lines:
        for line in lines:
            if user not in line:
                continue
            entry = json.loads(line)
            if entry["user"]["username"] == user:
                found = _request(entry)
                yield found
                if found.verb == "patch" and entry.get("responseStatus", {}).get("code") == CREATED:
                    yield replace(found, verb="create")


def _request(entry: Mapping[str, Any]) -> Request:
    target = entry.get("objectRef") or {}
    resource = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
    return Request(
        target.get("apiGroup", ""),
        resource,
        entry["verb"],
        target.get("namespace", ""),
        target.get("name", ""),
        entry["requestURI"],
        entry.get("annotations", {}).get("authorization.k8s.io/decision") == "allow",
        entry["requestReceivedTimestamp"],
    )


def covers(right: Right, request: Request, namespace: str) -> bool:
    """Whether it is this right that the request needed; `namespace` is the release's."""
    if (right.group, right.resource, right.verb) != (request.group, request.resource, request.verb):
        return False
    if right.where == "own namespace" and request.namespace != namespace:
        return False
    return not right.names or request.name in right.names


def table(granted: Iterable[Right], reasons: Mapping[str, str] = REASONS) -> str:
    """Markdown: a row for each resource and place."""
    rows: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for right in sorted(granted):
        rows.setdefault((right.group, right.resource, right.where, right.names), []).append(right.verb)
    lines = ["| resource | verbs | where | for |", "|---|---|---|---|"]
    for (group, resource, where, names), verbs in sorted(rows.items()):
        place = f"{where}, named {', '.join(f'`{name}`' for name in names)}" if names else where
        key = f"{resource}, named" if f"{resource}, named" in reasons and names else resource
        shown = f"`{resource}`" + (f" ({group})" if group else "")
        lines.append(f"| {shown} | {', '.join(sorted(verbs))} | {place} | {reasons[key]} |")
    return "\n".join(lines) + "\n"


def roles_in(manifests: str, component: str = OPERATOR) -> list[dict[str, Any]]:
    """A component's roles among rendered manifests; that of `helm test` is made for the test and removed with it.

    One that is added to the roles of others, for Knative, is none of them.
    """
    found = [item for item in yaml.safe_load_all(manifests) if item]
    kinds = ("ClusterRole", "Role")
    roles = [
        item for item in found if item["kind"] in kinds and item["metadata"]["labels"][COMPONENT] == component
    ]
    roles = [role for role in roles if "duck.knative.dev/addressable" not in role["metadata"]["labels"]]
    return [role for role in roles if "helm.sh/hook" not in role["metadata"].get("annotations", {})]
