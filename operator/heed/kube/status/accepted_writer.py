"""Writes the condition `Accepted` of policies, grants and types, see `accepted`.

The operator is the only writer of their status, so what was seen is what a write is based on, fenced by its version.
Reading them one by one is no right of the operator's: where somebody else was faster, the watch brings what they made
of it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.kube.client.client import ApiError, KubeApi, objects_path, resource_version
from heed.kube.status.accepted import ACCEPTED, Judgement, accepted_patch
from heed.kube.status.condition_writer import ConditionWriter
from heed.util.clock import timestamp

Body = Mapping[str, Any]
MAX_CONCURRENT_ACCEPTED_WRITES: Final = 8  # of all of them together


@dataclass(frozen=True, slots=True)
class _WantedJudgement:
    """An object as last seen, without its spec, and the judgement to write."""

    path: str
    seen: Body
    judgement: Judgement


class AcceptedWriter(ConditionWriter[str, _WantedJudgement]):
    """Writes the judgement on each object, by uid. Objects that need no write take no memory.

    `wrote` is shown each object as it is after a write.
    """

    def __init__(self, api: KubeApi, wrote: Callable[[Body], None]) -> None:
        super().__init__(api, ACCEPTED, MAX_CONCURRENT_ACCEPTED_WRITES, logging.getLogger("heed.rules"))
        self._wrote = wrote
        self._wanted: dict[str, _WantedJudgement] = {}

    def set_judgement(self, plural: str, body: Body, judgement: Judgement) -> None:
        """Set the judgement to write on an object. It replaces an earlier one."""
        metadata = body["metadata"]
        uid, before = metadata["uid"], self._wanted.get(metadata["uid"])
        if before is not None and resource_version(body) < resource_version(before.seen):
            body = before.seen
        if accepted_patch(body, judgement, timestamp()) is None:
            self._wanted.pop(uid, None)
            return
        path = f"{objects_path(plural, metadata['namespace'])}/{metadata['name']}/status"
        self._wanted[uid] = _WantedJudgement(path, body, judgement)
        self.schedule(uid)

    def forget(self, uid: str) -> None:
        """An object is gone."""
        self._wanted.pop(uid, None)

    async def close(self) -> None:
        """Stop."""
        self._wanted.clear()
        await super().close()

    def _find_wanted(self, key: str) -> _WantedJudgement | None:
        return self._wanted.get(key)

    async def _write(self, key: str, wanted: _WantedJudgement) -> bool:
        status = accepted_patch(wanted.seen, wanted.judgement, timestamp())
        if status is not None and self._wanted.get(key) is wanted:
            self._wrote(await self._merge(wanted.path, wanted.seen, status))
        if self._wanted.get(key) is wanted:
            del self._wanted[key]
        return True

    def _gone(self, key: str) -> None:
        self.forget(key)

    def _log_fields(self, key: str, wanted: _WantedJudgement) -> dict[str, Any]:
        return {"object": wanted.path.removesuffix("/status"), "reason": wanted.judgement.reason}

    def _failed(self, key: str, wanted: _WantedJudgement, error: Exception, delay: float) -> None:
        """Log a failed write, but not a conflict: the watch shows the new version."""
        if not (isinstance(error, ApiError) and error.status == 409):
            super()._failed(key, wanted, error, delay)
