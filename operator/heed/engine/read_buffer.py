"""Prefetch: what a reader returned and is not decided yet.

At most one read is under way, and it is never cut off, since it may hold messages.
"""

import asyncio
from collections import deque
from typing import Any

from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.ports import Reader
from heed.util.aio import stop

READ_BATCH = 500
READ_TIMEOUT_S = 60.0  # seconds that one read may wait for a message


class ReadBuffer:
    """A queue that fills itself from a reader. A read that fails raises from `take_arrived`."""

    def __init__(self, reader: Reader) -> None:
        self.unread: deque[Received] = deque()
        self._reader = reader
        self._reading = self._read()

    @property
    def created(self) -> str:
        """When the stream that is read was created."""
        return self._reader.created

    @property
    def floor(self) -> int:
        """The sequence before the first message that could still be read."""
        return self._reader.floor

    @property
    def pending(self) -> int:
        """How many messages are still to be read, as far as is known."""
        return self._reader.pending

    def release(self, ledger: Ledger, *, ahead: bool) -> None:
        """Release what a durable ledger covers. `ahead`: only the inbox is read."""
        cursor = ledger.cursor
        self._reader.release(cursor.inbox or 0 if ahead else cursor.sequence)

    async def reached(self) -> int:
        """A sequence up to which everything is in `unread`, or was. Raises ReaderLost, BusUnavailable."""
        return await self._reader.reached()

    def _read(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        self.unread.extend(await self._reader.read(READ_BATCH, READ_TIMEOUT_S))

    def take_arrived(self) -> bool:
        """Whether there is something to decide. Starts the next read once the last one is done, and raises its error.

        As long as there is a whole read to decide, no further one begins: a backlog stays in the stream.
        """
        if self._reading.done() and len(self.unread) < READ_BATCH:
            if self.unread and self._reading.exception() is not None:
                return True  # what came before the reader was lost is none the worse for it
            self._reading.result()
            self._reading = self._read()
        return bool(self.unread)

    def check(self) -> None:
        """Raise the error of a read that failed, whatever came before it. Raises ReaderLost."""
        if self._reading.done():
            self._reading.result()

    def _is_stalled(self) -> bool:
        """Whether no read begins before something is decided."""
        if not (self._reading.done() and self.unread):
            return False
        return len(self.unread) >= READ_BATCH or self._reading.exception() is not None

    async def wait(
        self,
        timeout: float | None = None,
        wake: asyncio.Event | None = None,
        until: "asyncio.Task[None] | None" = None,
    ) -> None:
        """Wait for a read, a timeout in seconds, `wake`, or a task, whichever comes first."""
        waking = asyncio.create_task(wake.wait()) if wake else None
        reading = None if self._is_stalled() else self._reading
        tasks: set[asyncio.Task[Any]] = {task for task in (reading, waking, until) if task is not None}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(timeout or 0)
        finally:
            if waking:
                waking.cancel()

    async def close(self) -> None:
        """Stop reading. What was not decided is read again from the cursor."""
        await stop(self._reading)
        await self._reader.close()
