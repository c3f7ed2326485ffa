"""The chart as `helm template` renders it, for tests: values in, manifests out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.helm import helm

CHART = Path(__file__).parents[2] / "charts" / "heed"
RELEASE, NAMESPACE = "heed", "system"
Manifest = dict[str, Any]


class Refused(Exception):
    """Helm refused the values; the message is what it wrote."""


class Manifests:
    """What a release consists of: `manifests["Deployment"]`, or `manifests["Service", "heed-nats"]`."""

    def __init__(self, documents: list[Manifest]) -> None:
        self._documents = documents

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._documents)

    def __getitem__(self, key: str | tuple[str, str]) -> Manifest:
        kind, name = (key, None) if isinstance(key, str) else key
        (found,) = (
            item
            for item in self._documents
            if item["kind"] == kind and name in (None, item["metadata"]["name"])
        )
        return found

    def __contains__(self, key: str | tuple[str, str]) -> bool:
        kind, name = (key, None) if isinstance(key, str) else key
        return any((kind, name or which) == (kind_, which) for kind_, which in self.names())

    def names(self) -> set[tuple[str, str]]:
        """Kind and name of each."""
        return {(item["kind"], item["metadata"]["name"]) for item in self._documents}

    def pod(self, key: str | tuple[str, str] = "Deployment") -> Manifest:
        """The pod's spec, of a workload or of the pod itself."""
        spec: Manifest = self[key]["spec"]
        return spec["template"]["spec"] if "template" in spec else spec

    def environment(self, key: str | tuple[str, str] = "Deployment") -> dict[str, Any]:
        """Of the only container: name to value, or to `valueFrom`."""
        (container,) = self.pod(key)["containers"]
        names = [item["name"] for item in container["env"]]
        assert len(names) == len(set(names)), f"twice: {names}"
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}

    def files(self, key: str | tuple[str, str] = "Deployment") -> dict[str, tuple[str, str]]:
        """Of the only container: path to (object, key), for every file from a Secret or a ConfigMap."""
        pod = self.pod(key)
        (container,) = pod["containers"]
        folders = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        found = {}
        for volume in pod["volumes"]:
            source = volume.get("secret") or volume.get("configMap") or {}
            for item in source.get("items", ()):
                path = f"{folders[volume['name']]}/{item['path']}"
                found[path] = (source.get("secretName") or source["name"], item["key"])
        return found


Render = Callable[..., Manifests]


def render(*sets: str, values: Mapping[str, Any] | None = None, hooks: bool = False) -> Manifests:
    """The release `heed` in the namespace `system`: `render("log.level=debug")`. Raises Refused, Unavailable."""
    text = _template(sets, yaml.safe_dump(dict(values or {})), hooks)
    return Manifests(
        list(yaml.load_all(text, yaml.CSafeLoader))
    )  # the other loader takes a second for the CRDs


def notes(*sets: str) -> str:
    """What `helm install` prints at the end."""
    arguments = [item for value in sets for item in ("--set", value)]
    command = [str(helm()), "install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout.partition("\nNOTES:\n")[2]


@cache
def _template(sets: tuple[str, ...], values: str, hooks: bool) -> str:
    arguments = [item for value in sets for item in ("--set", value)]
    command = [str(helm()), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    command += [] if hooks else ["--skip-tests"]
    done = subprocess.run([*command, *arguments], input=values, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout
