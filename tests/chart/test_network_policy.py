"""NetworkPolicies: what the pods listen on is reachable, and what they talk to is, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Manifest, render

ON = "networkPolicy.enabled=true"
EMBEDDED = "nats.embedded.enabled=true"
OPERATOR, NATS = ("NetworkPolicy", "heed"), ("NetworkPolicy", "heed-nats")
PEERS = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]


def ports(rules: list[dict[str, Any]]) -> list[list[Any]]:
    return [[port["port"] for port in rule["ports"]] for rule in rules]


def selects(policy: Manifest, labels: dict[str, str]) -> bool:
    return bool(policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items())


def test_none_by_default() -> None:
    assert "NetworkPolicy" not in render(EMBEDDED)


def test_each_policy_is_about_its_own_pods() -> None:
    rendered = render(ON, EMBEDDED)
    operator = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    nats = rendered["StatefulSet"]["spec"]["template"]["metadata"]["labels"]

    assert (selects(rendered[OPERATOR], operator), selects(rendered[OPERATOR], nats)) == (True, False)
    assert (selects(rendered[NATS], operator), selects(rendered[NATS], nats)) == (False, True)
    for policy in (rendered[OPERATOR], rendered[NATS]):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((), [["health", "webhook"], ["metrics"]]),
        (("metrics.enabled=false",), [["health", "webhook"]]),
        (("webhook.enabled=false",), [["health"], ["metrics"]]),
    ],
)
def test_all_ports_that_the_operator_has_are_reachable(
    values: tuple[str, ...], wanted: list[list[str]]
) -> None:
    rendered = render(ON, *values)
    (container,) = rendered.pod()["containers"]
    rules = rendered[OPERATOR]["spec"]["ingress"]

    assert ports(rules) == wanted
    assert {port["name"] for port in container["ports"]} == {name for rule in wanted for name in rule}
    assert not [rule for rule in rules if "from" in rule]


def test_metrics_may_be_for_some_only() -> None:
    _, metrics = render(values={"networkPolicy": {"enabled": True, "metricsFrom": PEERS}})[OPERATOR]["spec"][
        "ingress"
    ]

    assert metrics == {"ports": [{"port": "metrics"}], "from": PEERS}


def test_operator_reaches_names_the_api_server_and_the_embedded_server() -> None:
    rendered = render(ON, EMBEDDED)
    names, api, nats = rendered[OPERATOR]["spec"]["egress"]

    assert names == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert api == {"ports": [{"port": 443}, {"port": 6443}]}
    labels = rendered["StatefulSet"]["spec"]["selector"]["matchLabels"]
    assert nats == {"ports": [{"port": 4222}], "to": [{"podSelector": {"matchLabels": labels}}]}


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("nats://one", [4222]),
        ("tls://one:4443\\,tls://two:4444\\,tls://three:4443", [4443, 4444]),
        ("nats://user:secret@one:5222", [5222]),
        ("ws://one\\,wss://two", [443, 80]),
        ("nats://[2001:db8::1]:4333", [4333]),
        ("nats://[2001:db8::1]", [4222]),
    ],
)
def test_operator_reaches_the_ports_of_a_server_elsewhere(url: str, wanted: list[int]) -> None:
    nats = render(ON, f"nats.url={url}")[OPERATOR]["spec"]["egress"][2]

    assert nats == {"ports": [{"port": port} for port in wanted]}


def test_api_server_may_be_pinned_down() -> None:
    api = render(
        ON, "networkPolicy.apiServerPorts={7443}", "networkPolicy.apiServerCidrs={10.0.0.1/32,fd00::1/128}"
    )[OPERATOR]["spec"]["egress"][1]

    assert api["ports"] == [{"port": 7443}]
    assert api["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}, {"ipBlock": {"cidr": "fd00::1/128"}}]


def test_further_rules_come_on_top() -> None:
    rule = {"ports": [{"port": 1}]}
    spec = render(values={"networkPolicy": {"enabled": True, "extraIngress": [rule], "extraEgress": [rule]}})[
        OPERATOR
    ]["spec"]

    assert (spec["ingress"][-1], len(spec["ingress"])) == (rule, 3)
    assert (spec["egress"][-1], len(spec["egress"])) == (rule, 4)


def test_embedded_server_admits_clients_and_calls_nobody() -> None:
    spec = render(ON, EMBEDDED)[NATS]["spec"]

    assert spec["ingress"] == [{"ports": [{"port": "client"}]}]
    assert spec["egress"] == []


def test_embedded_server_may_be_for_some_and_stays_open_to_the_release() -> None:
    rendered = render(
        values={
            "networkPolicy": {"enabled": True, "natsFrom": PEERS},
            "nats": {"embedded": {"enabled": True}},
        },
        hooks=True,
    )
    (rule,) = rendered[NATS]["spec"]["ingress"]
    peers, (wanted,) = rule["from"][:-1], rule["from"][-1:]

    assert peers == PEERS
    allowed = {item["key"]: item["values"] for item in wanted["podSelector"]["matchExpressions"]}
    for labels in (
        rendered["Deployment"]["spec"]["template"]["metadata"]["labels"],
        rendered["Pod"]["metadata"]["labels"],
    ):
        assert all(labels[key] in values for key, values in allowed.items())
