"""The clocks: of the wall, as a value, as RFC 3339 and in Unix seconds; and of the event loop, which never goes back.

Whatever decides takes the time as an argument. This is where those who ask for a decision get it.
"""

import asyncio
import time
from datetime import UTC, datetime


def now() -> datetime:
    """The time, with UTC as its zone."""
    return datetime.now(UTC)


def timestamp() -> str:
    """The time as RFC 3339 in UTC, to the microsecond."""
    return now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_time() -> float:
    """The time in seconds since 1970."""
    return time.time()


def loop_time() -> float:
    """The monotonic time of the running event loop, in seconds: what its timers go by."""
    return asyncio.get_running_loop().time()
