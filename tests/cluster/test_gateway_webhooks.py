"""Webhooks and Subscriptions with the chart's rights and no more: their status, their Secrets, edits and deletion."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from heed import names
from heed.api.conditions import find_condition
from heed.bus.client.connection import connect
from heed.bus.consumer.durable import find_consumers
from heed.core.events import Event
from heed.settings import Settings
from tests.builders.gateway import SIGNED, event_source_document, subscription_document
from tests.builders.manifests import policy_manifest
from tests.chart.rendering import NAMESPACE as RELEASED_IN
from tests.chart.rendering import render
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Broker, Stage
from tests.cluster.test_gateway import GATEWAY, Gateway
from tests.integration.gateway.deliveries import sign
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster
API = f"/apis/{names.API_VERSION}/namespaces"
RBAC = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
PLACED = "com.example.order.placed"


class Sunk:
    """A sink: the ids of the events that came, and how it answers."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.status = 204
        sunk = self

        class Handler(BaseHTTPRequestHandler):
            """Answers as the test says."""

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                sunk.ids.append(self.headers["ce-id"])
                self.send_response(sunk.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def sunk() -> Iterator[Sunk]:
    """One that takes everything."""
    made = Sunk()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Served:
    """A gateway that may read Secrets of the test's namespace, and short ways to its objects there."""

    def __init__(self, control_plane: ControlPlane, gateway: Gateway, namespace: str) -> None:
        self.admin, self.gateway, self.namespace = control_plane.admin, gateway, namespace
        self._http = urllib3.PoolManager(retries=False)

    def path(self, plural: str, name: str = "") -> str:
        return f"{API}/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def make(self, document: dict[str, Any]) -> dict[str, Any]:
        """Create an object of Heed's."""
        metadata = {"name": document["metadata"]["name"]}
        return dict(
            self.admin.post(self.path(names.PLURALS[document["kind"]]), {**document, "metadata": metadata})
        )

    def secret(self, value: str, name: str = "webhook", label: str = "true") -> None:
        """Create a Secret for the gateway."""
        metadata = {"name": name, "labels": {names.LABEL_GATEWAY_SECRET: label}}
        self.admin.post(
            f"/api/v1/namespaces/{self.namespace}/secrets",
            {"metadata": metadata, "data": {"secret": base64.b64encode(value.encode()).decode()}},
        )

    def status(self, plural: str, name: str) -> dict[str, Any]:
        """The status of an object."""
        return dict(self.admin.get(self.path(plural, name)).get("status") or {})

    def until_condition(self, plural: str, name: str, type_: str, wanted: tuple[str, str]) -> dict[str, Any]:
        """Wait until a condition has this status and reason."""

        def holds() -> bool:
            found = find_condition(self.status(plural, name).get("conditions") or [], type_)
            return found is not None and (found["status"], found["reason"]) == wanted

        eventually(holds, PATIENCE, what=f"{plural}/{name} {type_} {wanted}: {self.gateway.log}")
        return self.status(plural, name)

    def place(self, broker: Broker, id_: str) -> None:
        """Publish an event."""
        subject = names.event_subject(self.namespace, PLACED)
        broker.publish(subject, Event(id_, "/shop", PLACED, {"id": id_}, datacontenttype="application/json"))

    def deliver(self, path: str, value: str, body: bytes = b"{}") -> int:
        """Send a signed delivery."""
        headers = {"X-Hub-Signature-256": f"sha256={sign(body, value.encode())}"}
        url = f"http://127.0.0.1:{self.gateway.port}/v1/hooks/{self.namespace}/{path}"
        return int(self._http.request("POST", url, body=body, headers=headers).status)


@pytest.fixture
def served(
    control_plane: ControlPlane, stage: Stage, broker: Broker, namespace: str, tmp_path: Path
) -> Iterator[Served]:
    """With the chart's roles, Subscriptions on, and loopback let through, where the tests' sinks are."""
    values = {
        "gateway": {
            "enabled": True,
            "secrets": [{"namespace": namespace}],
            "subscriptions": {"enabled": True},
        },
        "crds": {"install": False},
    }
    objects = [
        item
        for item in render(values=values)
        if item["kind"] in RBAC and item["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    ]
    ensure_namespace(control_plane)
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    kubeconfig = control_plane.kubeconfig_for_service_account(RELEASED_IN, GATEWAY)
    settings = {"HEED_GATEWAY_SINK_NETWORKS": "127.0.0.0/8", "HEED_GATEWAY_URL": "https://heed.example"}
    gateway = Gateway(kubeconfig, broker, tmp_path, **settings)
    try:
        gateway.until_ready()
        yield Served(control_plane, gateway, namespace)
    finally:
        assert gateway.stop() == 0
    log = gateway.log.read_text()
    assert "Traceback" not in log
    assert "s3cret" not in log


def ensure_namespace(control_plane: ControlPlane) -> None:
    """The release's namespace."""
    try:
        control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": RELEASED_IN}})
    except ApiError as error:
        if error.status != 409:
            raise


def test_a_webhook_is_accepted_served_and_follows_edits(served: Served) -> None:
    # Given one whose Secret is not there yet
    served.make(event_source_document("hook", verify=SIGNED))
    served.until_condition("eventsources", "hook", "Accepted", ("False", "SecretMissing"))
    assert served.deliver("hook", "s3cret") == 503

    # When it is made
    served.secret("s3cret")

    # Then it is served
    status = served.until_condition("eventsources", "hook", "Accepted", ("True", "Accepted"))
    assert status["url"] == f"https://heed.example/v1/hooks/{served.namespace}/hook"
    assert served.deliver("hook", "s3cret") == 202
    assert served.deliver("hook", "guess") == 401

    # And edits and deletion are followed
    served.admin.patch(served.path("eventsources", "hook"), {"spec": {"path": "moved"}})
    eventually(lambda: served.deliver("moved", "s3cret") == 202, PATIENCE, what="the edit in force")
    assert served.deliver("hook", "s3cret") == 404
    served.admin.delete(served.path("eventsources", "hook"))
    eventually(lambda: served.deliver("moved", "s3cret") == 404, PATIENCE, what="the deletion in force")


def test_why_a_webhook_is_not_served(served: Served) -> None:
    served.secret("s3cret", label="no")
    served.make(event_source_document("unlabelled", verify=SIGNED))
    served.make(event_source_document("first", path="same"))
    served.until_condition("eventsources", "first", "Accepted", ("True", "Accepted"))
    served.make(event_source_document("second", path="same"))
    served.make(event_source_document("wrong", when="heders.x == 'a'"))

    served.until_condition("eventsources", "unlabelled", "Accepted", ("False", "SecretNotLabelled"))
    served.until_condition("eventsources", "wrong", "Accepted", ("False", "Invalid"))
    older = served.status("eventsources", "first")
    if older["conditions"][0]["status"] == "True":
        served.until_condition("eventsources", "second", "Accepted", ("False", "Conflict"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (event_source_document(verify={}), "exactly one of `hmac`, `token` and `none`"),
        (event_source_document(event={"type": "dev.heed.task.completed"}), "reserved"),
        (
            event_source_document(verify={"hmac": {**SIGNED["hmac"], "payload": "{timestamp}.{body}"}}),
            "belong together",
        ),
        (event_source_document(path="/abs"), "spec.path"),
        (subscription_document(url="ftp://x"), "spec.sink.url"),
        (
            subscription_document(sink={"url": "http://x", "headers": [{"name": "a"}]}),
            "exactly one of `value` and `secretRef`",
        ),
    ],
)
def test_the_api_server_refuses_what_it_can_tell(
    control_plane: ControlPlane, namespace: str, document: dict[str, Any], message: str
) -> None:
    plural = names.PLURALS[document["kind"]]
    with pytest.raises(ApiError, match=message):
        control_plane.admin.post(f"{API}/{namespace}/{plural}", {**document, "metadata": {"name": "x"}})


def test_events_are_delivered_and_the_status_says_how_it_stands(
    served: Served, sunk: Sunk, broker: Broker
) -> None:
    made = served.make(subscription_document("orders", url=sunk.url, delivery={"retry": {"attempts": 50}}))
    consumer = names.subscription_consumer(made["metadata"]["uid"])
    served.until_condition("subscriptions", "orders", "Ready", ("True", "Delivering"))
    assert consumer in consumers(broker)

    served.place(broker, "o-1")
    eventually(lambda: sunk.ids == ["o-1"], PATIENCE, what="the delivery")
    sunk.status = 503
    served.place(broker, "o-2")
    served.until_condition("subscriptions", "orders", "Ready", ("False", "SinkFailing"))
    sunk.status = 204
    served.until_condition("subscriptions", "orders", "Ready", ("True", "Delivering"))

    served.admin.delete(served.path("subscriptions", "orders"))
    eventually(lambda: consumer not in consumers(broker), PATIENCE, what="the consumer gone")


def test_one_with_a_mistake_says_so_and_one_whose_secret_is_missing_waits(
    served: Served, sunk: Sunk, broker: Broker
) -> None:
    served.make(subscription_document("wrong", url="http://169.254.169.254/latest"))
    headers = [{"name": "X-Key", "secretRef": {"name": "webhook", "key": "secret"}}]
    served.make(subscription_document("keyed", sink={"url": sunk.url, "headers": headers}))

    served.until_condition("subscriptions", "wrong", "Ready", ("False", "Invalid"))
    served.until_condition("subscriptions", "keyed", "Ready", ("False", "SecretMissing"))
    served.place(broker, "o-1")
    served.secret("s3cret")
    served.until_condition("subscriptions", "keyed", "Ready", ("True", "Delivering"))
    eventually(lambda: sunk.ids == ["o-1"], PATIENCE, what="the delivery")


def test_policies_say_what_is_published_and_delivered_and_are_followed(
    served: Served, sunk: Sunk, broker: Broker
) -> None:
    # Given a webhook and a Subscription at work
    served.make(event_source_document("hook"))
    served.make(subscription_document("orders", url=sunk.url))
    served.until_condition("eventsources", "hook", "Accepted", ("True", "Accepted"))
    served.until_condition("subscriptions", "orders", "Ready", ("True", "Delivering"))
    policies = served.path("agentpolicies")

    # When a policy allows neither
    spec: dict[str, Any] = {"agentSelector": {}, "eventSources": [{"type": "com.github.>"}], "deliveries": []}
    policy = policy_manifest("strict", namespace=served.namespace, **spec)
    served.admin.post(policies, policy)

    # Then both say so, with policy, field and remedy
    refused = served.until_condition("eventsources", "hook", "Accepted", ("False", "PolicyViolation"))
    assert refused["conditions"][0]["message"] == (
        f"spec.event.type: AgentPolicy {served.namespace}/strict allows no event com.example.hooked of an EventSource "
        "(spec.eventSources); allowed: com.github.>; change it, or ask who may change the policy"
    )
    served.until_condition("subscriptions", "orders", "Ready", ("False", "PolicyViolation"))
    served.place(broker, "o-1")

    # And when it is gone, they go on
    served.admin.delete(f"{policies}/strict")
    served.until_condition("eventsources", "hook", "Accepted", ("True", "Accepted"))
    served.until_condition("subscriptions", "orders", "Ready", ("True", "Delivering"))
    eventually(lambda: sunk.ids == ["o-1"], PATIENCE, what="the delivery")


@pytest.mark.parametrize("aspect", ["eventSources", "deliveries"])
def test_what_is_for_the_namespace_needs_a_policy_for_all_of_it(
    control_plane: ControlPlane, namespace: str, aspect: str
) -> None:
    policies = f"{API}/{namespace}/agentpolicies"
    for selector in (
        {"matchLabels": {"a": "b"}},
        {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
    ):
        with pytest.raises(ApiError, match="need agentSelector"):
            control_plane.admin.post(
                policies, policy_manifest("x", namespace=namespace, agentSelector=selector, **{aspect: []})
            )
    control_plane.admin.post(policies, policy_manifest("x", namespace=namespace, **{aspect: []}))


def consumers(broker: Broker) -> list[str]:
    """The consumers of Subscriptions at the broker."""

    async def look() -> list[str]:
        connection = await connect(Settings(nats_url=broker.url), "test", attempts=3)
        try:
            return list(await find_consumers(connection, names.STREAM, names.SUBSCRIPTION_CONSUMER_PREFIX))
        finally:
            await connection.close()

    return asyncio.run(look())
