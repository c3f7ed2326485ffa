"""The operator as a whole, in this process: a real broker, an API server of ours, and everything that it serves.

Of its parts only kopf is missing: the watch is what a test shows.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from kubernetes.aio.config import kube_config

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.errors import InvalidSettings
from heed.kube import broker_keys, manager
from heed.kube.client import client
from heed.kube.manager import WATCH_END_TIMEOUT_S
from heed.kube.webhook import review_pool
from heed.kube.webhook import server as webhook_server
from heed.kube.webhook.ca import renew_keys
from tests.builders.agents import job, manifest
from tests.integration.operating import Listening, Rig, Watch
from tests.integration.secured import SecuredBroker
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer
from tests.ports import free_port
from tests.unit.apiserver import ApiServer, api_server

ASKED, ANSWERED = "com.example.question.asked", "com.example.question.answered"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/system/leases/heed"
KEYS = "/api/v1/namespaces/system/secrets/keys"
ANSWER = {"name": "answer", "type": ASKED, "emit": [{"type": ANSWERED}]}
START = {"name": "begin", "type": ASKED, "start": [{"task": "work"}]}


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "ClusterWatch", Watch)
    monkeypatch.setattr(client, "TLS_CLOSE_S", 0)
    monkeypatch.setattr(broker_keys, "RETRY_DELAY_S", 0.01)
    monkeypatch.setattr(
        review_pool, "REVIEW_HUNG_TIMEOUT_S", SOON
    )  # on a busy machine a process may take long to start
    monkeypatch.setattr(webhook_server, "REVIEW_TIMEOUT_S", SOON)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Those to the broker that the operator makes."""
    made = list[Connection]()

    async def noted(*given: Any, **named: Any) -> Connection:
        made.append(await connect(*given, **named))
        return made[-1]

    monkeypatch.setattr(manager, "connect", noted)
    return made


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """An API server, as its own proxy, that a kubeconfig names."""
    async with api_server() as server:
        cluster = {"server": "http://api.example", "proxy-url": server.host}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(document))
        monkeypatch.setenv(
            "KUBECONFIG", str(tmp_path / "kubeconfig")
        )  # which was read when this was imported
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        yield server


@pytest.fixture
async def running(server: ApiServer) -> AsyncIterator[Callable[..., Rig]]:
    """Makes rigs, which have ended in the end."""
    rigs: list[Rig] = []

    def made(nats_url: str, **more: Any) -> Rig:
        rigs.append(Rig(server, nats_url, **more))
        return rigs[-1]

    yield made
    for rig in rigs:
        await rig.end()


@pytest.mark.parametrize(
    ("number", "observer"), [(signal.SIGTERM, None), (signal.SIGINT, Listening())], ids=["TERM", "INT"]
)
async def test_an_operator_runs_agents_until_it_is_told_to_end(
    running: Callable[..., Rig],
    nats_server: NatsServer,
    bus: JetStreamBus,
    connections: list[Connection],
    number: signal.Signals,
    observer: Listening | None,
) -> None:
    # Given
    rig = running(nats_server.url)
    rig.start(observer)
    await rig.says(200, "active")
    assert Watch.made.given == (rig.settings, rig.server.host)
    assert [connection.name for connection in connections] == ["heed-operator"]
    assert rig.server.at(LEASE)["spec"]["holderIdentity"] == "one"
    path = await rig.agent(ANSWER, START, tasks={"work": {**job(), "publish": True}})

    # When
    await bus.publish(names.event_subject(rig.namespace, ASKED), Event("e1", "/shop", ASKED, None))

    # Then it emits and starts
    await until(lambda: bool(rig.server.of("jobs")))
    (made,) = rig.server.of("jobs")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert {"name": "HEED_NATS_URL", "value": "nats://jobs.example:4222"} in container["env"]
    subject = names.event_subject(rig.namespace, ANSWERED)

    async def answered() -> bool:
        return await bus.last(subject) is not None

    await until(answered)
    await until(lambda: not rig.server.at(path)["status"].get("outbox"))
    assert observer is None or observer.heard >= 1

    # Then it tells of it
    _, page = await rig.get(rig.metrics, "/metrics")
    lines = page.splitlines()
    assert {"heed_leader 1.0", "heed_nats_connected 1.0"} <= set(lines)
    assert [line for line in lines if line.startswith("heed_agents{")] == [
        'heed_agents{ready="True",reason="Subscribed"} 1.0'
    ]
    counted = [line for line in lines if line.startswith('heed_api_requests_total{code="201",method="POST"}')]
    posts = [path for method, path in rig.server.asked if method == "POST"]
    assert counted == [f'heed_api_requests_total{{code="201",method="POST"}} {float(len(posts))}']
    assert any("leases" in path for path in posts) and any("jobs" in path for path in posts)

    # Then it ends, and leaves nothing
    await rig.stop(number)
    assert "holderIdentity" not in rig.server.at(LEASE)["spec"]
    assert await rig.get(rig.health, "/healthz") == await rig.get(rig.metrics, "/metrics") == (0, "")
    assert Watch.made.waited == [None, WATCH_END_TIMEOUT_S]
    assert not any(connection.is_connected for connection in connections)


