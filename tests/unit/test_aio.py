"""A task that is stopped is over afterwards, whatever it does about that."""

import asyncio
import gc

import pytest

from heed.util.aio import stop
from tests.unit.inmemory import turns


async def test_what_runs_is_cancelled() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    await turns(1)

    await stop(task)

    assert task.cancelled()


async def test_one_that_swallows_its_first_cancellation_gets_another() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await turns(1)

    await stop(task)

    assert task.cancelled()


@pytest.mark.filterwarnings("error")
async def test_what_it_raised_is_of_no_interest(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await turns(2)

    await stop(task)
    del task
    gc.collect()

    assert caplog.records == []


async def test_what_is_over_keeps_its_result() -> None:
    async def seven() -> int:
        return 7

    task = asyncio.create_task(seven())
    await task

    await stop(task)

    assert task.result() == 7
