"""What the chart renders: a restricted pod, exactly the rights that are used, and no misspelt value."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.kube.election import Candidacy, candidacy
from heed.settings import Settings, StreamSettings
from tests.cluster.conftest import require_helm

CHART = Path(__file__).parents[2] / "charts" / "heed"
Rendered = dict[str, dict[str, Any]]  # by kind; what is there for the election has "Lease" before it
Render = Callable[..., Rendered]

# What the operator does with the API, and nothing besides.
RIGHTS = {
    ("heed.dev", "agents"): {"get", "list", "watch"},
    ("heed.dev", "agents/status"): {"get", "patch"},
    ("batch", "jobs"): {"create", "delete", "get", "list", "watch"},
    ("", "pods"): {"get", "list"},
    ("apiextensions.k8s.io", "customresourcedefinitions"): {"get", "list", "watch"},
}

# The election: one Lease beside the operator. Who creates has no name to be limited to yet.
LEASE_RIGHTS = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["heed"],
        "verbs": ["get", "patch"],
    },
]
FROM_THE_POD = "metadata.name"


@pytest.fixture
def render() -> Render:
    """Renders the chart as release `heed` in namespace `system`: `render("log.level=debug")["Deployment"]`."""

    executable = require_helm()

    def render(*values: str) -> Rendered:
        sets = [argument for value in values for argument in ("--set", value)]
        command = [str(executable), "template", "heed", str(CHART), "--namespace", "system", *sets]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return {key_of(document): document for document in yaml.safe_load_all(done.stdout) if document}

    return render


def key_of(document: dict[str, Any]) -> str:
    kind: str = document["kind"]
    return f"Lease{kind}" if document["metadata"]["name"].endswith("-lease") else kind


def pod_of(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered["Deployment"]["spec"]["template"]["spec"]
    return spec


def environment_of(rendered: Rendered) -> dict[str, str]:
    return {
        item["name"]: item["value"] if "value" in item else item["valueFrom"]["fieldRef"]["fieldPath"]
        for item in pod_of(rendered)["containers"][0]["env"]
    }


def rights_of(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_lint_finds_nothing() -> None:
    linted = subprocess.run([require_helm(), "lint", "--strict", CHART], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_the_pod_meets_the_restricted_standard(render: Render) -> None:
    pod = pod_of(render())
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "emptyDir"}


def test_the_probes_ask_where_the_operator_answers(render: Render) -> None:
    rendered = render()
    (container,) = pod_of(rendered)["containers"]
    (port,) = container["ports"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in paths.values()} == {port["name"]}
    assert environment_of(rendered)["HEED_HEALTH_PORT"] == str(port["containerPort"])


def test_the_operator_may_do_what_it_does_and_no_more(render: Render) -> None:
    rendered = render()
    assert rights_of(rendered["ClusterRole"]) == RIGHTS
    assert rendered["ClusterRoleBinding"]["roleRef"]["name"] == rendered["ClusterRole"]["metadata"]["name"]
    (subject,) = rendered["ClusterRoleBinding"]["subjects"]
    assert subject["namespace"] == "system"
    assert subject["name"] == rendered["ServiceAccount"]["metadata"]["name"]
    assert subject["name"] == pod_of(rendered)["serviceAccountName"]


def test_replicas_compete_for_a_lease_beside_them_with_no_right_on_another(render: Render) -> None:
    rendered = render("watchNamespace=team")
    assert rendered["Deployment"]["spec"]["replicas"] == 2
    assert rendered["Deployment"]["spec"]["strategy"] == {"type": "RollingUpdate"}
    assert rendered["LeaseRole"]["metadata"]["namespace"] == "system"
    assert rendered["LeaseRole"]["rules"] == LEASE_RIGHTS
    binding = rendered["LeaseRoleBinding"]
    assert binding["metadata"]["namespace"] == "system"
    assert binding["roleRef"]["name"] == rendered["LeaseRole"]["metadata"]["name"]
    assert binding["subjects"] == rendered["RoleBinding"]["subjects"]
    standing = candidacy(Settings.from_environment(environment_of(rendered)))
    assert standing == Candidacy("system", "heed", FROM_THE_POD)


def test_replicas_go_to_different_nodes_where_there_are_some(render: Render) -> None:
    rendered = render()
    (spread,) = pod_of(rendered)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"] == rendered["Deployment"]["spec"]["selector"]


def test_without_an_election_there_is_one_and_no_lease(render: Render) -> None:
    rendered = render("election.enabled=false", "replicas=1")
    assert not rendered.keys() & {"LeaseRole", "LeaseRoleBinding"}
    assert candidacy(Settings.from_environment(environment_of(rendered))) is None
    assert rendered["Deployment"]["spec"]["replicas"] == 1
    assert rendered["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_an_operator_of_one_namespace_gets_nothing_cluster_wide(render: Render) -> None:
    rendered = render("watchNamespace=team")
    assert not rendered.keys() & {"ClusterRole", "ClusterRoleBinding"}
    assert rendered["Role"]["metadata"]["namespace"] == "team"
    assert rendered["RoleBinding"]["metadata"]["namespace"] == "team"
    assert rights_of(rendered["Role"]).items() <= RIGHTS.items()
    assert environment_of(rendered)["HEED_NAMESPACE"] == "team"


def test_the_values_arrive_as_settings_that_heed_knows(render: Render) -> None:
    rendered = render(
        "nats.url=tls://one:4222\\,tls://two:4222",
        "nats.credentials.secretName=credentials",
        "nats.ca.configMapName=ca",
        "watchNamespace=team",
        "log.level=debug",
        "stream.replicas=3",
        "stream.maxBytes=10737418240",
        "stream.maxAge=3600",
        "stream.deadMaxBytes=1048576",
        "stream.deadMaxAge=7200",
    )
    environment = environment_of(rendered)
    known = {f"HEED_{item.name.upper()}" for item in fields(Settings)}
    known |= {f"HEED_STREAM_{item.name.upper()}" for item in fields(StreamSettings)}
    assert environment.keys() <= known
    settings = Settings.from_environment(environment)
    assert settings.nats_url == "tls://one:4222,tls://two:4222"
    assert settings.stream.replicas == 3
    assert settings.stream.max_bytes == 10 * 1024**3
    mounts = {
        mount["name"]: mount["mountPath"] for mount in pod_of(rendered)["containers"][0]["volumeMounts"]
    }
    assert settings.nats_credentials == f"{mounts['nats-credentials']}/heed.creds"
    assert settings.nats_ca == f"{mounts['nats-ca']}/ca.crt"
    assert {volume["name"] for volume in pod_of(rendered)["volumes"]} == mounts.keys()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("nats.uri=nats://nats:4222", "additional properties 'uri' not allowed"),
        ("nats.url=http://nats:4222", "does not match pattern"),
        ("log.level=loud", "value must be one of"),
        ("stream.replicas=2", "value must be one of"),
        ("stream.maxBytes=lots", "got string"),
        ("replica=3", "additional properties 'replica' not allowed"),
        ("replicas=many", "got string"),
        ("election.enabled=false", "replicas: more than 1 needs election.enabled"),
    ],
)
def test_a_wrong_value_is_refused(render: Render, value: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        render(value)
