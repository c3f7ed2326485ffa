"""The chart with the embedded server, from `helm install` to `helm test`, on a real API server, broker and operator.

The test is the kubelet: it runs what the pods would run, with their environment, their files and their rights.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import require_helm
from tests.cluster.operating import HEED, Operator
from tests.cluster.releases import Helm, environment_of, run_test_pod
from tests.nats_server import find_binary, require_nats_server
from tests.ports import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Contents = dict[str, str]


@pytest.fixture
def release(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[str]:
    """The namespace of a release `heed` with the embedded server."""
    require_helm()
    require_nats_server()
    helm = Helm(control_plane, tmp_path)
    helm.install("heed", namespace, "nats.embedded.enabled=true", "crds.install=false")
    yield namespace
    helm.close()


class ReleasedOperator(Operator):
    """The operator with the environment that the chart gives it, but for addresses, which are this machine's."""

    def start_released(self, environment: Contents) -> None:
        """Start it and wait until it is alive."""
        ours = {"HEED_NATS_URL", "HEED_HEALTH_PORT", "HEED_METRICS_PORT", "HEED_IDENTITY"}
        given = {name: value for name, value in environment.items() if name not in ours}
        port = {"HEED_WEBHOOK_PORT": str(free_port())}
        self._launch([str(HEED), "operator"], given | port)
        eventually(lambda: self.probe("healthz") == (200, "ok"), what=f"life; log: {self.log}")


def contents(plane: ControlPlane, kind: str, namespace: str, name: str) -> Contents:
    """Of a Secret or a ConfigMap."""
    data = plane.admin.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}").get("data") or {}
    return {key: base64.b64decode(text).decode() if kind == "secrets" else text for key, text in data.items()}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Contents, Contents, int], None]]:
    """Starts the server as its pod would: `serve(config map, Secret, port)`."""
    started: list[subprocess.Popen[bytes]] = []

    def serve(config: Contents, keys: Contents, port: int) -> None:
        for folder, files in (("nats", config), ("nats-auth", {"auth.conf": keys["auth.conf"]})):
            (tmp_path / folder).mkdir()
            for name, text in files.items():
                text = text.replace("0.0.0.0:4222", f"127.0.0.1:{port}").replace(
                    "127.0.0.1:8222", "127.0.0.1:-1"
                )
                (tmp_path / folder / name).write_text(text.replace("/data", str(tmp_path / "data")))
        with (tmp_path / "nats.log").open("wb") as log:
            command = [str(find_binary()), "--config", str(tmp_path / "nats" / "nats.conf")]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))

    yield serve
    for process in started:
        process.kill()
        process.wait()


def test_from_install_to_helm_test(
    control_plane: ControlPlane,
    release: str,
    serve: Callable[[Contents, Contents, int], None],
    tmp_path: Path,
) -> None:
    # given a release, whose broker waits for its keys
    deployment = control_plane.admin.get(f"/apis/apps/v1/namespaces/{release}/deployments/heed")
    assert contents(control_plane, "secrets", release, "heed-nats-keys") == {}
    port = free_port()
    kubeconfig = control_plane.kubeconfig_for_service_account(release, "heed")
    operator = ReleasedOperator(kubeconfig, f"nats://127.0.0.1:{port}", tmp_path, free_port())
    try:
        # when the operator starts, then it makes them, with the rights of the chart
        operator.start_released(environment_of(deployment["spec"]["template"]["spec"]))
        keys = eventually(lambda: contents(control_plane, "secrets", release, "heed-nats-keys"), what="keys")

        # when the broker starts with its part of them, then the operator becomes active
        serve(contents(control_plane, "configmaps", release, "heed-nats"), keys, port)
        operator.until("active", 60)

        # and an event of `helm test` comes through
        done = helm_test(control_plane, release, keys, port, tmp_path)
        assert done.returncode == 0, done.stderr

        # and the webhook's certificate is made, and trusted
        configuration = (
            f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{release}-heed"
        )
        eventually(
            lambda: control_plane.admin.get(configuration)["webhooks"][0]["clientConfig"].get("caBundle"),
            what="the certificate of the webhook",
        )
    finally:
        operator.stop()


def helm_test(
    plane: ControlPlane, release: str, keys: Contents, port: int, folder: Path
) -> subprocess.CompletedProcess[str]:
    """What the hooks of `helm test` make, and what its pod runs."""
    hooks = Helm(plane, folder / "hooks").hooks("heed", release)
    (pod,) = (item["spec"] for item in hooks if item["kind"] == "Pod")
    others = [item for item in hooks if item["kind"] != "Pod"]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": others})
    plane.kubectl("apply", "-n", release, "-f", "-", stdin=listed)
    account = plane.as_service_account(release, pod["serviceAccountName"])
    file = Path(environment_of(pod)["HEED_NATS_CREDENTIALS"]).name
    (folder / file).write_text(keys[file])
    reached = {
        "HEED_NATS_URL": f"nats://127.0.0.1:{port}",
        "HEED_NATS_CREDENTIALS": str(folder / file),
    }
    return run_test_pod(pod, account, folder, reached)
