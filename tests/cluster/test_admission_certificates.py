"""The API server trusts the webhook: from the first replica on, and through every change of keys."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from heed.kube.client.client import KubeApi
from heed.kube.webhook.ca import BUNDLE_PROPAGATION, WebhookKeys, parse_keys, renew_keys
from heed.kube.webhook.certificates import ServerTls
from heed.settings import Settings
from tests.cluster.admitting import (
    CONFIGURATIONS,
    HOST,
    SECRET,
    Hook,
    Replica,
    broken,
    chart,
    denied,
    handshake,
    until_asked,
)
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import SYSTEM, Operator
from tests.ports import free_port

pytestmark = pytest.mark.cluster


# --- certificates -------------------------------------------------------------------------------------------


async def test_replicas_that_race_for_an_empty_secret_end_up_with_one_authority(hook: Hook) -> None:
    apis = [await KubeApi.connect(str(hook.kubeconfig)) for _ in range(5)]
    try:
        found = await asyncio.gather(*(hook.source(api).current() for api in apis))
    finally:
        await asyncio.gather(*(api.close() for api in apis))

    assert len({item.pem for item in found}) == 1
    assert [item.trouble for item in found] == [None] * 5
    keys = parse_keys(hook.secret())
    assert keys is not None
    assert found[0].pem == keys.certificate_pem
    assert hook.bundle() == keys.bundle_pem
    assert len(keys.bundle) == 1


def test_a_bundle_that_was_taken_out_comes_back(webhook: Hook) -> None:
    before = webhook.bundle()
    webhook.change('[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]')

    eventually(lambda: webhook.bundle() == before, what="the bundle")
    until_asked(webhook)


def test_an_emptied_secret_is_filled_anew(webhook: Hook) -> None:
    before = webhook.secret()
    path = f"/api/v1/namespaces/{webhook.namespace}/secrets/{SECRET}"
    webhook.plane.admin.patch(path, {"data": None})

    eventually(lambda: webhook.secret().get("ca.crt", before["ca.crt"]) != before["ca.crt"], what="keys")
    eventually(lambda: webhook.bundle() == webhook.secret()["ca.crt"], what="the bundle")
    until_asked(webhook)


def test_other_fields_of_the_configuration_stay_as_they_are(webhook: Hook) -> None:
    webhook.change('[{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7}]')
    webhook.change('[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]')
    eventually(webhook.bundle, what="the bundle")

    (found,) = webhook.configuration()["webhooks"]
    assert found["timeoutSeconds"] == 7
    assert found["clientConfig"]["url"] == f"https://{HOST}:{webhook.port}/validate"


async def test_through_a_change_of_authority_every_connection_is_trusted(hook: Hook) -> None:
    # Given keys whose authority is due to be replaced half an hour ago
    begin = datetime.now(UTC) - timedelta(minutes=30)
    put(hook, aged(begin))
    now = [begin]
    apis = [await KubeApi.connect(str(hook.kubeconfig)) for _ in range(2)]
    sources = [hook.source(api, clock=lambda: now[0]) for api in apis]
    replicas = [ServerTls(), ServerTls()]
    servers = [await asyncio.start_server(hang_up, HOST, 0, ssl=each.context) for each in replicas]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    authorities = list[int]()
    try:
        for minute in range(0, 30, 5):
            now[0] = begin + timedelta(minutes=minute)
            for source, tls in zip(sources, replicas, strict=True):
                # When one of two replicas looks
                tls.use((await source.current()).pem)
                # Then each is trusted by whoever has the bundle that the API server has
                bundle = await asyncio.to_thread(hook.bundle)
                for port, each in zip(ports, replicas, strict=True):
                    assert not each.ready.is_set() or await handshake(port, bundle), minute
            keys = parse_keys(hook.secret())
            assert keys is not None
            issuer = next(item for item in keys.bundle if item.subject == keys.certificate.issuer)
            authorities.append(keys.bundle.index(issuer))
    finally:
        for server in servers:
            server.close()
        await asyncio.gather(*(api.close() for api in apis))

    # The new authority is trusted for ten minutes before it signs.
    assert authorities == [0, 0, 1, 1, 1, 1]


def test_the_api_server_asks_on_through_a_change_of_authority(hook: Hook) -> None:
    # Given an authority that was joined by another one, which does not sign yet
    lately = datetime.now(UTC) - timedelta(minutes=5)
    announced = renew_keys(aged(lately), [HOST], lately)
    assert announced is not None
    put(hook, announced)
    hook.fail("Fail")
    with Replica(hook):
        until_asked(hook)
        assert hook.bundle() == announced.bundle_pem

        # When it does, while others ask without end
        said = list[str]()
        over = threading.Event()
        asking = threading.Thread(target=_ask_on, args=(hook, said, over))
        asking.start()
        try:
            signed = renew_keys(announced, [HOST], lately + BUNDLE_PROPAGATION, announced.bundle_pem)
            assert signed is not None
            put(hook, signed)
            eventually(lambda: asyncio.run(handshake(hook.port, authority_of(signed))), what="the new one")
            so_far = len(said)
            eventually(lambda: len(said) > so_far + 5, what="more answers")
        finally:
            over.set()
            asking.join()

        # Then all of them were answered
        assert [item for item in said if "did you mean" not in item] == []
    assert parse_keys(hook.secret()) is not None


def _ask_on(hook: Hook, said: list[str], over: threading.Event) -> None:
    while not over.is_set():
        said.append(denied(hook, broken()) or "")


def test_a_folder_of_somebody_else_is_served_too(hook: Hook, tmp_path: Path) -> None:
    # Given a folder whose certificate the API server trusts, as cert-manager sees to it
    keys = renew_keys(None, [HOST], datetime.now(UTC))
    assert keys is not None
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(keys.data()[name])
    bundle = base64.b64encode(keys.bundle_pem).decode()
    hook.change(f'[{{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "{bundle}"}}]')

    # Then that is what the webhook serves, and nothing is written
    with Replica(hook, settings=Settings(webhook_port=hook.port, webhook_certificate=str(tmp_path))):
        until_asked(hook)
    assert hook.secret() == {}
    assert hook.bundle() == keys.bundle_pem


def aged(now: datetime) -> WebhookKeys:
    """Keys whose authority is due to be replaced now, and whose certificate is not."""
    keys = renew_keys(None, [HOST], now - timedelta(days=2435))
    assert keys is not None
    renewed = renew_keys(keys, [HOST], now - timedelta(days=5))
    assert renewed is not None and renewed.authority == keys.authority
    return renewed


def authority_of(keys: WebhookKeys) -> bytes:
    """The authority that signs, as PEM."""
    return keys.authority.public_bytes(serialization.Encoding.PEM)


def put(hook: Hook, keys: WebhookKeys) -> None:
    """Have them in the Secret."""
    data = {name: base64.b64encode(value).decode() for name, value in keys.data().items()}
    hook.plane.admin.patch(f"/api/v1/namespaces/{hook.namespace}/secrets/{SECRET}", {"data": data})


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that is only there for its certificate."""
    writer.close()


