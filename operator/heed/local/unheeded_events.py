"""Watches the stream for events that no Agent heeds, which are often typing mistakes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from heed import names
from heed.bus.jetstream import JetStreamBus
from heed.core.compiler.audience import Listener, explain_unheeded
from heed.core.events import Event, Received
from heed.errors import BusUnavailable, ReaderLost, StreamMissing, StreamReplaced
from heed.local.console import Console

UNHEEDED_BATCH = 200
UNHEEDED_READ_TIMEOUT_S = 1.0  # seconds for an event to come; one that comes is read at once
RETRY_DELAY_S: Final = 1.0  # after the reader was lost


async def watch_unheeded(
    bus: JetStreamBus,
    namespaces: Iterable[str] | None,
    listeners: Callable[[], Sequence[Listener]],
    console: Console,
    after: int,
    since: str,
) -> None:
    """Report every event after a sequence that no running Agent heeds, until cancelled.

    `namespaces` None: of all. What the Agents themselves emit may be for others.
    """
    subjects = [f"heed.{kind}.{space}.>" for space in namespaces or "*" for kind in ("events", "inbox")]
    while True:
        try:
            reader = await bus.open(subjects, after, since)
            try:
                while True:
                    for received in await reader.read(UNHEEDED_BATCH, UNHEEDED_READ_TIMEOUT_S):
                        _tell(received, listeners(), console)
                        after = received.sequence
            finally:
                await reader.close()
        except (StreamReplaced, StreamMissing):
            after = 0
        except (ReaderLost, BusUnavailable):
            pass
        await asyncio.sleep(RETRY_DELAY_S)


def _tell(received: Received, listeners: Sequence[Listener], console: Console) -> None:
    event = received.event
    if isinstance(event, Event) and (agent := names.agent_of_source(event.source)) is not None:
        if agent in [(item.namespace, item.name) for item in listeners]:
            return
    if (why := explain_unheeded(listeners, received.subject)) is not None:
        console.unheeded(received, why)
