"""Fixtures for tests against a real broker; one server for the whole run, a namespace of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.settings import Settings
from tests.integration.cemetery import Cemetery, Run, running
from tests.nats_server import NatsServer, require_nats_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The server that all tests share. Do not stop it: a test that has to takes `own_server`."""
    require_nats_server()
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that the test may stop, kill and start again."""
    require_nats_server()
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server, whose streams exist."""
    settings = Settings(nats_url=server.url)
    connection = await connect(settings, "test", attempts=3)
    await ensure_streams(connection, settings.stream)
    yield connection
    await connection.close()


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to the shared server."""
    async with connected(nats_server) as connection:
        yield connection


@pytest.fixture
def bus(connection: Connection) -> JetStreamBus:
    """The bus on the shared server."""
    return JetStreamBus(connection)


@pytest.fixture
def cemetery(connection: Connection, namespace: str) -> Cemetery:
    """On the shared server."""
    return Cemetery(connection, namespace)


@pytest.fixture
def heed_dead(nats_server: NatsServer) -> Run:
    """Runs `heed dead` against the shared server."""
    return running(nats_server)
