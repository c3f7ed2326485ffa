"""The chart on a real API server: what an upgrade keeps, what uninstalling leaves, and what a namespace admits."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from heed import names
from tests.chart.rendering import Manifests, render
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.build import Unavailable, binaries
from tests.cluster.controlplane.run import ControlPlane, KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import require_helm
from tests.cluster.releases import Helm, HelmError

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
EMBEDDED = "nats.embedded.enabled=true"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
AGENT = {
    "apiVersion": "heed.dev/v1alpha1",
    "kind": "Agent",
    "metadata": {"name": "kept"},
    "spec": {
        "subscribe": [{"type": "com.example.greeted"}],
        "handlers": [
            {"name": "note", "type": "com.example.greeted", "state": {"name": "${event.data.name}"}}
        ],
    },
}
# What Kubernetes itself puts into every namespace.
NATIVE = {("serviceaccount", "default"), ("configmap", "kube-root-ca.crt")}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane of its own, without the CRDs: here the chart brings them. The other one says if it can run."""
    try:
        with ControlPlane(binaries(print)) as running:
            yield running
    except Unavailable as unavailable:  # pragma: no cover
        pytest.skip(str(unavailable))


@pytest.fixture
def helm(plane: ControlPlane, tmp_path: Path) -> Iterator[Helm]:
    """The real helm; releases and Agents go afterwards. The definitions stay, for the next one to take them over."""
    require_helm()
    releases = Helm(plane, tmp_path)
    yield releases
    releases.close()
    with suppress(KubectlError):  # where there are no definitions
        plane.kubectl("delete", "agents", "--all", "-A")


