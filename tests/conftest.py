"""What all tests share: how examples are made on a busy machine, and how a run is spread over processes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

# How long an example takes, or making one, says something about the machine only.
settings.register_profile("heed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heed")

_ESCAPED = re.compile(r"[^ -\[\]-~]")  # a backslash, and what is not printable ASCII


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Units of work by what they share, see tests/scheduling.py; only where `-n` asks for processes."""
    from tests.scheduling import UnitScheduling

    return UnitScheduling(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of tests without escapes, so that each can be asked for by its name; of long ones pytest makes numbers."""
    if isinstance(val, bytes):
        val = val.decode("latin-1")
    if isinstance(val, str) and len(val) < 50 and _ESCAPED.search(val):
        return _ESCAPED.sub("_", val)
    return None
