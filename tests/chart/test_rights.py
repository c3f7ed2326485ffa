"""What the operator may do: as much as it does, where it does it, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Manifest, Manifests, render

# (group, resource) to verbs; beside these nothing. Every one of them is used: the end-to-end run checks it.
RIGHTS = {
    ("heed.dev", "agents"): {"get", "list", "watch"},
    ("heed.dev", "agents/status"): {"patch"},
    ("heed.dev", "agentpolicies"): {"list", "watch"},
    ("heed.dev", "eventgrants"): {"list", "watch"},
    ("heed.dev", "eventtypes"): {"list", "watch"},
    ("heed.dev", "agentpolicies/status"): {"patch"},
    ("heed.dev", "approvalanswers"): {"delete", "list", "watch"},
    ("heed.dev", "approvalanswers/status"): {"patch"},
    ("heed.dev", "eventgrants/status"): {"patch"},
    ("heed.dev", "eventtypes/status"): {"patch"},
    ("batch", "jobs"): {"create", "delete", "get", "list", "watch"},
    ("", "pods"): {"list"},
    ("", "events"): {"create", "list"},
}
ADMISSION = "admissionregistration.k8s.io"
CLUSTER_WIDE = {
    ("apiextensions.k8s.io", "customresourcedefinitions"): {"list", "watch"},
    (ADMISSION, "validatingadmissionpolicies"): {"get"},
    (ADMISSION, "validatingadmissionpolicybindings"): {"get"},
}
WEBHOOK = {("admissionregistration.k8s.io", "validatingwebhookconfigurations"): {"get", "patch"}}
CREDENTIALS = {
    ("", "secrets"): {"create"},
    ("batch", "jobs"): {"create", "delete", "get", "list", "patch", "watch"},
}
EMBEDDED, WATCHED = "nats.embedded.enabled=true", "watchNamespace=team"


def rights(role: Manifest) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def named(role: Manifest) -> dict[str, list[str]]:
    """What rules are limited to: resource to names."""
    return {rule["resources"][0]: rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule}


@pytest.mark.parametrize(
    ("values", "kind", "more"),
    [
        ((), "ClusterRole", CLUSTER_WIDE | WEBHOOK),
        (("webhook.enabled=false",), "ClusterRole", CLUSTER_WIDE),
        (("webhook.certManager.enabled=true",), "ClusterRole", CLUSTER_WIDE),
        ((EMBEDDED,), "ClusterRole", CLUSTER_WIDE | WEBHOOK | CREDENTIALS),
        ((EMBEDDED, "nats.embedded.auth.enabled=false"), "ClusterRole", CLUSTER_WIDE | WEBHOOK),
        (("nats.existingSecret=keys",), "ClusterRole", CLUSTER_WIDE | WEBHOOK | CREDENTIALS),
        (("nats.signing.secretName=keys",), "ClusterRole", CLUSTER_WIDE | WEBHOOK | CREDENTIALS),
        (("nats.workerSigning.secretName=keys",), "ClusterRole", CLUSTER_WIDE | WEBHOOK | CREDENTIALS),
        (("nats.credentials.secretName=keys",), "ClusterRole", CLUSTER_WIDE | WEBHOOK),
        ((WATCHED,), "Role", {}),
        ((WATCHED, EMBEDDED), "Role", CREDENTIALS),
    ],
)
def test_rights_on_agents_and_what_they_need(values: tuple[str, ...], kind: str, more: Any) -> None:
    rendered = render(*values)

    assert rights(rendered[kind, "system-heed"]) == RIGHTS | more


@pytest.mark.parametrize(("values", "kind"), [((), "ClusterRole"), ((WATCHED,), "Role")])
def test_kinds_of_resource_tasks_are_opted_in_to(values: tuple[str, ...], kind: str) -> None:
    opted = (
        "tasks.resources[0].group=argoproj.io",
        "tasks.resources[0].resources={workflows,workflowtemplates}",
    )
    core = "tasks.resources[1].resources={configmaps}"
    found = rights(render(*values, *opted, core)[kind, "system-heed"])

    more = {
        key: verbs for key, verbs in found.items() if key not in rights(render(*values)[kind, "system-heed"])
    }
    assert more == {
        ("argoproj.io", "workflows"): {"create", "delete", "get", "list", "watch"},
        ("argoproj.io", "workflowtemplates"): {"create", "delete", "get", "list", "watch"},
        ("", "configmaps"): {"create", "delete", "get", "list", "watch"},
    }


@pytest.mark.parametrize("minting", [False, True])
def test_workers_are_opted_in_to(minting: bool) -> None:
    values = (EMBEDDED,) if minting else ()
    found = rights(render(*values, "workers.enabled=true")["ClusterRole", "system-heed"])

    without = rights(render(*values)["ClusterRole", "system-heed"])
    assert {key: verbs for key, verbs in found.items() if without.get(key) != verbs} == {
        ("apps", "deployments"): {"create", "delete", "list", "patch", "watch"},
        **({("apps", "replicasets"): {"list", "watch"}} if minting else {}),
    }


def test_only_the_configuration_of_the_release_may_be_changed() -> None:
    rendered = render()
    configuration = rendered["ValidatingWebhookConfiguration"]["metadata"]["name"]

    assert named(rendered["ClusterRole", "system-heed"]) == {
        "validatingwebhookconfigurations": [configuration],
        "validatingadmissionpolicies": ["system-heed-answers"],
    }


def test_one_namespace_means_nothing_cluster_wide() -> None:
    rendered = render(WATCHED, EMBEDDED)
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "ValidatingWebhookConfiguration"}

    assert not {kind for kind, _ in rendered.names()} & cluster_wide
    assert rendered["Role", "system-heed"]["metadata"]["namespace"] == "team"
    assert rendered["RoleBinding", "system-heed"]["metadata"]["namespace"] == "team"
    assert rendered.environment()["HEED_NAMESPACE"] == "team"


@pytest.mark.parametrize("values", [(), (WATCHED,)])
def test_election_has_rights_on_one_lease(values: tuple[str, ...]) -> None:
    role = render(*values)["Role", "heed-lease"]

    assert role["metadata"]["namespace"] == "system"
    assert named(role) == {"leases": ["heed"]}
    assert [rule["verbs"] for rule in role["rules"]] == [["create"], ["get", "patch"]]


def test_no_election_no_rights_on_leases() -> None:
    assert ("Role", "heed-lease") not in render("election.enabled=false", "replicas=1")


@pytest.mark.parametrize(
    ("values", "secrets"),
    [
        ((), ["heed-webhook"]),
        ((EMBEDDED,), ["heed-nats-keys", "heed-webhook"]),
        ((EMBEDDED, "webhook.certManager.enabled=true"), ["heed-nats-keys"]),
        ((WATCHED, EMBEDDED), ["heed-nats-keys"]),
        (("webhook.enabled=false",), None),
        (("nats.existingSecret=keys", "webhook.enabled=false"), None),
    ],
)
def test_only_the_secrets_of_the_release_may_be_read(
    values: tuple[str, ...], secrets: list[str] | None
) -> None:
    rendered = render(*values)

    if secrets is None:
        assert ("Role", "heed-secrets") not in rendered
        return
    role = rendered["Role", "heed-secrets"]
    assert role["metadata"]["namespace"] == "system"
    assert named(role) == {"secrets": secrets}
    assert rights(role) == {("", "secrets"): {"get", "patch"}}
    assert {name for kind, name in rendered.names() if kind == "Secret"} == set(secrets)


@pytest.mark.parametrize("values", [(EMBEDDED,), (WATCHED, EMBEDDED)])
def test_every_role_is_bound_to_the_operator(values: tuple[str, ...]) -> None:
    rendered = render(*values)

    for role in bound(rendered):
        assert role["subjects"] == [{"kind": "ServiceAccount", "name": "heed", "namespace": "system"}]
    assert {(role["roleRef"]["kind"], role["roleRef"]["name"]) for role in bound(rendered)} == {
        (kind, name)
        for kind, name in rendered.names()
        if kind in ("Role", "ClusterRole") and not name.endswith("-approver")  # which is for people
    }


def bound(rendered: Manifests) -> list[Manifest]:
    return [item for item in rendered if "roleRef" in item]


def test_no_rights_where_you_grant_them() -> None:
    kinds = {kind for kind, _ in render("rbac.create=false", EMBEDDED).names()}

    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
