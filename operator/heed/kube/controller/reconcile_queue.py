"""The work queue of Agents: each is reconciled by one task at a time, with the latest that is known of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from heed.errors import HeedError
from heed.util.aio import stop

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Name = tuple[str, str]
RETRY_DELAY_S: Final = 5.0


class ReconcileQueue:
    """Calls `reconcile` with names and objects; None: it was deleted. What fails is tried again."""

    def __init__(self, reconcile: Callable[[Name, Body | None], Awaitable[None]]) -> None:
        self._reconcile = reconcile
        self._latest: dict[Name, Body | None] = {}
        self._working: dict[Name, asyncio.Task[None]] = {}

    def put(self, name: Name, body: Body | None) -> None:
        """Reconcile an object soon."""
        self._latest[name] = body
        if name not in self._working:
            self._working[name] = asyncio.ensure_future(self._work(name))

    def put_again(self, name: Name, body: Body) -> "asyncio.Task[None]":
        """Reconcile an object soon. Returns the task that does."""
        self.put(name, body)
        return self._working[name]

    def has_newer(self, name: Name) -> bool:
        """Whether something newer is known than what is being reconciled."""
        return name in self._latest

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(stop(task) for task in list(self._working.values())))

    async def _work(self, name: Name) -> None:
        try:
            while name in self._latest:
                await self._reconcile_once(name, self._latest.pop(name))
        finally:
            del self._working[name]  # without a turn of others since the last look at what is new

    async def _reconcile_once(self, name: Name, body: Body | None) -> None:
        try:
            await self._reconcile(name, body)
        except Exception as error:  # a bug, too: an Agent must not stay as it was for ever
            extra = {"agent": "/".join(name), "error": str(error)}
            log.warning("cannot reconcile", extra=extra, exc_info=not isinstance(error, HeedError))
            self._latest.setdefault(name, body)
            await asyncio.sleep(RETRY_DELAY_S)