# --- the operator -------------------------------------------------------------------------------------------


def test_the_operator_answers_without_a_broker(
    hook: Hook, control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an operator that cannot get ready
    monkeypatch.setenv("HEED_WEBHOOK_PORT", str(hook.port))
    monkeypatch.setenv("HEED_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("HEED_WEBHOOK_SERVICE", HOST)
    monkeypatch.setenv("HEED_WEBHOOK_CONFIGURATION", hook.name)
    nowhere = f"nats://127.0.0.1:{free_port()}"
    operator = Operator(
        control_plane.kubeconfig, nowhere, tmp_path, free_port(), lease_namespace=hook.namespace
    )
    try:
        operator.start_unready()

        # Then it answers the API server all the same
        until_asked(hook)
        probe = operator.probe("readyz")
        assert probe is not None and probe[0] == 503

        # and its log holds no keys
        assert "PRIVATE" not in operator.log.read_text()
        assert operator.stop() == 0
    finally:
        operator.kill()


def test_the_rights_that_the_chart_grants_are_enough(
    control_plane: ControlPlane,
    operator_kubeconfig: Path,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given the chart's Secret and configuration, for one namespace only
    secret = chart("Secret")
    configuration = copy.deepcopy(chart("ValidatingWebhookConfiguration"))
    name, keys = configuration["metadata"]["name"], secret["metadata"]["name"]
    only = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    configuration["webhooks"][0]["namespaceSelector"] = only
    control_plane.admin.post(f"/api/v1/namespaces/{SYSTEM}/secrets", secret)
    control_plane.admin.post(CONFIGURATIONS, configuration)
    monkeypatch.setenv("HEED_WEBHOOK_PORT", str(free_port()))
    monkeypatch.setenv("HEED_WEBHOOK_SECRET", keys)
    monkeypatch.setenv("HEED_WEBHOOK_SERVICE", keys)
    monkeypatch.setenv("HEED_WEBHOOK_CONFIGURATION", name)
    nowhere = f"nats://127.0.0.1:{free_port()}"
    operator = Operator(operator_kubeconfig, nowhere, tmp_path, free_port(), lease_namespace=SYSTEM)
    try:
        # When the operator runs as the chart's account
        operator.start_unready()

        # Then it fills both, and its certificate is for the chart's Service
        def trusted() -> str | None:
            (webhook,) = control_plane.admin.get(f"{CONFIGURATIONS}/{name}")["webhooks"]
            found: str | None = webhook["clientConfig"].get("caBundle")
            return found

        bundle = base64.b64decode(eventually(trusted, what=f"a bundle; log: {operator.log}"))
        port = int(os.environ["HEED_WEBHOOK_PORT"])
        eventually(lambda: asyncio.run(handshake(port, bundle, f"{keys}.{SYSTEM}.svc")), what="its name")
    finally:
        operator.kill()
        control_plane.admin.delete(f"{CONFIGURATIONS}/{name}")
        control_plane.admin.delete(f"/api/v1/namespaces/{SYSTEM}/secrets/{keys}")
