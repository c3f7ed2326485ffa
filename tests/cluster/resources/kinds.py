"""Kinds that the stories about resource tasks create, and how a test plays their controllers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.patience import PATIENCE

GROUP = "heed-test.example.com"
# What the operator of the tests may create: tasks.resources of the chart.
CREATABLE: list[dict[str, Any]] = [
    {"group": GROUP, "resources": ["widgets", "gadgets"]},
    {"group": "batch", "resources": ["jobs"]},
    {"group": "argoproj.io", "resources": ["workflows"]},
    {"group": "tekton.dev", "resources": ["taskruns"]},
    {"group": "ray.io", "resources": ["rayjobs"]},
]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(plural: str, kind: str, scope: str = "Namespaced") -> dict[str, Any]:
    """A CustomResourceDefinition that takes any spec with a size, and any status."""
    size = {"type": "integer", "minimum": 0}
    spec = {"type": "object", "properties": {"size": size}}
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def install(plane: ControlPlane, crd: dict[str, Any]) -> None:
    """Install a kind, until it can be used; one that is there stays."""
    with suppress(ApiError):  # it is there
        plane.admin.post(CRDS, crd)
    name = crd["metadata"]["name"]
    spec = crd["spec"]
    served = next(item["name"] for item in spec["versions"] if item["storage"])
    path = f"/apis/{spec['group']}/{served}/{spec['names']['plural']}"

    def listed() -> bool:
        with suppress(ApiError, OSError):  # 404, and then 429 until its storage is there
            return plane.admin.get(path)["items"] is not None
        return False

    eventually(listed, PATIENCE, what=f"{name}, served")


class Objects:
    """The objects of one kind in a namespace, and their controller's part."""

    def __init__(self, api: Api, namespace: str, api_version: str, plural: str) -> None:
        self._api = api
        self._path = f"/apis/{api_version}/namespaces/{namespace}/{plural}"

    def all(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._api.get(self._path)["items"]
        return items

    def one(self) -> dict[str, Any]:
        """The only one, once it is there."""
        return eventually(lambda: next(iter(self.all()), None), PATIENCE, what="an object")

    def none(self) -> None:
        """Until there is none."""
        eventually(lambda: not self.all(), PATIENCE, what="no object")

    def report(self, body: dict[str, Any], *, subresource: bool = True, **status: Any) -> dict[str, Any]:
        """What the object's controller would write."""
        path = f"{self._path}/{body['metadata']['name']}" + ("/status" if subresource else "")
        reported: dict[str, Any] = self._api.patch(path, {"status": status})
        return reported

    def delete(self, body: dict[str, Any]) -> None:
        self._api.delete(f"{self._path}/{body['metadata']['name']}")
