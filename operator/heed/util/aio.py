"""Stopping a task for certain, and as soon as it is time to stop."""

import asyncio
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


async def unless(told_to_stop: asyncio.Event, running: "asyncio.Task[Result]") -> Result | None:
    """What a task gives, or None where it was told to stop before that: then it is cancelled. Raises what it raises."""
    stopping = asyncio.create_task(told_to_stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        stopping.cancel()
        await stop(running)
