"""Modules that tests load from files are forgotten again."""

import sys
from collections.abc import Iterator

import pytest

from tests.markdown import ROOT

_KEPT = (str(ROOT / "operator"), str(ROOT / "tests"), sys.prefix, sys.base_prefix)


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or sys.prefix
        if not file.startswith(_KEPT):
            del sys.modules[name]
