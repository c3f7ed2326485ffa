"""The clocks."""

import asyncio
import time
from datetime import UTC, datetime

from heed.util.clock import loop_time, now, timestamp, unix_time


def test_the_time_is_that_of_utc() -> None:
    before = datetime.now(UTC)

    assert before <= now() <= datetime.now(UTC)
    assert now().tzinfo is UTC


def test_as_text_it_is_exact_to_the_microsecond() -> None:
    before = datetime.now(UTC)

    told = timestamp()

    assert before <= datetime.fromisoformat(told) <= datetime.now(UTC)
    assert told.endswith("Z")
    assert len(told) == len("2026-01-31T12:00:00.000000Z")


def test_as_a_number_it_is_in_seconds_since_1970() -> None:
    before = time.time()

    assert before <= unix_time() <= time.time()


async def test_the_loop_has_a_time_of_its_own() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()

    assert before <= loop_time() <= loop.time()
