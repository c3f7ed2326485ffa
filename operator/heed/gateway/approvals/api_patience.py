"""Asks the API server as a person waits: an answer comes soon, or counts as none."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from heed.kube.client.client import ApiError, ApiResponse

ASK_PATIENCE_S: Final = 5.0


async def ask_soon(asked: Awaitable[ApiResponse]) -> ApiResponse:
    """The answer, within ASK_PATIENCE_S. Raises ApiError."""
    try:
        async with asyncio.timeout(ASK_PATIENCE_S):
            return await asked
    except TimeoutError:
        raise ApiError(0, f"no answer within {ASK_PATIENCE_S:g} s") from None
