"""Waiting for a condition with a deadline, so that no test sleeps for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.patience import PATIENCE

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T | None], timeout: float = PATIENCE, what: str = "", every: float = 0.05
) -> T:
    """The first truthy answer of `predicate`; AssertionError with the last answer after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {timeout:g} s: {what or predicate.__name__}; last answer: {answer!r}"
            )
        time.sleep(every)
