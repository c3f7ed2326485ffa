"""Whatever the values, what is rendered are valid objects of their kinds, as Kubernetes describes them."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from tests.chart.rendering import Manifest, Manifests, notes, render

# The oldest one that the chart accepts, and the one that the tests run on.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
CUSTOM = {"Agent", "Certificate", "Issuer", "ServiceMonitor"}
SWITCHES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (
        (),
        ("nats.embedded.enabled=true",),
        (
            "nats.embedded.enabled=true",
            "nats.embedded.auth.enabled=false",
            "nats.embedded.storage.enabled=false",
        ),
        ("nats.existingSecret=keys", "nats.ca.secretName=ca", "nats.tls.secretName=tls"),
    ),
    ((), ("watchNamespace=team",)),
    ((), ("networkPolicy.enabled=true", "metrics.serviceMonitor.enabled=true")),
    ((), ("gateway.enabled=true", "gateway.tls.secretName=tls", "gateway.tokens.secretName=tokens")),
    (
        (),
        ("webhook.certManager.enabled=true",),
        ("election.enabled=false", "replicas=1", "rbac.create=false", "podDisruptionBudget.enabled=false"),
    ),
)
EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "podLabels": {"a": "b"},
    "podAnnotations": {"c": "1"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "extraEnv": [{"name": "HEED_BATCH", "value": "7"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "serviceAccount": {"annotations": {"d": "e"}},
    "podDisruptionBudget": {"maxUnavailable": "50%"},
    "stream": {"maxBytes": 10 * 1024**3},
    "nats": {
        "embedded": {
            "enabled": True,
            "storage": {"size": "16Gi", "retain": True, "storageClassName": "-"},
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "1"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
        }
    },
    "gateway": {
        "enabled": True,
        "replicas": None,
        "url": "https://events.example.com",
        "allowedOrigins": ["example.com"],
        "limits": {"senderRate": 0, "bodyMemory": 2**30, "maxConnections": 5000},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "serviceAccount": {"annotations": {"d": "e"}},
        "from": [{"namespaceSelector": {}}],
        "extraEnv": [{"name": "HEED_LOG_LEVEL", "value": "debug"}],
        "podLabels": {"a": "b"},
        "podAnnotations": {"c": "1"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    },
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"podSelector": {}}],
        "natsFrom": [{"namespaceSelector": {}}],
        "apiServerCidrs": ["10.0.0.1/32"],
        "extraIngress": [{"ports": [{"port": 1}]}],
        "extraEgress": [{"ports": [{"port": 1}]}],
    },
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("choice", list(itertools.product(*SWITCHES)), ids=str)
def test_every_combination_is_valid(choice: tuple[tuple[str, ...], ...], version: str) -> None:
    check(render("crds.install=false", *itertools.chain.from_iterable(choice), hooks=True), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_at_once_is_valid(version: str) -> None:
    check(render(values=EVERYTHING, hooks=True), version)


def check(rendered: Manifests, version: str) -> None:
    """Every object against the schema of its kind; nothing twice, and nothing without a place."""
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in rendered]
    assert len(keys) == len(set(keys))
    for item in rendered:
        if item["kind"] not in CUSTOM:
            validate(json.dumps(item), version)
        assert is_labelled(item)
        assert ("namespace" in item["metadata"]) is (item["kind"] not in CLUSTER_WIDE)


@cache
def validate(item: str, version: str) -> None:
    """Once for each object: most are the same in many combinations, and the library reads all schemas each time."""
    kubernetes_validate.validate(json.loads(item), version, strict=True)


CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def is_labelled(item: Manifest) -> bool:
    wanted = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"}
    return bool(wanted <= item["metadata"]["labels"].keys())


def test_a_misspelt_field_would_be_found() -> None:
    deployment = render()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Never"

    with pytest.raises(kubernetes_validate.ValidationError, match="imagePolicy"):
        kubernetes_validate.validate(deployment, VERSIONS[1], strict=True)


@pytest.mark.parametrize("values", [(), ("watchNamespace=team",)])
def test_agent_of_helm_test_is_one_that_heed_takes(values: tuple[str, ...]) -> None:
    rendered = render(*values, hooks=True)
    agent = rendered["Agent"]

    program = compile_agent(parse_agent(agent))
    assert agent["metadata"]["namespace"] == rendered.environment("Pod")["HEED_TEST_NAMESPACE"]
    assert agent["metadata"]["name"] == rendered.environment("Pod")["HEED_TEST_AGENT"]
    assert rendered.environment("Pod")["HEED_TEST_TYPE"] in program.subjects[0]


def test_helm_test_leaves_nothing_behind() -> None:
    hooks = [item for item in render(hooks=True) if item["metadata"]["name"] == "heed-test"]

    assert {item["kind"] for item in hooks} == {"Agent", "Pod", "Role", "RoleBinding", "ServiceAccount"}
    for item in hooks:
        annotations = item["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "test"
        assert set(annotations["helm.sh/hook-delete-policy"].split(",")) == {
            "before-hook-creation",
            "hook-succeeded",
            "hook-failed",
        }
    weights = {item["kind"]: int(item["metadata"]["annotations"]["helm.sh/hook-weight"]) for item in hooks}
    assert weights["Pod"] > max(weight for kind, weight in weights.items() if kind != "Pod")


def test_helm_test_publishes_as_somebody_who_may_do_no_more() -> None:
    rendered = render("nats.embedded.enabled=true", hooks=True)

    assert list(rendered.files("Pod").values()) == [("heed-nats-keys", "publisher.creds")]
    assert list(render("nats.existingSecret=keys", hooks=True).files("Pod").values()) == [
        ("keys", "publisher.creds")
    ]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (
            (),
            [
                "watches Agents in all namespaces",
                "get lease heed",
                "HEED_NATS_URL=",
                "helm -n system test heed",
            ],
        ),
        (
            ("nats.embedded.enabled=true",),
            ["port-forward service/heed-nats 4222", "heed-nats-keys", "deletes its volume"],
        ),
        (("nats.embedded.enabled=true", "nats.embedded.auth.enabled=false"), ["publish and read everything"]),
        (("nats.embedded.enabled=true", "nats.embedded.storage.enabled=false"), ["gone with its pod"]),
        (("nats.embedded.enabled=true", "nats.embedded.storage.retain=true"), ["its keys stay"]),
        (("watchNamespace=team",), ["Agents in team", "namespace: team", "--namespace team"]),
        (("crds.install=false",), ["crds.install is false"]),
        (
            ("nats.url=nats://mine:4222",),
            ["talks to nats://mine:4222", "export HEED_NATS_URL=nats://mine:4222"],
        ),
    ],
)
def test_notes_say_what_comes_next(values: tuple[str, ...], wanted: list[str]) -> None:
    printed = notes(*values)

    assert [text for text in wanted if text not in printed] == []
    agent = printed.partition("<<'END'\n")[2].partition("\nEND\n")[0]
    assert compile_agent(parse_agent(yaml.safe_load(agent))).subjects
