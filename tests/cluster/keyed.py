"""A broker in JWT mode with keys that the operator makes itself, and what its users see of it. Blocking."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import nats
import yaml
from nats.aio.client import Client

from heed import names
from heed.bus.auth.accounts import ACCOUNT_SEED, ADMIN_CREDS, AUTH_CONF, KEY_FILES
from tests.chart.rendering import NAMESPACE, render
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import HEED, Operator
from tests.nats_server import NatsServer
from tests.patience import PATIENCE

SECRET = "heed-nats-keys"
T = TypeVar("T")


class KeyedOperator(Operator):
    """An operator that is told the Secret of the keys. The URL need not be anybody's yet."""

    def __init__(self, kubeconfig: Path, url: str, folder: Path, port: int, **more: Any) -> None:
        super().__init__(kubeconfig, url, folder, port, lease="heed", lease_namespace=NAMESPACE, **more)
        self.environment["HEED_NATS_KEYS_SECRET"] = SECRET
        self.environment["HEED_TASK_NATS_URL"] = url

    def launch(self) -> None:
        """Start it and wait for nothing."""
        self._launch([str(HEED), "operator"])


class KeyedBroker:
    """The broker, once the Secret is filled."""

    def __init__(self, plane: ControlPlane, folder: Path, port: int) -> None:
        self._plane, self._folder = plane, folder
        self.url = f"nats://127.0.0.1:{port}"
        self._server = NatsServer(folder / "nats", "-c", str(folder / AUTH_CONF))
        self._server._port = port  # known before it runs: the operator is started first

    @property
    def keys(self) -> Mapping[str, str]:
        """What is in the Secret."""
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
        data = self._plane.admin.get(path).get("data") or {}
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    def start(self) -> None:
        """Start the server with `auth.conf`, as its pod would."""
        keys = self.keys
        assert set(keys) == set(KEY_FILES)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / AUTH_CONF).write_text(keys[AUTH_CONF])
        self._server.start()

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    def seeds(self) -> list[str]:
        """Every seed in the Secret."""
        found = [self.keys[ACCOUNT_SEED].strip()]
        for content in self.keys.values():
            lines = content.splitlines()
            found += [lines[at + 1] for at, line in enumerate(lines) if "BEGIN USER NKEY SEED" in line]
        return found

    def as_admin(self, act: Callable[[Client], Awaitable[T]]) -> T:
        """Do something as somebody who may do everything."""
        return self.using(self.keys[ADMIN_CREDS], act)

    def using(self, credentials: str, act: Callable[[Client], Awaitable[T]], prefix: str = "_INBOX") -> T:
        """Do something with credentials."""
        path = self._folder / "some.creds"
        path.write_text(credentials)

        async def connected() -> T:
            client = await nats.connect(
                self.url, user_credentials=str(path), inbox_prefix=prefix, max_reconnect_attempts=1
            )
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(connected())

    def ask(self, namespace: str, id: str = "q-1") -> None:
        """Publish a question to the researcher of a namespace."""
        type_ = "com.example.question.asked"
        self.send(
            self.keys["publisher.creds"], names.event_subject(namespace, type_), type_, id, {"topic": "tides"}
        )

    def send(
        self, credentials: str, subject: str, type_: str, id: str, data: Any, prefix: str = "_INBOX"
    ) -> dict[str, Any]:
        """Publish an event with credentials; returns the confirmation."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": id,
            "ce-type": type_,
            "ce-source": "/test",
            "ce-correlationid": "c-1",
        }

        async def act(client: Client) -> dict[str, Any]:
            reply = await client.request(
                subject, json.dumps(data).encode(), timeout=PATIENCE, headers=headers
            )
            answer: dict[str, Any] = json.loads(reply.data)
            return answer

        return self.using(credentials, act, prefix)


def installed(plane: ControlPlane, *values: str) -> Path:
    """The chart's service account, rights and empty Secret, in NAMESPACE; returns the kubeconfig."""
    manifests = render("nats.embedded.enabled=true", "webhook.enabled=false", *values)
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Secret")
    documents = [item for item in manifests if item["kind"] in wanted]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    account = next(
        item["metadata"]["name"]
        for item in documents
        if item["kind"] == "ServiceAccount" and "nats" not in item["metadata"]["name"]
    )
    return plane.kubeconfig_for_service_account(NAMESPACE, account)
