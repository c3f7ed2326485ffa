"""The gateway in the chart: off unless asked for, with an identity, a login and rights of its own, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from heed.settings import Settings
from tests.chart.rendering import Manifests, Refused, render
from tests.chart.test_rights import rights

SUBSCRIBED = "gateway.subscriptions.enabled=true"
ON, EMBEDDED = "gateway.enabled=true", "nats.embedded.enabled=true"
GATEWAY, OPERATOR = ("Deployment", "heed-gateway"), ("Deployment", "heed")
ROLE, TOKENS = ("ClusterRole", "system-heed-gateway"), ("ClusterRole", "system-heed-gateway-tokens")


def test_there_is_none_unless_it_is_asked_for() -> None:
    rendered = render()

    assert not [item for item in rendered if "gateway" in item["metadata"]["name"]]
    assert not [name for name in rendered.environment() if "GATEWAY" in name]
    crds = [item for item in rendered if item["kind"] == "CustomResourceDefinition"]
    assert not [item for item in crds if "duck.knative.dev/addressable" in item["metadata"]["labels"]]


def test_it_logs_in_with_credentials_of_its_own() -> None:
    path = "/etc/heed/nats-credentials/gateway.creds"
    for values, secret in (
        ((EMBEDDED,), "heed-nats-keys"),
        (("nats.existingSecret=keys",), "keys"),
    ):
        rendered = render(ON, *values)
        assert rendered.environment(GATEWAY)["HEED_NATS_CREDENTIALS"] == path
        assert rendered.files(GATEWAY) == {path: (secret, "gateway.creds")}

    own = ("nats.credentials.secretName=operators", "gateway.credentials.secretName=gateways")
    assert list(render(ON, *own).files(GATEWAY).values()) == [("gateways", "heed.creds")]
    assert list(render(ON, own[0]).files(GATEWAY).values()) == [("operators", "heed.creds")]
    assert list(render(ON, *own).files(OPERATOR).values()) == [("operators", "heed.creds")]


def test_it_signs_nothing() -> None:
    environment = render(ON, "nats.signing.secretName=seed", "nats.credentials.secretName=c").environment(
        GATEWAY
    )

    assert not [name for name in environment if "SIGNING" in name or "KEYS" in name or "ACCOUNT" in name]


def settings(rendered: Manifests, key: tuple[str, str]) -> Settings:
    """What the process reads."""
    plain = {name: value for name, value in rendered.environment(key).items() if isinstance(value, str)}
    return Settings.from_environment(plain)


def test_both_processes_know_its_url() -> None:
    for values, url in (
        ((), "http://heed-gateway.system.svc"),
        (("gateway.tls.secretName=tls",), "https://heed-gateway.system.svc"),
        (("gateway.url=https://events.example.com/in",), "https://events.example.com/in"),
    ):
        rendered = render(ON, *values)
        for key in (GATEWAY, OPERATOR):
            assert settings(rendered, key).gateway.url == url


def test_its_values_are_settings() -> None:
    limits = {"senderRate": 0, "senderBurst": 7, "bodyMemory": 2**30, "maxConnections": 5000, "drain": 9}
    gateway: dict[str, Any] = {
        "enabled": True,
        "audience": "",
        "allowedOrigins": ["example.com", "example.org"],
        "limits": limits,
        "tokens": {"secretName": "t"},
    }
    found = settings(render("watchNamespace=team", values={"gateway": gateway}), GATEWAY)

    assert found.namespace == "team"
    assert (found.gateway.audience, found.gateway.tokens) == (None, "/etc/heed/tokens")
    assert found.gateway.allowed_origins == "example.com,example.org"
    assert (found.gateway.sender_rate, found.gateway.sender_burst, found.gateway.drain) == (0, 7, 9)
    assert (found.gateway.body_memory, found.gateway.max_connections) == (2**30, 5000)


def test_the_service_leads_to_it_and_to_nothing_else() -> None:
    rendered = render(ON, EMBEDDED)
    labels = rendered[GATEWAY]["spec"]["template"]["metadata"]["labels"]
    service = rendered["Service", "heed-gateway"]["spec"]

    assert service["selector"].items() <= labels.items()
    assert (
        not service["selector"].items()
        <= rendered[OPERATOR]["spec"]["template"]["metadata"]["labels"].items()
    )
    assert service["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    (container,) = rendered.pod(GATEWAY)["containers"]
    assert {item["name"]: item["containerPort"] for item in container["ports"]} == {
        "http": settings(rendered, GATEWAY).gateway.port,
        "health": settings(rendered, GATEWAY).health_port,
        "metrics": settings(rendered, GATEWAY).metrics_port,
    }
    (tls,) = render(ON, "gateway.tls.secretName=tls")["Service", "heed-gateway"]["spec"]["ports"]
    assert tls == {"name": "https", "port": 443, "targetPort": "http"}


def test_an_autoscaler_may_say_how_many_there_are() -> None:
    assert render(ON)[GATEWAY]["spec"]["replicas"] == 2
    assert "replicas" not in render(ON, "gateway.replicas=null")[GATEWAY]["spec"]


def test_it_may_do_what_it_does_and_no_more() -> None:
    rendered = render(ON, EMBEDDED)

    assert rights(rendered[ROLE]) == {
        ("heed.dev", "agents"): {"get"},
        ("heed.dev", "agentpolicies"): {"list", "watch"},
        ("heed.dev", "eventsources"): {"list", "watch"},
        ("heed.dev", "eventsources/status"): {"patch"},
    }
    assert rights(rendered[TOKENS]) == {("authentication.k8s.io", "tokenreviews"): {"create"}}
    bindings = [item for item in rendered if item["kind"].endswith("RoleBinding")]
    held = {
        (item["roleRef"]["kind"], item["roleRef"]["name"])
        for item in bindings
        if any(subject["name"] == "heed-gateway" for subject in item["subjects"])
    }
    assert held == {ROLE, TOKENS}
    assert rendered.pod(GATEWAY)["serviceAccountName"] == "heed-gateway"


def test_with_subscriptions_it_may_read_and_judge_them_and_reads_events_as_another_user() -> None:
    rendered = render(ON, EMBEDDED, SUBSCRIBED)

    assert rights(rendered[ROLE])["heed.dev", "subscriptions"] == {"list", "watch"}
    assert rights(rendered[ROLE])["heed.dev", "subscriptions/status"] == {"patch"}
    path = "/etc/heed/subscriptions-credentials/subscriptions.creds"
    assert rendered.files(GATEWAY)[path] == ("heed-nats-keys", "subscriptions.creds")
    found = settings(rendered, GATEWAY).gateway
    assert (found.subscriptions, found.subscriptions_credentials) == (1, path)
    without = settings(render(ON, EMBEDDED), GATEWAY).gateway
    assert (without.subscriptions, without.subscriptions_credentials) == (0, None)


def test_the_credentials_of_subscriptions_may_be_others_or_those_of_the_gateway() -> None:
    own = ("nats.credentials.secretName=operators", "gateway.credentials.secretName=gateways")
    given = render(ON, SUBSCRIBED, *own, "gateway.subscriptions.credentials.secretName=readers")

    path = settings(given, GATEWAY).gateway.subscriptions_credentials
    assert path is not None
    assert given.files(GATEWAY)[path] == ("readers", "heed.creds")
    for values in (own, ("nats.url=nats://open:4222",)):
        assert settings(render(ON, SUBSCRIBED, *values), GATEWAY).gateway.subscriptions_credentials is None
    keys = render(ON, SUBSCRIBED, "nats.existingSecret=keys")
    assert ("keys", "subscriptions.creds") in keys.files(GATEWAY).values()


def test_networks_of_sinks_are_a_setting_and_their_egress_is_a_rule() -> None:
    sinks: list[dict[str, Any]] = [{"to": [{"podSelector": {}}]}]
    subscriptions = {"enabled": True, "networks": ["127.0.0.0/8", "fe80::/10"], "egress": sinks}
    values = {
        "gateway": {"enabled": True, "subscriptions": subscriptions},
        "networkPolicy": {"enabled": True},
    }

    rendered = render(values=values)

    assert settings(rendered, GATEWAY).gateway.sink_networks == "127.0.0.0/8,fe80::/10"
    egress = rendered["NetworkPolicy", "heed-gateway"]["spec"]["egress"]
    assert egress == [*rendered["NetworkPolicy", "heed"]["spec"]["egress"], *sinks]


def test_it_reads_the_secrets_that_it_is_told_of_and_lists_none() -> None:
    secrets = [
        {"namespace": "shop"},
        {"namespace": "demo", "names": ["github", "slack"]},
        {"namespace": "demo", "names": ["stripe", "slack"]},
        {"namespace": "both", "names": ["one"]},
        {"namespace": "both"},
    ]
    rendered = render(values={"gateway": {"enabled": True, "secrets": secrets}})
    roles = {
        item["metadata"]["namespace"]: item["rules"]
        for item in rendered
        if item["kind"] == "Role" and item["metadata"]["name"] == "system-heed-gateway-secrets"
    }

    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    assert roles == {
        "shop": [rule],
        "demo": [{**rule, "resourceNames": ["github", "slack", "stripe"]}],
        "both": [rule],
    }
    bound = [
        item["metadata"]["namespace"]
        for item in rendered
        if item["kind"] == "RoleBinding" and item["metadata"]["name"] == "system-heed-gateway-secrets"
    ]
    assert sorted(bound) == ["both", "demo", "shop"]


def test_in_one_namespace_it_has_its_rights_there() -> None:
    rendered = render(ON, "watchNamespace=team")

    assert rendered["Role", "system-heed-gateway"]["metadata"]["namespace"] == "team"
    assert ROLE not in rendered and TOKENS in rendered  # there is no such right in a namespace
    assert TOKENS not in render(ON, "gateway.audience=")
    assert ROLE not in render(ON, "rbac.create=false") and TOKENS not in render(ON, "rbac.create=false")


def test_agents_are_addressable_for_knative() -> None:
    name = ("ClusterRole", "system-heed-gateway-addressable")
    rendered = render(ON)
    crds = [item for item in rendered if item["kind"] == "CustomResourceDefinition"]

    assert rendered[name]["metadata"]["labels"]["duck.knative.dev/addressable"] == "true"
    assert [
        item["spec"]["names"]["kind"]
        for item in crds
        if "duck.knative.dev/addressable" in item["metadata"]["labels"]
    ] == ["Agent"]
    without = render(ON, "gateway.knative=false")
    assert name not in without
    assert not [item for item in without if "duck.knative.dev/addressable" in item["metadata"]["labels"]]


def test_its_pods_are_as_restricted_as_the_operators() -> None:
    rendered = render(ON)

    for key in (GATEWAY, OPERATOR):
        pod = rendered.pod(key)
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_its_network_policy_lets_in_who_sends_and_reaches_what_it_needs() -> None:
    senders = [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}]
    rendered = render(
        ON,
        EMBEDDED,
        values={"gateway": {"from": senders}, "networkPolicy": {"enabled": True, "natsFrom": senders}},
    )
    policy = rendered["NetworkPolicy", "heed-gateway"]["spec"]
    labels = rendered[GATEWAY]["spec"]["template"]["metadata"]["labels"]

    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]] == [
        ["health"],
        ["http"],
        ["metrics"],
    ]
    assert [rule.get("from") for rule in policy["ingress"]] == [None, senders, None]
    assert policy["egress"] == rendered["NetworkPolicy", "heed"]["spec"]["egress"]
    (nats,) = rendered["NetworkPolicy", "heed-nats"]["spec"]["ingress"]
    expressions = nats["from"][-1]["podSelector"]["matchExpressions"]
    assert all(labels[item["key"]] in item["values"] for item in expressions)


@pytest.mark.parametrize(
    "value",
    [
        "gateway.url=ftp://x",
        "gateway.url=https://x/?a",
        "gateway.allowedOrigins={https://x}",
        "gateway.enable=true",
        "gateway.secrets[0].names={a}",
        "gateway.secrets[0].namespace=A",
        "gateway.subscriptions.networks={127.0.0.1}",
    ],
)
def test_what_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(Refused):
        render(ON, value)


LINKED = "gateway.approvalLinks.enabled=true"
LINKER = ("ClusterRole", "system-heed-gateway-linker")


def test_with_approval_links_it_answers_as_itself_and_keeps_their_key() -> None:
    rendered = render(ON, EMBEDDED, LINKED)

    assert rights(rendered[ROLE])["heed.dev", "approvalanswers"] == {"create", "get"}
    assert rights(rendered[TOKENS]) == {
        ("authentication.k8s.io", "tokenreviews"): {"create"},
        ("authorization.k8s.io", "subjectaccessreviews"): {"create"},
    }
    (rule,) = rendered["Role", "heed-gateway-links"]["rules"]
    assert (rule["resources"], rule["resourceNames"], rule["verbs"]) == (
        ["secrets"],
        ["heed-gateway-links"],
        ["get", "patch"],
    )
    assert "data" not in rendered["Secret", "heed-gateway-links"]
    found = settings(rendered, GATEWAY).gateway
    assert (found.link_secret, found.link_keys) == ("heed-gateway-links", None)


def test_who_makes_links_has_a_role_of_their_own_that_the_gateway_has_not() -> None:
    rendered = render(ON, LINKED)

    assert rights(rendered[LINKER]) == {("heed.dev", "approvalanswers/links"): {"create"}}
    assert LINKER[1] not in [item["roleRef"]["name"] for item in rendered if "roleRef" in item]
    watched = render(ON, LINKED, "watchNamespace=team", "approvals.enabled=true")
    assert watched["Role", LINKER[1]]["metadata"]["namespace"] == "team"
    assert rights(watched["Role", "system-heed-gateway"])["heed.dev", "approvalanswers"] == {"create", "get"}


def test_the_keys_of_links_may_be_in_a_secret_of_ones_own() -> None:
    rendered = render(ON, LINKED, "gateway.approvalLinks.keys.secretName=mine")

    assert settings(rendered, GATEWAY).gateway.link_keys == "/etc/heed/link-keys"
    assert settings(rendered, GATEWAY).gateway.link_secret is None
    volumes = {
        item["name"]: item.get("secret", {}).get("secretName") for item in rendered.pod(GATEWAY)["volumes"]
    }
    assert volumes["link-keys"] == "mine"
    assert ("Secret", "heed-gateway-links") not in rendered and ("Role", "heed-gateway-links") not in rendered


@pytest.mark.parametrize("value", ["approvals.enabled=false", "watchNamespace=team", "gateway.audience="])
def test_links_that_could_answer_nothing_are_refused(value: str) -> None:
    with pytest.raises(Refused, match=r"gateway\.approvalLinks\.enabled: "):
        render(ON, LINKED, value)
    render(LINKED, value)  # without a gateway there are no links


def test_without_approval_links_there_is_nothing_of_them() -> None:
    rendered = render(ON, "gateway.approvalLinks.keys.secretName=mine")

    assert not [name for kind, name in rendered.names() if "link" in name]
    assert not [name for name in rendered.environment(GATEWAY) if "LINK" in name]
    assert "link-keys" not in [item["name"] for item in rendered.pod(GATEWAY)["volumes"]]