def left_in(plane: ControlPlane, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of everything in a namespace that somebody made, apart from events."""
    kinds = plane.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
    names = plane.kubectl("-n", namespace, "get", wanted, "-o", "name", "--ignore-not-found").split()
    found = {(name.partition("/")[0].partition(".")[0], name.partition("/")[2]) for name in names}
    return found - NATIVE


def fill(plane: ControlPlane, namespace: str, name: str) -> None:
    """As the operator does with an empty Secret."""
    data = {"auth.conf": base64.b64encode(b"filled").decode()}
    plane.admin.patch(f"/api/v1/namespaces/{namespace}/secrets/{name}", {"data": data})


def filled(plane: ControlPlane, namespace: str, name: str) -> bool:
    return bool(plane.admin.get(f"/api/v1/namespaces/{namespace}/secrets/{name}").get("data"))


def test_uninstalling_leaves_agents_and_nothing_else(plane: ControlPlane, helm: Helm) -> None:
    # given a release with everything that needs nobody else's kinds, and an Agent
    helm.install("heed", "one", EMBEDDED, "networkPolicy.enabled=true")
    plane.kubectl("-n", "one", "apply", "-f", "-", stdin=json.dumps(AGENT))
    # and a Lease that the active replica has written
    lease = "/apis/coordination.k8s.io/v1/namespaces/one/leases/heed"
    plane.admin.patch(lease, {"spec": {"holderIdentity": "somebody"}})
    fill(plane, "one", "heed-nats-keys")

    # when it is uninstalled
    helm.uninstall("heed", "one")

    # then the Agent is there, in a namespace with nothing else, and nothing is left in the cluster
    eventually(lambda: left_in(plane, "one") == {("agent", "kept")}, what="an Agent, and nothing else")
    for path in ("clusterroles", "clusterrolebindings"):
        roles = plane.admin.get(f"/apis/rbac.authorization.k8s.io/v1/{path}")["items"]
        assert [item["metadata"]["name"] for item in roles if "heed" in item["metadata"]["name"]] == []
    assert plane.admin.get(CONFIGURATIONS)["items"] == []

    # when it is installed again, then it takes the kept definitions over, and the Agent is still there
    helm.install("heed", "one", EMBEDDED)
    assert ("agent", "kept") in left_in(plane, "one")


def test_upgrading_upgrades_the_definitions_and_keeps_agents(plane: ControlPlane, helm: Helm) -> None:
    # given a release of an older chart, whose definition knows no column of today's
    path = helm.chart / "files" / "crds" / "heed.dev_agents.yaml"
    today = path.read_text()
    older = yaml.safe_load(today)
    older["spec"]["versions"][0].pop("additionalPrinterColumns")
    path.write_text(yaml.safe_dump(older))
    helm.install("heed", "one", take_ownership=True)
    plane.kubectl("-n", "one", "apply", "-f", "-", stdin=json.dumps(AGENT))
    kept = plane.admin.get("/apis/heed.dev/v1alpha1/namespaces/one/agents/kept")["metadata"]["uid"]

    # when it is upgraded
    path.write_text(today)
    helm.upgrade("heed", "one")

    # then the definition is today's, and the Agent is the one that it was
    (version,) = plane.admin.get(f"{CRDS}/agents.heed.dev")["spec"]["versions"]
    assert version["additionalPrinterColumns"]
    assert plane.admin.get("/apis/heed.dev/v1alpha1/namespaces/one/agents/kept")["metadata"]["uid"] == kept


@pytest.mark.parametrize("as_helm_3", [False, True], ids=["as Helm 4", "as Helm 3"])
def test_what_the_operator_fills_survives_upgrades(plane: ControlPlane, helm: Helm, as_helm_3: bool) -> None:
    helm.as_helm_3 = as_helm_3
    # given a release whose Secrets, configuration and Lease the operator has filled
    helm.install("heed", "one", EMBEDDED, take_ownership=True)
    for name in ("heed-nats-keys", "heed-webhook"):
        fill(plane, "one", name)
    bundle = base64.b64encode(certificate()).decode()
    trust = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
    plane.admin.patch(f"{CONFIGURATIONS}/one-heed", trust, "application/json-patch+json")
    lease = "/apis/coordination.k8s.io/v1/namespaces/one/leases/heed"
    plane.admin.patch(lease, {"spec": {"holderIdentity": "somebody"}})

    # when it is upgraded, with a change to the same objects; and somebody had scaled it by hand
    plane.kubectl("-n", "one", "scale", "deployment", "heed", "--replicas", "0")
    helm.upgrade("heed", "one", EMBEDDED, "webhook.failurePolicy=Fail", "webhook.timeoutSeconds=9")

    # then all is still there, beside the change
    assert all(filled(plane, "one", name) for name in ("heed-nats-keys", "heed-webhook"))
    (webhook,) = plane.admin.get(f"{CONFIGURATIONS}/one-heed")["webhooks"]
    assert (webhook["clientConfig"]["caBundle"], webhook["failurePolicy"]) == (bundle, "Fail")
    assert plane.admin.get(lease)["spec"]["holderIdentity"] == "somebody"
    assert plane.admin.get("/apis/apps/v1/namespaces/one/deployments/heed")["spec"]["replicas"] == 2


def test_two_releases_share_the_definitions_of_one(plane: ControlPlane, helm: Helm) -> None:
    # given a release
    for team in ("team-1", "team-2"):
        plane.kubectl("create", "namespace", team)
    helm.install("heed", "one", "watchNamespace=team-1", take_ownership=True)

    # when a second one wants to bring the definitions too, then it is told whose they are
    with pytest.raises(HelmError, match=r"heed\.dev.*exists.*current value is \"heed\""):
        helm.install("other", "two", "watchNamespace=team-2")

    # when it does not, then both are there, and the definitions outlive either
    helm.install("other", "two", "watchNamespace=team-2", "crds.install=false")
    helm.uninstall("other", "two")
    helm.uninstall("heed", "one")
    assert len(plane.admin.get(CRDS)["items"]) == len(names.PLURALS)

    # when the owner is gone, then the second one may take them over
    helm.install("other", "two", take_ownership=True)


COMBINATIONS = [
    (),
    (EMBEDDED,),
    (EMBEDDED, "nats.embedded.storage.enabled=false"),
    (
        "nats.existingSecret=keys",
        "nats.ca.secretName=ca",
        "nats.tls.secretName=tls",
        "webhook.certManager.enabled=true",
    ),
    (
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
        "podSecurityContext.fsGroup=null",
    ),
]


@pytest.mark.parametrize("sets", COMBINATIONS)
def test_pods_are_admitted_where_only_restricted_ones_are(plane: ControlPlane, sets: tuple[str, ...]) -> None:
    # given a namespace that enforces the restricted standard, as the API server knows it
    namespace = {
        "metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    }
    with suppress(ApiError):
        plane.admin.post("/api/v1/namespaces", namespace)
    eventually(
        lambda: plane.admin.get("/api/v1/namespaces/strict/serviceaccounts")["items"], what="its account"
    )

    # when each pod of the release is created there, then it is admitted
    pods = pods_of(render(*sets, hooks=True))
    assert len(pods) == (3 if EMBEDDED in sets else 2)
    for pod in pods:
        pod["spec"].pop("serviceAccountName", None)
        assert plane.admin.post("/api/v1/namespaces/strict/pods?dryRun=All", pod)["spec"]

    # and one with a little more is not
    pods[0]["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        plane.admin.post("/api/v1/namespaces/strict/pods?dryRun=All", pods[0])


def pods_of(rendered: Manifests) -> list[dict[str, Any]]:
    """As the controllers would make them."""
    found = []
    for item in rendered:
        if item["kind"] in ("Deployment", "StatefulSet", "Pod"):
            spec = copy.deepcopy(item["spec"].get("template", item)["spec"])
            for claim in item["spec"].get("volumeClaimTemplates", ()):
                name = claim["metadata"]["name"]
                spec["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name}})
            found.append({"metadata": {"generateName": "pod-"}, "spec": spec})
    return found


def test_webhook_is_asked_about_changes_and_never_hinders_a_deletion(plane: ControlPlane, helm: Helm) -> None:
    # given an Agent with a finalizer, and a release that lets nothing in while nobody answers: and nobody does
    helm.install("heed", "one", "webhook.enabled=false", take_ownership=True)
    held = {**AGENT, "metadata": {"name": "held", "finalizers": ["example.com/held"], "labels": {"a": "b"}}}
    agents = "/apis/heed.dev/v1alpha1/namespaces/one/agents"
    plane.admin.post(agents, held)
    helm.upgrade(
        "heed", "one", "webhook.enabled=true", "webhook.failurePolicy=Fail", "webhook.timeoutSeconds=1"
    )

    def refused(change: dict[str, Any]) -> bool:
        try:
            plane.admin.patch(f"{agents}/held", change)
        except ApiError as error:
            return "failed calling webhook" in error.message
        return False

    # when it is changed, then the webhook is asked
    eventually(lambda: refused({"spec": {"session": {"idleTimeout": "1h"}}}), what="the webhook")
    assert refused({"metadata": {"labels": {"a": "c"}}})
    with pytest.raises(ApiError, match="failed calling webhook"):
        plane.admin.post(agents, AGENT)

    # when what an Agent is does not change, or it is on its way out, then nobody is asked
    assert not refused({"metadata": {"annotations": {"note": "this"}}})
    plane.admin.delete(f"{agents}/held")
    assert not refused({"metadata": {"finalizers": None}})
    with pytest.raises(ApiError, match="not found"):
        plane.admin.get(f"{agents}/held")


def certificate() -> bytes:
    """A self-signed one, in PEM, as an authority's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "heed")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
