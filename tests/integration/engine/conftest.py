"""A world on the shared server."""

from collections.abc import AsyncIterator

import pytest

from heed.bus.connection import Connection
from tests.integration.engine.world import World, world_on


@pytest.fixture
async def world(connection: Connection, namespace: str) -> AsyncIterator[World]:
    """An Agent that nobody runs yet."""
    async with world_on(connection, namespace) as world:
        yield world
