"""The release under test: this tree's chart, with its embedded server, in a namespace that enforces `restricted`."""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster.controlplane.waiting import eventually
from tests.e2e.cluster import Cluster
from tests.e2e.rights import roles_in
from tests.patience import PATIENCE

CHART = Path(__file__).resolve().parents[2] / "charts" / "heed"
NAME = "heed"
NATS = f"{NAME}-nats"
KEYS = f"{NAME}-nats-keys"
NAMESPACE = "heed-system"
IMAGE, TAG, NEXT_TAG = os.environ.get("E2E_IMAGE", "heed"), "e2e", "e2e-next"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class Release:
    """`helm install heed`, and what belongs to it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.before: set[str] = set()
        """The cluster's objects before the installation."""
        self.period = ("", "9999")
        """From when to when it was installed, RFC 3339."""
        self.roles: list[dict[str, Any]] = []

    def there(self) -> bool:
        return bool(self.cluster.helm("list", "--short", "-n", NAMESPACE).split())

    def install(self) -> float:
        """Seconds until everything was ready."""
        make_namespace(self.cluster, NAMESPACE)
        self.before = self.cluster.objects(NAMESPACE)
        self.period = (now(), "9999")
        took = self._helm("install")
        self.roles = roles_in(self.cluster.helm("get", "manifest", NAME, "-n", NAMESPACE))
        return took

    def upgrade(self, tag: str, *more: str) -> float:
        """Seconds until every pod was replaced."""
        return self._helm("upgrade", f"image.tag={tag}", *more)

    def uninstall(self) -> None:
        self.period = (self.period[0], now())
        self.cluster.helm("uninstall", NAME, "-n", NAMESPACE, "--wait", f"--timeout={5 * PATIENCE:.0f}s")

    def test(self) -> str:
        """What `helm test` prints."""
        return self.cluster.helm("test", NAME, "-n", NAMESPACE, "--logs", f"--timeout={5 * PATIENCE:.0f}s")

    def secret(self, name: str, key: str) -> str:
        data = self.cluster.get("secret", name, "-n", NAMESPACE).get("data") or {}
        return base64.b64decode(data.get(key, "")).decode()

    def credentials(self, key: str) -> str:
        """A .creds file of the embedded server: admin.creds or publisher.creds."""
        return eventually(lambda: self.secret(KEYS, key), PATIENCE, what=key)

    def pods(self) -> list[dict[str, Any]]:
        """The operator's, that are not on their way out."""
        selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=operator"
        found = self.cluster.items("pods", "-n", NAMESPACE, "-l", selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def active(self) -> str:
        """The pod that holds the lease."""
        spec = self.cluster.get("lease", NAME, "-n", NAMESPACE).get("spec") or {}
        return str(spec.get("holderIdentity") or "")

    def publish(self, type_: str, data: Any, namespace: str, correlation: str) -> None:
        """`heed publish` from a pod of the release's namespace, with the publisher's credentials."""
        words = ["publish", type_, "--data", json.dumps(data), "-n", namespace, "--correlation", correlation]
        name = f"publish-{time.monotonic_ns()}"
        self.cluster.apply([publisher(name, words)], NAMESPACE)
        phase = eventually(lambda: self._ended(name), PATIENCE, what=f"the end of {name}", every=0.3)
        logs = self.cluster.kubectl("logs", name, "-n", NAMESPACE)
        self.cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false")
        assert phase == "Succeeded", logs

    def _ended(self, pod: str) -> str | None:
        phase = self.cluster.get("pod", pod, "-n", NAMESPACE)["status"].get("phase")
        return phase if phase in ("Succeeded", "Failed") else None

    def _helm(self, verb: str, *values: str) -> float:
        started = time.monotonic()
        settings = [f"image.repository={IMAGE}", f"image.tag={TAG}", "nats.embedded.enabled=true"]
        settings += [
            "log.level=debug",
            "approvals.retention=2",
            "workers.enabled=true",
            *os.environ.get("E2E_VALUES", "").split(),
            *values,
        ]
        options = [word for value in settings for word in ("--set", value)]
        self.cluster.helm(
            verb, NAME, str(CHART), "-n", NAMESPACE, *options, "--wait", f"--timeout={5 * PATIENCE:.0f}s"
        )
        return time.monotonic() - started


def publisher(name: str, words: list[str]) -> dict[str, Any]:
    """A pod that runs the `heed` command once."""
    container = {
        "name": "main",
        "image": f"{IMAGE}:{TAG}",
        "args": words,
        "securityContext": CONTAINER_SECURITY,
        "env": [
            {"name": "HEED_NATS_URL", "value": f"nats://{NATS}.{NAMESPACE}.svc:4222"},
            {"name": "HEED_NATS_CREDENTIALS", "value": "/credentials/publisher.creds"},
        ],
        "volumeMounts": [{"name": "credentials", "mountPath": "/credentials", "readOnly": True}],
    }
    items = [{"key": "publisher.creds", "path": "publisher.creds"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": SECURITY,
            "containers": [container],
            "volumes": [{"name": "credentials", "secret": {"secretName": KEYS, "items": items}}],
        },
    }


def now() -> str:
    """As the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_namespace(cluster: Cluster, name: str) -> None:
    """One that takes only pods that are `restricted`."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    cluster.apply([manifest], name)
