"""Stopping a task for certain, and as soon as it is time to stop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


async def stop(task: "asyncio.Task[Any]") -> None:
    """Cancel a task until it is done, and discard what it raised.

    One `cancel` may be lost: before Python 3.12, `asyncio.wait_for` swallows one that comes together with its result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain


@contextmanager
def keeping_cancellation() -> Iterator[None]:
    """Raise a cancellation of this task that came while it was in here, and that what it awaited swallowed.

    For what calls `asyncio.wait_for` inside, as nats-py does: a TaskGroup cancels its tasks once and no more.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    yield
    if task.cancelling() > before:
        raise asyncio.CancelledError


async def unless(told_to_stop: asyncio.Event, running: "asyncio.Task[Result]") -> Result | None:
    """What a task gives, or None where it was told to stop before that: then it is cancelled. Raises what it raises."""
    stopping = asyncio.create_task(told_to_stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        stopping.cancel()
        await stop(running)
