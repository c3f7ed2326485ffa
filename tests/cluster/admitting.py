"""What stories about admission need: the webhook's objects, its rights and no more, and replicas that answer."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.kube.client.client import KubeApi
from heed.kube.webhook.certificates import SelfIssuedCertificate
from heed.kube.webhook.server import serve_admission
from heed.settings import Settings
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import ControlPlane, KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import require_helm
from tests.cluster.operating import SYSTEM
from tests.cluster.stories import researcher

Manifest = dict[str, Any]
SECRET = "keys"
HOST = "127.0.0.1"
KINDS = ["agents", "agentpolicies", "eventgrants", "eventtypes", "eventsources", "subscriptions"]
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class Hook:
    """A webhook for one namespace: its Secret, its configuration, and an account with the rights to them."""

    def __init__(self, plane: ControlPlane, namespace: str, port: int) -> None:
        self.plane, self.namespace, self.port = plane, namespace, port
        self.name = f"heed-{namespace}"
        plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(self._objects()))
        self.kubeconfig = plane.kubeconfig_for_service_account(namespace, "webhook")

    @property
    def settings(self) -> Settings:
        """Of a replica."""
        return Settings(
            webhook_port=self.port,
            webhook_secret=SECRET,
            webhook_service=HOST,
            webhook_configuration=self.name,
            lease_namespace=self.namespace,
        )

    def delete(self) -> None:
        """Of what is in no namespace."""
        self.plane.admin.delete(f"{CONFIGURATIONS}/{self.name}")

    def configuration(self) -> dict[str, Any]:
        """As the API server has it."""
        found: dict[str, Any] = self.plane.admin.get(f"{CONFIGURATIONS}/{self.name}")
        return found

    def bundle(self) -> bytes:
        """What it trusts."""
        return base64.b64decode(self.configuration()["webhooks"][0]["clientConfig"].get("caBundle") or "")

    def secret(self) -> dict[str, bytes]:
        """What is in the Secret."""
        found = self.plane.admin.get(f"/api/v1/namespaces/{self.namespace}/secrets/{SECRET}")
        return {name: base64.b64decode(value) for name, value in (found.get("data") or {}).items()}

    def change(self, patch: str) -> None:
        """Change the configuration by a JSON patch."""
        self.plane.kubectl(
            "patch", "validatingwebhookconfiguration", self.name, "--type=json", "--patch", patch
        )

    def fail(self, policy: str) -> None:
        """Set its failurePolicy."""
        self.change(f'[{{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "{policy}"}}]')

    def source(self, api: KubeApi, **more: Any) -> SelfIssuedCertificate:
        """What a replica has its certificate from."""
        return SelfIssuedCertificate(api, self.namespace, SECRET, self.name, [HOST], **more)

    def _objects(self) -> list[dict[str, Any]]:
        named = {"name": "webhook", "namespace": self.namespace}
        account = {"kind": "ServiceAccount", **named}
        group = "rbac.authorization.k8s.io"
        return [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {**named, "name": SECRET}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
            *_granted(
                "Role",
                named,
                account,
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET]},
            ),
            *_granted(
                "ClusterRole",
                {"name": self.name},
                account,
                {
                    "apiGroups": ["admissionregistration.k8s.io"],
                    "resources": ["validatingwebhookconfigurations"],
                    "resourceNames": [self.name],
                },
            ),
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": f"{self.name}-lists"},
                "rules": [{"apiGroups": ["heed.dev"], "resources": KINDS, "verbs": ["list"]}],
            },
            _bound("ClusterRole", {"name": f"{self.name}-lists"}, account),
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": self.name},
                "webhooks": [self._webhook()],
            },
        ]

    def _webhook(self) -> dict[str, Any]:
        """The chart's, but for the address, and for one namespace only."""
        (webhook,) = chart("ValidatingWebhookConfiguration")["webhooks"]
        return {
            **webhook,
            "clientConfig": {"url": f"https://{HOST}:{self.port}/validate"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
        }


@cache
def chart(kind: str) -> dict[str, Any]:
    """The webhook's object of a kind as the chart has it."""
    folder = Path(__file__).resolve().parents[2] / "charts" / "heed"
    command = [str(require_helm()), "template", "heed", str(folder), "--namespace", SYSTEM]
    shown = ["--show-only", "templates/webhook.yaml"]
    done = subprocess.run([*command, *shown], capture_output=True, text=True, check=True)
    documents = filter(None, yaml.safe_load_all(done.stdout))
    return next(item for item in documents if item["kind"] == kind)


def _granted(
    kind: str, metadata: dict[str, str], account: dict[str, str], rule: dict[str, Any]
) -> list[dict[str, Any]]:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata}
    return [{**role, "rules": [{**rule, "verbs": ["get", "patch"]}]}, _bound(kind, metadata, account)]


