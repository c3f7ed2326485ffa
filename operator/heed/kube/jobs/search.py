"""Looks up Jobs that no watch shows, by name: one search per attempt of a task, with backoff."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from heed.core.effects import AgentRef
from heed.errors import TaskUnavailable
from heed.util.backoff import Backoff

log = logging.getLogger("heed.jobs")
SEARCH_BACKOFF = Backoff(first_s=5.0, last_s=60.0)


class JobSearches:
    """The searches of one Agent. `look` returns whether to look again; it raises TaskUnavailable to retry."""

    def __init__(self, agent: AgentRef, look: Callable[[str], Awaitable[bool]]) -> None:
        self._agent, self._look = agent, look
        self._searches: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def begin(self, attempt_id: str) -> None:
        """Look up a task's Job now, and repeat while needed. Restarts a search in flight."""
        self._begin(attempt_id, 0)

    def continue_search(self, attempt_id: str) -> None:
        """Continue after a lookup elsewhere, unless a search is in flight."""
        if attempt_id not in self._searches:
            self._begin(attempt_id, 1)

    def close(self) -> None:
        """Stop, for good."""
        self._closed = True
        for search in self._searches.values():
            search.cancel()

    def _begin(self, attempt_id: str, looks: int) -> None:
        if self._closed:
            return
        if (before := self._searches.pop(attempt_id, None)) is not None:
            before.cancel()
        search = self._searches[attempt_id] = asyncio.create_task(self._search(attempt_id, looks))
        search.add_done_callback(lambda done: self._forget(attempt_id, done))

    def _forget(self, attempt_id: str, done: asyncio.Task[None]) -> None:
        if self._searches.get(attempt_id) is done:
            del self._searches[attempt_id]

    async def _search(self, attempt_id: str, looks: int) -> None:
        """`looks` is how many there have been already."""
        while True:
            await asyncio.sleep(SEARCH_BACKOFF.delay(looks))
            try:
                if not await self._look(attempt_id):
                    return
            except TaskUnavailable as error:
                log.warning("cannot read a job", extra={"agent": str(self._agent), "error": str(error)})
                looks = 1
            else:
                looks += 1
