"""The real Kueue beside a control plane: its controller as a process, its CRDs, and its webhooks for Jobs by URL.

Ten minutes of compiling are too much for every run of the tests: `make kueue` builds it, the version of go.mod, and
wherever it is built it is used.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.conftest import free_port
from tests.cluster.controlplane.build import Unavailable, go_of, module_binaries, module_cache
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually

SYSTEM = "kueue-system"
JOB_WEBHOOKS = ("mjob.kb.io", "vjob.kb.io")
HERE = Path(__file__).parent
PACKAGES = {"kueue": "sigs.k8s.io/kueue/cmd/kueue"}


def built() -> Path:
    """The program; skips with the reason where there is none, in CI too."""
    program = module_cache(HERE, PACKAGES) / "kueue"
    if not program.is_file():
        pytest.skip("Kueue is not built; `make kueue` does it")
    return program


@contextmanager
def kueue(plane: ControlPlane, scratch: Path) -> Iterator[Path]:
    """Kueue at work. Yields its log."""
    program, source, port, log = built(), _source(), free_port(), scratch / "kueue.log"
    for crd in sorted((source / "crd/bases").glob("*.yaml")):
        plane.kubectl("apply", "--server-side", "-f", str(crd))
    eventually(lambda: _all_established(plane), what="Kueue's kinds")
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    authority = _certificate(scratch)
    config = scratch / "config.yaml"
    config.write_text(yaml.safe_dump(_configuration(port, scratch)))
    command = [
        *_with_etc(scratch),
        str(program),
        "--config",
        str(config),
        "--feature-gates=VisibilityOnDemand=false",
    ]
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "POD_NAMESPACE": SYSTEM}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=scratch)
    try:
        what = f"Kueue's webhooks; log: {log}"
        eventually(lambda: process.poll() is not None or _listens(port), what=what)
        assert process.poll() is None, log.read_text()[-3000:]
        for configuration in _webhooks(source, port, authority):
            plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(configuration))
        yield log
    finally:
        plane.kubectl(
            "delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-l", "kueue=test"
        )
        process.terminate()
        process.wait()


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
    for name in ("tls.crt", "tls.key"):
        shutil.copy(scratch / name, certificates)
    mount = f"mount -t overlay kueue -o lowerdir=/etc,upperdir={upper},workdir={work} /etc"
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount} && exec "$@"', "sh"]


def _all_established(plane: ControlPlane) -> bool:
    kinds = plane.admin.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    conditions = [
        {item["type"]: item["status"] for item in kind["status"].get("conditions") or []} for kind in kinds
    ]
    return all(found.get("Established") == "True" for found in conditions)


def _source() -> Path:
    """Kueue's own manifests, from the module that the program is built of."""
    command = [go_of(HERE), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return Path(found.strip()) / "config/components"


def _configuration(port: int, scratch: Path) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{free_port()}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(scratch)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job"]},
    }


def _webhooks(source: Path, port: int, authority: bytes) -> Iterator[dict[str, Any]]:
    """Kueue's own configurations for Jobs, with a URL in the place of a Service."""
    for document in yaml.safe_load_all((source / "webhook/manifests.yaml").read_text()):
        document["metadata"] = {"name": f"kueue-{document['kind'].lower()}", "labels": {"kueue": "test"}}
        document["webhooks"] = [item for item in document["webhooks"] if item["name"] in JOB_WEBHOOKS]
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            webhook["clientConfig"] = {
                "url": f"https://127.0.0.1:{port}{path}",
                "caBundle": base64.b64encode(authority).decode(),
            }
        yield document


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as plain:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain):
                return True
    except OSError:
        return False


def _certificate(scratch: Path) -> bytes:
    """A certificate for 127.0.0.1 that is its own authority, where Kueue looks for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kueue")])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = certificate.public_bytes(serialization.Encoding.PEM)
    (scratch / "tls.crt").write_bytes(written)
    (scratch / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return written


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
