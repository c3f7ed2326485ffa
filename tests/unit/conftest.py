"""What unit tests share: an API server for those that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.apiserver import ApiServer, api_server


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An empty API server in this process."""
    async with api_server() as server:
        yield server
