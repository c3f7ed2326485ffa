"""Kinds of objects as the API server serves them: the path of one, and whether there is such a kind at all."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.core.tasks.resource import REASON_KIND_UNKNOWN, ObjectKind
from heed.errors import TaskRefused, TaskUnavailable
from heed.kube.client.client import ApiError, KubeApi
from heed.util.clock import loop_time

KIND_VALID_S: Final = 60.0  # seconds that the answer about a kind counts
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REASON_CLUSTER_SCOPED: Final = "ClusterScoped"
_GROUP: Final = re.compile(r"([a-z0-9][-a-z0-9.]{0,252})?")
_VERSION: Final = re.compile(r"v[a-z0-9]{1,62}")


@dataclass(frozen=True, slots=True)
class ServedKind:
    """A namespaced kind that the API server serves under a name in paths."""

    kind: ObjectKind
    plural: str

    def path(self, namespace: str | None, name: str = "") -> str:
        """The API path of one object, of a namespace's objects, or of all."""
        root = _api_path(self.kind)
        within = f"/namespaces/{namespace}" if namespace is not None else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")

    @property
    def resource(self) -> str:
        """As RBAC's messages name it: workflows.argoproj.io."""
        return f"{self.plural}.{self.kind.group}" if self.kind.group else self.plural


class KindCache:
    """What the API server serves, asked by group and version, and kept for a minute."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._served: dict[ObjectKind, tuple[float, ServedKind]] = {}
        self._watchable: dict[tuple[ServedKind, str], float] = {}

    async def find(self, kind: ObjectKind) -> ServedKind:
        """The kind as it is served. Raises TaskRefused where it certainly is not, TaskUnavailable."""
        found = self._served.get(kind)
        if found is None or loop_time() - found[0] > KIND_VALID_S:
            self._served.pop(kind, None)
            found = self._served[kind] = loop_time(), await self._ask(kind)
        return found[1]

    async def may_watch(self, served: ServedKind, namespace: str) -> bool:
        """Whether the operator may watch a kind in a namespace; asked once a minute. Raises TaskUnavailable.

        It may create Events and Secrets for its own ends. Only what it may watch, too, was opted in to.
        """
        at = self._watchable.get((served, namespace))
        if at is not None and loop_time() - at <= KIND_VALID_S:
            return True
        wanted = {
            "namespace": namespace,
            "verb": "watch",
            "group": served.kind.group,
            "resource": served.plural,
        }
        try:
            answer = (await self._api.create(ACCESS_REVIEWS, _review(wanted))).body
        except ApiError as error:
            raise TaskUnavailable(f"cannot ask for the right to watch {served.resource}: {error}") from error
        if not (allowed := (answer.get("status") or {}).get("allowed") is True):
            self._watchable.pop((served, namespace), None)
        else:
            self._watchable[served, namespace] = loop_time()
        return allowed

    async def is_served(self, kind: ObjectKind) -> bool:
        """Whether objects of the kind can be created, asked now. Raises TaskUnavailable.

        A CustomResourceDefinition that is being deleted is still served, but not for that.
        """
        self._served.pop(kind, None)
        try:
            await self.find(kind)
        except TaskRefused:
            return False
        return True

    async def _ask(self, kind: ObjectKind) -> ServedKind:
        try:
            resources = (await self._api.get(_api_path(kind))).body.get("resources") or []
        except ApiError as error:
            if error.status != 404:
                raise TaskUnavailable(f"cannot ask for the kinds of {kind.api_version}: {error}") from error
            resources = []
        found = next((item for item in resources if _is_kind(item, kind.kind)), None)
        if found is None:
            message = f"the API server does not serve {kind}; install its CustomResourceDefinition"
            raise TaskRefused(REASON_KIND_UNKNOWN, message)
        if not found.get("namespaced"):
            message = (
                f"{kind} is a kind of the whole cluster; a task creates objects of its own namespace only"
            )
            raise TaskRefused(REASON_CLUSTER_SCOPED, message)
        return ServedKind(kind, str(found["name"]))


def _review(wanted: Mapping[str, str]) -> dict[str, Any]:
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    return {**kind, "spec": {"resourceAttributes": dict(wanted)}}


def _is_kind(resource: Mapping[str, Any], kind: str) -> bool:
    """Whether an item of an APIResourceList is of a kind, no subresource, and lets objects be created."""
    named = resource.get("kind") == kind and "/" not in str(resource.get("name"))
    return named and "create" in (resource.get("verbs") or ())


def _api_path(kind: ObjectKind) -> str:
    """The API path of a group and version. Raises TaskRefused for what can be none: it may come from a status."""
    if not _VERSION.fullmatch(kind.version) or not _GROUP.fullmatch(kind.group):
        raise TaskRefused(REASON_KIND_UNKNOWN, f"{kind.api_version!r} is no apiVersion; write it as batch/v1")
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