def _bound(kind: str, metadata: dict[str, str], account: dict[str, str]) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": kind, "name": metadata["name"]},
        "subjects": [account],
    }


class Replica:
    """The webhook's server in a thread, as the operator runs it. Use as a context manager."""

    def __init__(self, hook: Hook, *, settings: Settings | None = None, look: float = 0.1) -> None:
        self._hook, self._settings, self._look = hook, settings or hook.settings, look
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._stop: Callable[[], Any] = lambda: None

    def __enter__(self) -> Replica:
        self._thread.start()
        assert self._up.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._up.set()

    async def _serve(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        api = await KubeApi.connect(str(self._hook.kubeconfig))
        try:
            async with serve_admission(self._settings, api, host=HOST, look=self._look):
                self._up.set()
                await over.wait()
        finally:
            await api.close()


async def handshake(port: int, bundle: bytes, host: str = HOST) -> bool:
    """Whether a new connection is trusted by who has this bundle, and takes it for this host."""
    client = ssl.create_default_context(cadata=bundle.decode() or None)
    try:
        _, writer = await asyncio.open_connection(HOST, port, ssl=client, server_hostname=host)
    except (OSError, ssl.SSLError):
        return False
    writer.transport.abort()
    return True


def until_asked(hook: Hook) -> None:
    """Wait until the API server asks the webhook."""
    eventually(lambda: "did you mean" in (denied(hook, broken()) or ""), what="a manifest that is refused")


def broken() -> Manifest:
    """An Agent with two mistakes that the CRD does not see."""
    agent = researcher()
    agent["spec"]["handlers"][0]["when"] = "evnt.data.topic == 1"
    agent["spec"]["handlers"][1]["when"] = "state.answer +"
    return agent


def apply(hook: Hook, manifest: Manifest, *options: str) -> str:
    """`kubectl apply`; returns what it prints. Raises KubectlError."""
    return hook.plane.kubectl(
        "apply", "-n", hook.namespace, *options, "-f", "-", stdin=yaml.safe_dump(manifest)
    )


def warned(hook: Hook, manifest: Manifest) -> str:
    """What `kubectl apply` warns of: it is stored all the same."""
    with pytest.raises(KubectlError) as error:
        apply(hook, manifest, "--warnings-as-errors")
    assert "created" not in str(error.value)
    return str(error.value)


def denied(hook: Hook, manifest: Manifest) -> str | None:
    """Why the API server, asked for a dry run, refuses to create an object; None where it does not."""
    plural = {names.KIND: names.PLURAL, **names.PLURALS}[manifest["kind"]]
    path = f"/apis/heed.dev/v1alpha1/namespaces/{hook.namespace}/{plural}?dryRun=All"
    try:
        hook.plane.admin.post(path, manifest)
    except ApiError as error:
        return error.message
    return None


def stored(hook: Hook, kind: str = "agents") -> list[str]:
    """The names of the objects that are there."""
    return hook.plane.kubectl("get", kind, "-n", hook.namespace, "-o", "name").split()
