"""What was logged."""

from __future__ import annotations

from typing import Any

import pytest


def logged(caplog: pytest.LogCaptureFixture, logger: str, *fields: str) -> list[tuple[Any, ...]]:
    """What a logger wrote: level, message and these fields."""
    return [
        (item.levelname, item.message, *(vars(item).get(name) for name in fields))
        for item in caplog.records
        if item.name == logger
    ]
