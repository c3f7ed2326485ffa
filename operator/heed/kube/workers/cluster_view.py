"""Deployments and ReplicaSets of workers as last seen. They are listed and watched once an Agent has a template.

An operator without the right to is so asked nothing as long as no Agent needs it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from heed import names
from heed.kube.client.client import APPS_API, ApiError, KubeApi
from heed.kube.client.informer import Informer
from heed.kube.client.task_metadata import controller_uid
from heed.util.aio import stop

Body = Mapping[str, Any]
Key = tuple[str, str]


class WorkerObjects:
    """The objects of all Agents. `changed` is told the namespace and Agent of each that changes, or () for all."""

    def __init__(
        self, api: KubeApi, watched: str | None, *, secured: bool, changed: Callable[[Key | None], None]
    ) -> None:
        kinds = ("deployments", "replicasets") if secured else ("deployments",)
        self._changed, self._tasks = changed, list[asyncio.Task[None]]()
        self._informers = {
            kind: Informer(api, apps_path(kind, watched), self._observe, _SELECTED, self._failed)
            for kind in kinds
        }
        self._error: ApiError | None = None

    def begin(self) -> None:
        """List and watch, from now on."""
        if not self._tasks:
            self._tasks += [asyncio.create_task(item.run()) for item in self._informers.values()]
            self._tasks.append(asyncio.create_task(self._wait_until_listed()))

    @property
    def is_listed(self) -> bool:
        """Whether all are known."""
        return all(item.synced.is_set() for item in self._informers.values())

    @property
    def error(self) -> ApiError | None:
        """Why they are not known yet, if that was tried."""
        return None if self.is_listed else self._error

    def deployment(self, namespace: str, name: str) -> Body | None:
        """A Deployment."""
        return self._informers["deployments"].objects.get((namespace, name))

    def replica_sets(self, deployment: Body) -> list[Body]:
        """The ReplicaSets that a Deployment controls."""
        if (known := self._informers.get("replicasets")) is None:
            return []
        uid, namespace = deployment["metadata"]["uid"], deployment["metadata"]["namespace"]
        return [
            item
            for (place, _), item in known.objects.items()
            if place == namespace and controller_uid(item, "Deployment") == uid
        ]

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(stop(task) for task in self._tasks))

    async def _wait_until_listed(self) -> None:
        with suppress(asyncio.CancelledError):
            for item in self._informers.values():
                await item.synced.wait()
            self._changed(None)

    def _observe(self, body: Body, deleted: bool) -> None:
        metadata = body["metadata"]
        agent = (metadata.get("labels") or {}).get(names.LABEL_WORKER_OF)
        if agent and self.is_listed:
            self._changed((metadata["namespace"], agent))

    def _failed(self, error: ApiError) -> None:
        self._error = error
        self._changed(None)


def apps_path(kind: str, namespace: str | None, name: str = "") -> str:
    """The API path of a namespace's objects of a kind of apps/v1, of all, or of one."""
    place = f"{APPS_API}/namespaces/{namespace}/{kind}" if namespace else f"{APPS_API}/{kind}"
    return f"{place}/{name}" if name else place


_SELECTED = {"labelSelector": names.LABEL_WORKER_OF}
