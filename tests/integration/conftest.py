"""Fixtures for tests against a real broker; one server for the whole run, a namespace of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.settings import Settings, StreamSettings
from tests.integration.cemetery import Cemetery, Run, running
from tests.integration.secured import SecuredBroker
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
async def own(own_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server of the test's own."""
    async with connected(own_server) as connection:
        yield connection


@pytest.fixture
async def bare(own_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server of the test's own, which has no streams."""
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    yield connection
    await connection.close()


@pytest.fixture
async def forgetful(bare: Connection) -> Connection:
    """A connection to a broker that remembers message ids for a second only."""
    await ensure_streams(bare, StreamSettings(duplicate_window=1))
    return bare


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker in JWT mode."""
    require_nats_server()
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"))
    with broker.server:
        yield broker


@pytest.fixture
def subjects(namespace: str) -> list[str]:
    """Those of all events of the namespace."""
    return [names.event_subject(namespace, ">")]


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
