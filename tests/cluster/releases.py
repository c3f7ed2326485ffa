"""helm against the control plane, for stories about what installing, upgrading and uninstalling leave and keep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster.controlplane.api import Api
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.helm import helm

CHART = Path(__file__).parents[2] / "charts" / "heed"


class HelmError(Exception):
    """helm ended with an error; the message is the command and what it wrote."""


class Helm:
    """The real helm on a control plane; a copy of the chart that a story may change."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane, self._folder = plane, folder
        self._installed: set[tuple[str, str]] = set()
        self.as_helm_3 = (
            False  # which merges its last manifest, the new one and what is there, and sends what differs
        )
        self.chart = folder / "chart"
        shutil.copytree(CHART, self.chart)

    def install(self, release: str, namespace: str, *sets: str, take_ownership: bool = False) -> None:
        """A new release, in a namespace that is made where it is missing. Raises HelmError."""
        self._installed.add((release, namespace))
        more = ["--create-namespace", *(["--take-ownership"] if take_ownership else [])]
        self._run("install", release, str(self.chart), "-n", namespace, *more, *self._options(sets))

    def upgrade(self, release: str, namespace: str, *sets: str) -> None:
        """To the values given, and the chart as it is now. Raises HelmError."""
        self._run("upgrade", release, str(self.chart), "-n", namespace, *self._options(sets))

    def uninstall(self, release: str, namespace: str) -> None:
        """Remove a release. Raises HelmError."""
        self._installed.discard((release, namespace))
        self._run("uninstall", release, "-n", namespace)

    def hooks(self, release: str, namespace: str) -> list[dict[str, Any]]:
        """What the release makes while something is done to it, such as `helm test`."""
        return list(yaml.safe_load_all(self._run("get", "hooks", release, "-n", namespace)))

    def close(self) -> None:
        """Remove the releases that a story has left, also failed ones."""
        for release, namespace in tuple(self._installed):
            self.uninstall(release, namespace)

    def _options(self, sets: tuple[str, ...]) -> list[str]:
        chosen = (
            ["--server-side=false"] if self.as_helm_3 and "v3." not in self._run("version", "--short") else []
        )
        return chosen + [item for value in sets for item in ("--set", value)]

    def _run(self, *arguments: str) -> str:
        home = {f"HELM_{name}_HOME": str(self._folder / name) for name in ("CACHE", "CONFIG", "DATA")}
        environment = os.environ | home | {"KUBECONFIG": str(self._plane.kubeconfig)}
        done = subprocess.run(
            [helm(), *arguments], capture_output=True, text=True, timeout=120, env=environment
        )
        if done.returncode != 0:
            raise HelmError(f"helm {' '.join(arguments)}: {done.stderr}")
        return done.stdout


def environment_of(pod: Mapping[str, Any]) -> dict[str, str]:
    """The plain variables of a pod's only container."""
    (container,) = pod["containers"]
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def run_test_pod(
    pod: Mapping[str, Any], account: Api, folder: Path, more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What the pod of `helm test` runs, with its account in a folder, and addresses that are this machine's."""
    (folder / "token").write_text(account.token)
    (folder / "ca.crt").write_bytes(account.authority.read_bytes())
    server = urlsplit(account.server)
    environment = {
        **environment_of(pod),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "HEED_TEST_ACCOUNT": str(folder),
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        **more,
    }
    (container,) = pod["containers"]
    command = [sys.executable, *container["command"][1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment)
