"""Stopping a task for certain."""

import asyncio
from typing import Any


async def stop(task: "asyncio.Task[Any]") -> None:
    """Cancel a task until it is done, and discard what it raised.

    One `cancel` may be lost: before Python 3.12, `asyncio.wait_for` swallows one that comes together with its result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain
