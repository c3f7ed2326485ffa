"""Publishers: several at once, each on a connection of its own, each trying until the broker has taken its message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import nats
import nats.errors
from nats.aio.client import Client

from tests.faults.script import Sending

PATIENCE = 2.0  # seconds for one acknowledgement
PAUSE = 0.1


class Publishers:
    """They publish a script, as far as it is released, and so fast and no faster. Who comes first is chance."""

    def __init__(self, url: str, script: Sequence[Sending], number: int, rate: float) -> None:
        self.published = 0  # acknowledged; a message tried twice may stand in the stream twice
        self.tried_again = 0
        self._url, self._script, self._number = url, script, number
        self._pause = number / rate
        self._next = 0
        self._released = 0
        self._more = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether everything released has been published."""
        return self.published >= self._released

    def release(self, up_to: int) -> None:
        """Let them go on to this place of the script."""
        self._released = min(up_to, len(self._script))
        self._more.set()

    def hurry(self) -> None:
        """Publish what is left as fast as can be."""
        self._pause = 0.0

    async def run(self) -> None:
        """Publish for ever, or rather until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._number):
                group.create_task(self._publish())

    async def _publish(self) -> None:
        client = await nats.connect(
            self._url, max_reconnect_attempts=-1, reconnect_time_wait=PAUSE, error_cb=_ignored
        )
        try:
            while True:
                while self._next >= self._released:
                    self._more.clear()
                    await self._more.wait()
                sending = self._script[self._next]
                self._next += 1
                await self._until_taken(client, sending)
                self.published += 1
                await asyncio.sleep(self._pause)
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()

    async def _until_taken(self, client: Client, sending: Sending) -> None:
        while True:
            try:
                await client.jetstream().publish(
                    sending.subject, sending.payload, timeout=PATIENCE, headers=sending.headers or None
                )
                return
            except (nats.errors.Error, OSError):
                self.tried_again += 1
                await asyncio.sleep(PAUSE)


async def _ignored(_: Exception) -> None:
    """The broker is killed all the time."""
