"""Runners that leave no process behind."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.integration.local.runs import Bench


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
