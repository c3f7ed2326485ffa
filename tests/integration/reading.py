"""Events that are numbers, sent and read again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, Received
from heed.engine.ports import Reader
from heed.errors import ReaderLost
from tests.integration.waiting import SOON

BEGINNING = "1970-01-01T00:00:00Z"


async def send(bus: JetStreamBus, namespace: str, *numbers: int, type_: str = "a.b") -> list[int]:
    """Publish events with these numbers as data; their sequences."""
    subject = names.event_subject(namespace, type_)
    return [
        await bus.publish(subject, Event(f"{type_}-{number}", "/test", type_, number)) for number in numbers
    ]


def data(received: Sequence[Received]) -> list[object]:
    """The data of events that have to be well-formed."""
    assert all(isinstance(item.event, Event) for item in received), received
    return [item.event.data for item in received if isinstance(item.event, Event)]


async def collect(reader: Reader, count: int) -> list[Received]:
    """Read until there are `count` messages."""
    result: list[Received] = []
    async with asyncio.timeout(SOON):
        while len(result) < count:
            result += await reader.read(100, SOON)
    return result


async def read_until_lost(reader: Reader, patience: float = SOON) -> tuple[list[Received], str]:
    """What a reader hands out before it is lost, and why it is."""
    found: list[Received] = []
    async with asyncio.timeout(SOON):
        try:
            while True:
                found += await reader.read(3, patience)
        except ReaderLost as lost:
            return found, str(lost)


def encoded(number: int) -> tuple[bytes, str, dict[str, str]]:
    """Payload, reply and headers of an event that is a number."""
    headers = {"ce-id": str(number), "ce-source": "/test", "ce-type": "a.b", "ce-specversion": "1.0"}
    return str(number).encode(), "", headers


def after_the_consumer(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, act: Callable[[Connection], Awaitable[object]]
) -> None:
    """Do something right after the next consumer was made, before whoever made it does anything else."""
    api = Connection.api

    async def patched(self: Connection, subject: str, request: Any = None) -> dict[str, Any]:
        answer = await api(self, subject, request)
        if subject == "CONSUMER.CREATE.HEED":
            monkeypatch.setattr(Connection, "api", api)
            await act(connection)
        return answer

    monkeypatch.setattr(Connection, "api", patched)
