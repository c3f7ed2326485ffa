"""Admission: on where all namespaces are watched, with the operator's own certificate or with cert-manager's."""

from __future__ import annotations

import pytest

from heed import names
from tests.chart.rendering import Refused, render

CERT_MANAGER = "webhook.certManager.enabled=true"
OWN = {"HEED_WEBHOOK_SECRET": "heed-webhook", "HEED_WEBHOOK_CONFIGURATION": "system-heed"}


def test_api_server_is_sent_to_the_pods_also_before_they_are_ready() -> None:
    rendered = render()
    service = rendered["Service", "heed-webhook"]
    (webhook,) = rendered["ValidatingWebhookConfiguration"]["webhooks"]
    (container,) = rendered.pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert webhook["clientConfig"] == {
        "service": {"name": "heed-webhook", "namespace": "system", "path": "/validate", "port": 443}
    }
    assert service["spec"]["ports"] == [{"name": "webhook", "port": 443, "targetPort": "webhook"}]
    assert service["spec"]["selector"] == rendered["Deployment"]["spec"]["selector"]["matchLabels"]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert rendered.environment()["HEED_WEBHOOK_PORT"] == str(ports["webhook"])


def test_what_is_asked() -> None:
    (webhook,) = render()["ValidatingWebhookConfiguration"]["webhooks"]
    (rule,) = webhook["rules"]

    assert rule["apiGroups"] == [names.GROUP]
    assert set(rule["resources"]) == {
        "agents",
        "agentpolicies",
        "eventgrants",
        "eventtypes",
        "eventsources",
        "subscriptions",
    }
    assert (rule["operations"], rule["scope"]) == (["CREATE", "UPDATE"], "Namespaced")
    assert (webhook["failurePolicy"], webhook["timeoutSeconds"], webhook["sideEffects"]) == (
        "Ignore",
        5,
        "None",
    )


def test_failure_policy_is_a_choice() -> None:
    (webhook,) = render("webhook.failurePolicy=Fail", "webhook.timeoutSeconds=9")[
        "ValidatingWebhookConfiguration"
    ]["webhooks"]

    assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Fail", 9)


def test_operator_makes_its_own_certificate_in_a_secret_that_is_rendered_empty() -> None:
    rendered = render()
    secret = rendered["Secret", "heed-webhook"]

    assert not secret.keys() & {"data", "stringData"}
    assert secret["type"] == "Opaque"
    assert rendered.environment().items() >= (OWN | {"HEED_WEBHOOK_SERVICE": "heed-webhook"}).items()
    assert "HEED_WEBHOOK_CERTIFICATE" not in rendered.environment()


def test_cert_manager_makes_it_instead() -> None:
    rendered = render(CERT_MANAGER)
    certificate = rendered["Certificate"]
    (volume,) = (item for item in rendered.pod()["volumes"] if "secret" in item)
    (container,) = rendered.pod()["containers"]

    assert certificate["spec"]["dnsNames"][0] == "heed-webhook.system.svc"
    assert certificate["spec"]["issuerRef"] == {
        "kind": "Issuer",
        "name": rendered["Issuer"]["metadata"]["name"],
    }
    assert rendered["Issuer"]["spec"] == {"selfSigned": {}}
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    folder = rendered.environment()["HEED_WEBHOOK_CERTIFICATE"]
    assert {"name": volume["name"], "mountPath": folder, "readOnly": True} in container["volumeMounts"]
    annotations = rendered["ValidatingWebhookConfiguration"]["metadata"]["annotations"]
    assert annotations == {"cert-manager.io/inject-ca-from": f"system/{certificate['metadata']['name']}"}
    assert not rendered.environment().keys() & OWN.keys()
    assert "Secret" not in {kind for kind, _ in rendered.names()}


def test_cert_manager_may_use_an_issuer_of_yours() -> None:
    rendered = render(
        CERT_MANAGER,
        "webhook.certManager.issuerRef.name=ours",
        "webhook.certManager.issuerRef.kind=ClusterIssuer",
    )

    assert "Issuer" not in rendered
    assert rendered["Certificate"]["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "ours"}


@pytest.mark.parametrize("value", ["webhook.enabled=false", "watchNamespace=team"])
def test_off(value: str) -> None:
    rendered = render(value)
    (container,) = rendered.pod()["containers"]

    assert not {kind for kind, _ in rendered.names()} & {"ValidatingWebhookConfiguration", "Secret"}
    assert ("Service", "heed-webhook") not in rendered
    assert not [name for name in rendered.environment() if name.startswith("HEED_WEBHOOK")]
    assert [port["name"] for port in container["ports"]] == ["health", "metrics"]


def test_it_needs_the_whole_cluster() -> None:
    with pytest.raises(Refused, match=r"webhook\.enabled: its configuration is cluster-wide"):
        render("watchNamespace=team", "webhook.enabled=true")
