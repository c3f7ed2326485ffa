"""Fixtures for tests in a browser: a broker, and a tab."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.chromium import Page, a_page
from tests.integration.conftest import connection, nats_server

__all__ = ["connection", "nats_server"]  # fixtures of the integration tests, for these


@pytest.fixture
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """A tab in a browser of its own."""
    folder: Path = tmp_path_factory.mktemp("browser")
    async with a_page(folder) as page:
        yield page
