"""The real KEDA beside a control plane: its operator as a process, and its CRDs. Its metrics server is not there.

So what is seen is what the operator does by itself: a Deployment goes from no pods to one, and back. How many more
there are to be is the HorizontalPodAutoscaler's to say, by metrics that only KEDA's metrics server would give it.
A quarter of an hour of compiling and more is too much for every run of the tests: `make keda` builds it, the version
of go.mod, and wherever it is built it is used.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.controllers import answers, certify
from tests.cluster.controlplane.build import Unavailable, go_of, module_binaries, module_cache
from tests.cluster.controlplane.processes import Process, Spawner
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.ports import free_port

MODULE = "github.com/kedacore/keda/v2"
SYSTEM = "keda"
HERE = Path(__file__).parent
PACKAGES = {"keda": f"{MODULE}/cmd/operator"}


def built() -> Path:
    """The program; skips with the reason where there is none, in CI too."""
    program = module_cache(HERE, PACKAGES) / "keda"
    if not program.is_file():
        pytest.skip("KEDA is not built, which takes a quarter of an hour and more; `make keda` does it")
    return program


@contextmanager
def keda(plane: ControlPlane, scratch: Path) -> Iterator[None]:
    """KEDA at work, on all namespaces."""
    program = built()
    crds = sorted((_source() / "config/crd/bases").glob("*.yaml"))
    plane.replace(crds)  # another test may have installed one of another release
    plane.admin.post("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    certify(scratch)
    health, metrics = free_port(), free_port()
    command = [
        "env",
        f"KUBECONFIG={plane.kubeconfig}",
        f"POD_NAMESPACE={SYSTEM}",
        f"KEDA_CLUSTER_OBJECT_NAMESPACE={SYSTEM}",
        "WATCH_NAMESPACE=",
        str(program),
        f"--cert-dir={scratch}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        f"--metrics-service-bind-address=127.0.0.1:{metrics}",
        "--enable-prometheus-metrics=false",
        "--zap-log-level=debug",
    ]
    spawner = Spawner()
    process = Process(spawner, command, scratch / "keda.log")
    try:
        process.start()
        eventually(lambda: not process.running or answers(health), what="a ready KEDA")
        assert process.running, process.log_tail()
        yield
    finally:
        process.stop()
        spawner.close()


def _source() -> Path:
    """KEDA's own manifests, from the module that the program is built of."""
    command = [go_of(HERE), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", MODULE]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    return Path(found.strip())


def main() -> int:
    """Builds it: `python -m tests.cluster.keda.run`."""
    try:
        module_binaries(HERE, PACKAGES, lambda line: print(line, file=sys.stderr, flush=True))
    except Unavailable as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
