"""A world on the shared server."""

from collections.abc import AsyncIterator

import pytest

from heed.bus.client.connection import Connection
from heed.sandbox.decision_pool import DecisionPool
from tests.integration.engine.world import World, world_on


@pytest.fixture
async def world(connection: Connection, namespace: str) -> AsyncIterator[World]:
    """An Agent that nobody runs yet."""
    async with world_on(connection, namespace) as world:
        yield world


@pytest.fixture
async def guard() -> AsyncIterator[DecisionPool]:
    """A guard as the operator has it."""
    made = DecisionPool()
    yield made
    await made.close()


@pytest.fixture
async def patient() -> AsyncIterator[DecisionPool]:
    """A guard that lets decisions take long enough to be looked at."""
    made = DecisionPool(cpu=60)
    yield made
    await made.close()
