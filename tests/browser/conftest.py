"""Fixtures for tests in a browser: a broker, and a tab."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from heed.bus.client.connection import Connection
from tests.browser.chromium import Page, a_page
from tests.integration.conftest import connected
from tests.nats_server import NatsServer, require_nats_server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The server that all tests share."""
    require_nats_server()
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to it."""
    async with connected(nats_server) as connection:
        yield connection


@pytest.fixture
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """A tab in a browser of its own."""
    folder: Path = tmp_path_factory.mktemp("browser")
    async with a_page(folder) as page:
        yield page
