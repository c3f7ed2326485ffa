"""A stream is lost and restored from a backup: nothing is decided twice, and every Agent can be told how to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from heed import names
from heed.bus.connection import Connection, connect
from heed.settings import Settings
from tests.cluster.conftest import free_port
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import Broker, Operator, Stage, totals
from tests.cluster.stories import RESEARCHER
from tests.nats_backup import back_up, restore
from tests.nats_server import NatsServer, require_nats_server

pytestmark = pytest.mark.cluster
DOCS = Path(__file__).resolve().parents[2] / "docs/operations.md"


@pytest.fixture
def stage(
    control_plane: ControlPlane, namespace: str, operator_kubeconfig: Path, tmp_path: Path
) -> Iterator[Stage]:
    """A namespace with an operator and a broker of its own."""
    require_nats_server()
    with NatsServer(tmp_path / "nats") as server:
        operator = Operator(operator_kubeconfig, server.url, tmp_path, free_port())
        try:
            yield Stage(control_plane, namespace, operator.start(), Broker(server.url))
        finally:
            operator.kill()


def on_broker[T](stage: Stage, act: Callable[[Connection], Awaitable[T]]) -> T:
    """Do something with a connection."""

    async def connected() -> T:
        connection = await connect(Settings(nats_url=stage.broker.url), "test", attempts=3)
        try:
            return await act(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())
