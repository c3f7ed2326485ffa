"""Deletes the objects of resource tasks, once their end is in the ledger and their retention is over."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from heed.core.effects import AgentRef
from heed.engine.ports import TaskOwner
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.resources import manifest
from heed.kube.resources.kinds import ServedKind
from heed.util.backoff import Backoff
from heed.util.clock import unix_time

log = logging.getLogger("heed.resources")
DELETION_BACKOFF: Final = Backoff(first_s=1.0, last_s=60.0)
Body = Mapping[str, Any]


class ObjectDeletions:
    """The deletions of one Agent's objects that are to come; the Agent's loop is the `owner` of their tasks."""

    def __init__(self, api: KubeApi, agent: AgentRef, owner: TaskOwner) -> None:
        self._api, self._agent, self._owner = api, agent, owner
        self.pending: dict[str, asyncio.Task[None]] = {}  # by uid

    def schedule(self, attempt_id: str, served: ServedKind, body: Body, grace: float) -> None:
        """Delete an object once its retention is over, in `grace` seconds at least, and its end is in the ledger."""
        uid, at = body["metadata"]["uid"], manifest.delete_after(body)
        if uid not in self.pending and at is not None:
            deletion = self._delete(attempt_id, served, body["metadata"], max(at - unix_time(), grace))
            self.pending[uid] = asyncio.create_task(deletion)

    def forget(self, uid: str) -> None:
        """An object is gone."""
        if (deletion := self.pending.pop(uid, None)) is not None:
            deletion.cancel()

    def close(self) -> None:
        """Delete nothing any more."""
        for deletion in self.pending.values():
            deletion.cancel()

    async def _delete(self, attempt_id: str, served: ServedKind, metadata: Body, delay: float) -> None:
        await asyncio.sleep(delay)
        failures = 0
        while True:
            if not self._owner.waits(attempt_id):
                try:
                    path = served.path(self._agent.namespace, metadata["name"])
                    await self._api.delete(path, metadata["uid"])
                    return
                except ApiError as error:
                    if error.status in (404, 409):
                        return  # it is gone, with or without its kind, or another one has its name
                    extra = {"agent": str(self._agent), "object": metadata["name"], "error": str(error)}
                    log.warning("cannot delete an object", extra=extra)
                    failures += 1
            await asyncio.sleep(DELETION_BACKOFF.delay(failures + 1))
