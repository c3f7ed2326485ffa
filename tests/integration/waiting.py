"""Waiting for a condition that only the broker can bring about."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.patience import PATIENCE

SOON = PATIENCE


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], timeout: float = SOON) -> None:
    """Wait until the condition holds, and fail where it does not within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    async with asyncio.timeout_at(end):
        # A look at the clock, too: `asyncio.wait_for` of Python 3.11 may swallow the timeout's one cancellation.
        while loop.time() < end:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)
        raise TimeoutError
