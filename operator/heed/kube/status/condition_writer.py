"""The writer of conditions: one task per changed object, bounded concurrency, retries with backoff.

Like a work queue with a rate limiter by key. Each write is fenced by uid and resourceVersion (compare-and-swap), so it
never undoes what somebody else wrote. What a condition says, and that nothing is written where nothing changes, is the
business of `ready` and `accepted`.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from heed.kube.client.client import ApiError, KubeApi
from heed.util.aio import stop
from heed.util.backoff import Backoff

K = TypeVar("K", bound=Hashable)
W = TypeVar("W")
WRITE_BACKOFF = Backoff(first_s=1.0, last_s=30.0)


class ConditionWriter(ABC, Generic[K, W]):
    """Writes the changes of each object, by key, until none are left. A subclass says what they are."""

    def __init__(self, api: KubeApi, type_: str, max_concurrent_writes: int, log: logging.Logger) -> None:
        self._api, self._type, self._log = api, type_, log
        self._writers: dict[K, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(max_concurrent_writes)

    def schedule(self, key: K) -> None:
        """Schedule a check of an object for changes."""
        if key not in self._writers and self._find_wanted(key) is not None:
            self._writers[key] = asyncio.create_task(self._reconcile(key))

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(self._stop(key) for key in list(self._writers)))

    @abstractmethod
    def _find_wanted(self, key: K) -> W | None:
        """The change to write to an object, or None."""

    @abstractmethod
    async def _write(self, key: K, wanted: W) -> bool:
        """Write a change if it is still due. Returns False where the object is gone. Raises ApiError."""

    @abstractmethod
    def _log_fields(self, key: K, wanted: W) -> dict[str, Any]:
        """The log fields of a write."""

    def _pause(self, key: K, wanted: W) -> float:
        """Seconds until the object may be written again."""
        return 0.0

    def _gone(self, key: K) -> None:
        """Note that the object was deleted."""

    def _recovered(self, key: K) -> None:
        """Note that writes to an object succeed again."""

    def _failed(self, key: K, wanted: W, error: Exception, delay: float) -> None:
        """Note a failed write, which is retried after `delay` seconds."""
        extra = self._log_fields(key, wanted) | {"error": str(error), "retry_in": delay}
        mistake = not isinstance(error, ApiError)
        self._log.warning(f"cannot write the condition {self._type}", extra=extra, exc_info=mistake)

    async def _stop(self, key: K) -> None:
        if (writer := self._writers.get(key)) is not None:
            await stop(writer)
            self._writers.pop(key, None)  # it may not even have begun

    async def _merge(
        self, path: str, base: Mapping[str, Any], status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The object after a write on top of `base`. Raises ApiError, 409 where somebody has written since."""
        fence = {name: base["metadata"][name] for name in ("uid", "resourceVersion")}
        return (await self._api.merge(path, {"metadata": fence, "status": status})).body

    async def _reconcile(self, key: K) -> None:
        failures = 0
        try:
            while (wanted := self._find_wanted(key)) is not None:
                if (pause := self._pause(key, wanted)) > 0:
                    await asyncio.sleep(pause)
                    continue
                try:
                    if not await self._write_in_turn(key, wanted):
                        return
                    self._recovered(key)
                    failures = 0
                except Exception as error:  # a bug, too: it must not stop later writes
                    failures += 1
                    delay = WRITE_BACKOFF.delay(failures)
                    self._failed(key, wanted, error, delay)
                    await asyncio.sleep(delay)
        finally:
            self._recovered(key)
            self._writers.pop(key, None)  # in the same turn as the last look at what is wanted

    async def _write_in_turn(self, key: K, wanted: W) -> bool:
        try:
            async with self._slots:
                there = await self._write(key, wanted)
        except ApiError as error:
            if error.status != 404:
                raise
            there = False
        if not there:
            self._gone(key)
        return there