async def test_what_no_other_try_can_mend_ends_it(
    running: Callable[..., Rig], nats_server: NatsServer
) -> None:
    rig = running(nats_server.url)
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", rig.health)

    rig.start()

    assert rig.operating is not None
    with pytest.raises(InvalidSettings, match=rf"^HEED_HEALTH_PORT={rig.health}: .*; choose a free port"):
        await asyncio.wait_for(rig.operating, SOON)
    taken.close()


async def test_a_replica_that_lost_its_lease_stands_by_and_comes_back(
    running: Callable[..., Rig], nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = running(nats_server.url)
    rig.start()
    await rig.says(200, "active")

    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {"holderIdentity": "two", "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now}
    rig.server.edit(LEASE, spec=spec)
    await rig.says(200, "standby")
    assert Watch.made.fleet is None

    rig.server.edit(LEASE, spec={"holderIdentity": None})
    await rig.says(200, "active")
    await rig.stop()
    assert Watch.made.waited == [None, None, WATCH_END_TIMEOUT_S]


async def test_a_broker_with_keys_of_heeds_own_is_spoken_to_with_them_by_jobs_too(
    running: Callable[..., Rig], tmp_path: Path
) -> None:
    secured = SecuredBroker(tmp_path)
    with secured.server:
        # Given
        rig = running(secured.server.url, nats_keys_secret="keys")
        rig.start()
        missing = 'no keys for the broker in Secret system/keys: 404: secrets "keys" not found; '
        await rig.says(
            503, f"{missing}create it, empty; the chart does; the lease system/heed has not been read yet"
        )
        data = {name: base64.b64encode(text.encode()).decode() for name, text in secured.keys.items()}
        rig.server.add(KEYS, data=data)
        await rig.says(200, "active")
        await rig.agent(START, tasks={"work": {**job(), "publish": True}})

        # When
        async with secured.heed() as connection:
            subject = names.event_subject(rig.namespace, ASKED)
            await JetStreamBus(connection).publish(subject, Event("e1", "/shop", ASKED, None))
            await until(lambda: len(rig.server.of("secrets")) == 2)

        # Then
        made = rig.server.of("secrets")[1]
        async with secured.user(made["stringData"]["nats.creds"], "none") as user:
            assert user.errors == []
        await rig.stop()


async def test_manifests_are_judged_by_what_is_there(
    running: Callable[..., Rig], nats_server: NatsServer, tmp_path: Path
) -> None:
    # Given
    keys = renew_keys(None, ["localhost"], datetime.now(UTC))
    assert keys is not None
    certificate, separator, key = keys.certificate_pem.partition(b"-----BEGIN PRIVATE KEY-----")
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(separator + key)
    port = free_port()
    rig = running(nats_server.url, webhook_port=port, webhook_certificate=str(tmp_path))
    rig.start()
    await rig.says(200, "active")
    wrong = manifest({"name": "h", "when": "nothing"})
    wrong["metadata"]["namespace"] = rig.namespace
    request = {"uid": "u-1", "kind": {"group": names.GROUP, "version": names.VERSION, "kind": "Agent"}}
    request |= {"operation": "CREATE", "namespace": rig.namespace, "name": "it", "object": wrong}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    # When
    async with (
        ClientSession() as session,
        session.post(f"https://127.0.0.1:{port}/validate", json=review, ssl=False) as answer,
    ):
        said = (await answer.json())["response"]

    # Then
    assert said["allowed"] is False
    assert 'unknown variable or function "nothing"' in said["status"]["message"]
    await rig.stop()
