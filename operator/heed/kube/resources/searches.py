"""Searches under way for one Agent's objects, each by what it looks for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from heed.core.effects import AgentRef

log = logging.getLogger("heed.resources")


class Searches:
    """Background tasks by key. Once closed, none begins."""

    def __init__(self, agent: AgentRef) -> None:
        self._agent, self._closed = agent, False
        self.under_way: dict[str, asyncio.Task[None]] = {}

    def begin(self, key: str, looking: Coroutine[Any, Any, None]) -> None:
        """Begin a search; an earlier one of its key is not ended."""
        if self._closed:
            looking.close()
            return
        search = self.under_way[key] = asyncio.create_task(looking)
        search.add_done_callback(lambda done: self._ended(key, done))

    def close(self) -> None:
        """End all."""
        self._closed = True
        for search in self.under_way.values():
            search.cancel()

    def _ended(self, key: str, done: "asyncio.Task[None]") -> None:
        if self.under_way.get(key) is done:
            del self.under_way[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("a search failed", extra={"agent": str(self._agent)}, exc_info=error)
