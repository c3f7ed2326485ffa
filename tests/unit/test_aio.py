"""A task that is stopped is over, whatever it does about that; it can be stopped before it gives anything."""

import asyncio
import contextlib
import gc

import pytest

from heed.util.aio import keeping_cancellation, stop, unless
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


async def swallow() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def test_a_cancellation_that_is_swallowed_is_kept() -> None:
    async def kept() -> None:
        with keeping_cancellation():
            await swallow()

    task = asyncio.create_task(kept())
    await turns(1)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()


async def test_one_of_before_and_one_of_a_timeout_within_are_not_kept() -> None:
    async def cleaning_up() -> int:
        await swallow()
        with keeping_cancellation():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            await asyncio.sleep(0)
        return 7

    task = asyncio.create_task(cleaning_up())
    await turns(1)
    task.cancel()

    assert await task == 7


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


async def test_what_is_done_before_the_stop_is_given() -> None:
    async def give() -> int:
        return 7

    assert await unless(asyncio.Event(), asyncio.create_task(give())) == 7


async def test_what_is_not_done_when_it_is_told_to_stop_is_cancelled() -> None:
    told, running = asyncio.Event(), asyncio.create_task(asyncio.Event().wait())
    told.set()

    assert await unless(told, running) is None
    assert running.cancelled()


async def test_what_goes_wrong_before_the_stop_is_raised() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await unless(asyncio.Event(), asyncio.create_task(broken()))


async def test_with_who_waits_for_it_the_task_is_cancelled() -> None:
    running = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(unless(asyncio.Event(), running))
    await turns(2)

    await stop(waiting)

    assert running.cancelled()
