"""Publishes what the objects of resource tasks say of their progress: changes only, and only the latest of a task."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.core.tasks.resource import Progress, progress_message
from heed.errors import BusUnavailable, HeedError
from heed.util.backoff import Backoff
from heed.util.clock import timestamp

log = logging.getLogger("heed.resources")
PROGRESS_INTERVAL_S: Final = 1.0  # seconds between two events of one task at least
PROGRESS_BACKOFF: Final = Backoff(first_s=0.5, last_s=15.0)
PublishEvent = Callable[[str, Event], Awaitable[object]]  # subject and event


class ProgressPublisher:
    """The progress of one Agent's tasks."""

    def __init__(self, agent: AgentRef, publish: PublishEvent) -> None:
        self._agent, self._publish = agent, publish
        self._latest: dict[str, Progress] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}

    def note(self, attempt_id: str, progress: Progress) -> None:
        """Publish a task's progress unless it is what was said last."""
        before = self._latest.get(attempt_id)
        if before is not None and before.value == progress.value:
            return
        self._latest[attempt_id] = progress
        if attempt_id not in self._publishing:
            self._publishing[attempt_id] = asyncio.create_task(self._publish_latest(attempt_id))

    def forget(self, attempt_id: str) -> None:
        """A task has ended: what was not published yet is of no interest."""
        self._latest.pop(attempt_id, None)
        if (publishing := self._publishing.pop(attempt_id, None)) is not None:
            publishing.cancel()

    def close(self) -> None:
        """Stop."""
        for attempt_id in list(self._publishing):
            self.forget(attempt_id)

    async def _publish_latest(self, attempt_id: str) -> None:
        said: Progress | None = None
        failures = 0
        while (progress := self._latest[attempt_id]) is not said:
            try:
                await self._publish(*progress_message(self._agent, attempt_id, progress, timestamp()))
            except BusUnavailable:
                failures += 1
                await asyncio.sleep(PROGRESS_BACKOFF.delay(failures))
                continue
            except HeedError as error:
                log.warning("cannot publish progress", extra={"task": attempt_id, "error": str(error)})
            said, failures = progress, 0
            await asyncio.sleep(PROGRESS_INTERVAL_S)
        del self._publishing[attempt_id]
