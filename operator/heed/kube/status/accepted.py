"""What the operator says of policies, grants and types: their condition `Accepted`.

It is the only writer of their status, so what was seen is what a write is based on, fenced by its version. Reading them
one by one is no right of the operator's: where somebody else was faster, the watch brings what they made of it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.conditions import MAX_CONDITION_CHARS, Condition, set_condition
from heed.kube.client.client import ApiError, KubeApi, objects_path
from heed.kube.status.ready import version
from heed.util.aio import stop
from heed.util.backoff import Backoff
from heed.util.clock import timestamp

log = logging.getLogger("heed.rules")
Body = Mapping[str, Any]
ACCEPTED: Final = "Accepted"
AT_ONCE: Final = 8  # writes of all of them together
WRITE_BACKOFF = Backoff(first_s=1.0, last_s=30.0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an object counts. `reason` is CamelCase for machines: Accepted, Invalid or Conflict."""

    accepted: bool
    reason: str
    message: str


@dataclass(slots=True)
class _Wanted:
    """An object as it was last seen, without its spec, and what is to be said of it."""

    path: str
    seen: Body
    judgement: Judgement


def judged(body: Body, judgement: Judgement, at: str) -> dict[str, Any] | None:
    """The members of an object's status that a judgement changes, at a time (RFC 3339). None: nothing."""
    old, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    condition = Condition(
        type=ACCEPTED,
        status="True" if judgement.accepted else "False",
        reason=judgement.reason,
        message=judgement.message[:MAX_CONDITION_CHARS],
        last_transition_time=at[:19] + "Z",
        observed_generation=generation,
    )
    new: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": set_condition(old.get("conditions") or [], condition),
    }
    return new if any(old.get(key) != value for key, value in new.items()) else None


class Accepting:
    """Writes what is to be said of each object until it is there. Of those that need no write nothing is kept.

    `wrote` is shown each object as it is after a write.
    """

    def __init__(self, api: KubeApi, wrote: Callable[[Body], None]) -> None:
        self._api, self._wrote = api, wrote
        self._wanted: dict[str, _Wanted] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def say(self, plural: str, body: Body, judgement: Judgement) -> None:
        """This is to be said of an object, seen as `body`. The judgement of an earlier call is void."""
        metadata = body["metadata"]
        uid, before = metadata["uid"], self._wanted.get(metadata["uid"])
        if before is not None and version(body) < version(before.seen):
            body = before.seen
        if judged(body, judgement, timestamp()) is None:
            self._wanted.pop(uid, None)
            return
        path = f"{objects_path(plural, metadata['namespace'])}/{metadata['name']}/status"
        self._wanted[uid] = _Wanted(path, body, judgement)
        if uid not in self._writers:
            self._writers[uid] = asyncio.create_task(self._write(uid))

    def forget(self, uid: str) -> None:
        """An object is gone."""
        self._wanted.pop(uid, None)

    async def close(self) -> None:
        """Stop."""
        self._wanted.clear()
        await asyncio.gather(*(stop(writer) for writer in list(self._writers.values())))

    async def _write(self, uid: str) -> None:
        failures = 0
        try:
            while (wanted := self._wanted.get(uid)) is not None:
                try:
                    await self._write_once(uid, wanted)
                    failures = 0
                except Exception as error:  # also a mistake of ours: it must not end what is to be said later
                    if isinstance(error, ApiError) and error.status == 404:
                        self.forget(uid)
                        return
                    failures += 1
                    delay = WRITE_BACKOFF.delay(failures)
                    _complain(wanted, error, delay)
                    await asyncio.sleep(delay)
        finally:
            self._writers.pop(uid, None)  # without a turn of others since the last look at what is wanted

    async def _write_once(self, uid: str, wanted: _Wanted) -> None:
        """Raises ApiError, 409 where somebody else has written since."""
        async with self._room:
            status = judged(wanted.seen, wanted.judgement, timestamp())
            if status is not None and self._wanted.get(uid) is wanted:
                fence = {"uid": uid, "resourceVersion": wanted.seen["metadata"]["resourceVersion"]}
                answer = await self._api.merge(wanted.path, {"metadata": fence, "status": status})
                self._wrote(answer.body)
        if self._wanted.get(uid) is wanted:
            del self._wanted[uid]


def _complain(wanted: _Wanted, error: Exception, delay: float) -> None:
    if isinstance(error, ApiError) and error.status == 409:
        return  # the watch is about to show what was written
    extra = {"object": wanted.path.removesuffix("/status"), "reason": wanted.judgement.reason}
    extra |= {"error": str(error), "retry_in": str(delay)}
    log.warning("cannot write the condition Accepted", extra=extra, exc_info=not isinstance(error, ApiError))
