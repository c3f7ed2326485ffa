"""Runners that leave no process behind."""

import os
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


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a Python process that imports Heed."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
