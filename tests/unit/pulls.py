"""A reader's consumer at a broker that the test plays: what is asked of the server, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed.bus.client.flow_control import MAX_REQUEST_BYTES, READ_AHEAD_BYTES
from heed.bus.consumer.pull import PullConsumer, PulledMessage
from heed.errors import ReaderLost
from tests.unit.inmemory import turns
from tests.unit.wire import API, CONSUMER, STREAM, Wire, consumer

NEXT = f"{API}CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}"
SECOND = 1_000_000_000
WANTED = {"filter_subjects": ["heed.events.>"], "deliver_policy": "all"}


class Reading:
    """A pull, and the wire that it is on."""

    def __init__(self, wire: Wire, pull: PullConsumer) -> None:
        self.wire, self.pull = wire, pull
        self.taking: asyncio.Task[list[PulledMessage]] | None = None

    async def wait(self, limit: int = 100, timeout: float = 60.0) -> None:
        """Somebody waits for arrivals, instead of who did before."""
        if self.taking is not None:
            self.taking.cancel()
        self.taking = asyncio.create_task(self.pull.take(limit, timeout))
        await turns()

    async def waiting(self, limit: int = 100, timeout: float = 60.0) -> asyncio.Task[list[PulledMessage]]:
        """The same, and the task in which it is done."""
        await self.wait(limit, timeout)
        assert self.taking is not None
        return self.taking

    async def take(self, limit: int = 100) -> list[PulledMessage]:
        """What there is to take now."""
        taking = await self.waiting(limit)
        assert taking.done()
        return taking.result()

    async def deliver(self, first: int, end: int, of: int) -> None:
        """The consumer delivers its messages from the one number to before the other; it has so many in all."""
        for number in range(first, end):
            await self.wire.message(self.pull.floor + number, number, of - number, settle=False)
        await turns()

    @property
    def asked(self) -> list[Any]:
        """The requests that the server has got so far."""
        found = self.wire.asked("CONSUMER.MSG.NEXT")
        assert all(item.subject == NEXT and item.reply == self.inbox for item in found)
        return [item.body for item in found]

    @property
    def inbox(self) -> str:
        """Where it listens."""
        [inbox] = self.wire.library.listening
        return inbox

    def why(self) -> str:
        """Why it is lost."""
        with pytest.raises(ReaderLost) as lost:
            self.pull.check()
        return str(lost.value).removeprefix(f"reader of stream {STREAM}: ")


def news(wire: Wire) -> dict[str, int]:
    """A request that waits for news."""
    return {"batch": 500, "max_bytes": wire.credits.standing(), "expires": 30 * SECOND}


def turn(batch: int, size: int = MAX_REQUEST_BYTES) -> dict[str, int]:
    """A request for what is known to be there."""
    return {"batch": batch, "max_bytes": size, "expires": 2 * SECOND}


@asynccontextmanager
async def reading_of(
    pending: int = 0, floor: int = 0, read_ahead: int = READ_AHEAD_BYTES
) -> AsyncIterator[Reading]:
    """A reader whose consumer has so many messages to deliver, after a place."""
    wire = Wire({"CONSUMER.CREATE": consumer(pending, floor)}, read_ahead=read_ahead)
    made = Reading(wire, await PullConsumer.open(wire, STREAM, WANTED))
    yield made
    await made.pull.close()
    if made.taking is not None:
        await asyncio.gather(made.taking, return_exceptions=True)
