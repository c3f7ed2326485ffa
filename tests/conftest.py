"""What all tests share: how examples are made on a busy machine, and how a run is spread over processes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.markdown import ROOT

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

# How long an example takes, or making one, says something about the machine only.
settings.register_profile("heed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heed")

_KEPT = (str(ROOT / "operator"), str(ROOT / "tests"), sys.prefix, sys.base_prefix)
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


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    """Modules that a test loads from files, such as `agent`, are forgotten: the next one has another of that name."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or sys.prefix
        if not file.startswith(_KEPT):
            del sys.modules[name]
