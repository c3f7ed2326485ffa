"""What unit tests share: an API server, a performer or loops with all that they ask for, for those that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.apiserver import ApiServer, api_server
from tests.unit.fleets import World, fleet_on
from tests.unit.inmemory import Bench
from tests.unit.loops import Lives, lives_at
from tests.unit.pulls import Reading, reading_of


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An empty API server in this process."""
    async with api_server() as server:
        yield server


@pytest.fixture
async def world(server: ApiServer) -> AsyncIterator[World]:
    """The operator's Agents on that API server and on a broker in memory."""
    async with fleet_on(server) as world:
        yield world


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A bench, whose performers are closed in the end."""
    made = Bench()
    yield made
    for executor in made.performers:
        await executor.close()


@pytest.fixture
async def lives(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lives]:
    """Loops, which are ended in the end."""
    async with lives_at(monkeypatch) as made:
        yield made


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    """Of a consumer that has nothing to deliver."""
    async with reading_of() as made:
        yield made


@pytest.fixture
async def behind() -> AsyncIterator[Reading]:
    """Of a consumer that has seven messages to deliver, after the hundredth."""
    async with reading_of(pending=7, floor=100) as made:
        yield made
