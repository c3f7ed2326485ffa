"""The real Kueue beside a control plane: its controller as a process, its CRDs, and its webhooks for Jobs by URL.

Ten minutes of compiling and more are too much for every run of the tests: `make kueue` builds it, the version of
go.mod, and wherever it is built it is used.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed.kube.webhook.ca import CERTIFICATE, KEY
from tests.cluster.controllers import answers, certify
from tests.cluster.controlplane.build import Unavailable, go_of, module_binaries, module_cache
from tests.cluster.controlplane.processes import Process, Spawner
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.ports import free_port

SYSTEM = "kueue-system"
JOB_WEBHOOKS = ("mjob.kb.io", "vjob.kb.io")
HERE = Path(__file__).parent
PACKAGES = {"kueue": "sigs.k8s.io/kueue/cmd/kueue"}


def built() -> Path:
    """The program; skips with the reason where there is none, in CI too."""
    program = module_cache(HERE, PACKAGES) / "kueue"
    if not program.is_file():
        pytest.skip("Kueue is not built, which takes ten minutes and more; `make kueue` does it")
    return program


@contextmanager
def kueue(plane: ControlPlane, scratch: Path) -> Iterator[None]:
    """Kueue at work."""
    program, source = built(), _source()
    plane.install(sorted((source / "crd/bases").glob("*.yaml")))
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    trusted = certify(scratch)
    webhooks, health = free_port(), free_port()
    config = scratch / "config.yaml"
    config.write_text(yaml.safe_dump(_configuration(webhooks, health, scratch)))
    command = [
        "env",
        f"KUBECONFIG={plane.kubeconfig}",
        f"POD_NAMESPACE={SYSTEM}",
        *_with_etc(scratch),
        str(program),
        f"--config={config}",
        "--feature-gates=VisibilityOnDemand=false",
    ]
    spawner = Spawner()
    process = Process(spawner, command, scratch / "kueue.log")
    try:
        process.start()
        eventually(lambda: not process.running or answers(health), what="a ready Kueue")
        assert process.running, process.log_tail()
        for configuration in _webhooks(source, webhooks, trusted):
            plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(configuration))
        yield
    finally:
        plane.kubectl(
            "delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-l", "kueue=test"
        )
        process.stop()
        spawner.close()


def queue(plane: ControlPlane, namespace: str, name: str, cpus: int) -> None:
    """A queue of a namespace with room for so many CPUs."""
    api = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    quota = {"name": "plain", "resources": [{"name": "cpu", "nominalQuota": cpus}]}
    objects = [
        {**api, "kind": "ResourceFlavor", "metadata": {"name": "plain"}},
        {
            **api,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [quota]}],
            },
        },
        {
            **api,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
    ]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def _with_etc(scratch: Path) -> list[str]:
    """Kueue looks for the certificate of its metrics below /etc and nowhere else: it sees an /etc of its own."""
    upper, work = scratch / "etc", scratch / "work"
    certificates = upper / "kueue/metrics/certs"
    certificates.mkdir(parents=True)
    work.mkdir()
    for name in (CERTIFICATE, KEY):
        shutil.copy(scratch / name, certificates)
    mount = f"mount -t overlay kueue -o lowerdir=/etc,upperdir={upper},workdir={work} /etc"
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount} && exec "$@"', "sh"]


def _source() -> Path:
    """Kueue's own manifests, from the module that the program is built of."""
    command = [go_of(HERE), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return Path(found.strip()) / "config/components"


def _configuration(webhooks: int, health: int, scratch: Path) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": webhooks, "certDir": str(scratch)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job"]},
    }


def _webhooks(source: Path, port: int, trusted: bytes) -> Iterator[dict[str, Any]]:
    """Kueue's own configurations for Jobs, with a URL in the place of a Service."""
    for document in yaml.safe_load_all((source / "webhook/manifests.yaml").read_text()):
        document["metadata"] = {"name": f"kueue-{document['kind'].lower()}", "labels": {"kueue": "test"}}
        document["webhooks"] = [item for item in document["webhooks"] if item["name"] in JOB_WEBHOOKS]
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"] = {
                "url": f"https://127.0.0.1:{port}{path}",
                "caBundle": base64.b64encode(trusted).decode(),
            }
        yield document


def main() -> int:
    """Builds it: `python -m tests.cluster.kueue.run`."""
    try:
        module_binaries(HERE, PACKAGES, lambda line: print(line, file=sys.stderr, flush=True))
    except Unavailable as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
