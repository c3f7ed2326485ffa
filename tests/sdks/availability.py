"""What a test does where the programs of others that it runs cannot be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.controlplane.build import Unavailable


@contextmanager
def skipping_unavailable(*, fails_in_ci: bool = False) -> Iterator[None]:
    """Skip the test with the reason where something is Unavailable; with `fails_in_ci` it fails where CI is set."""
    try:
        yield
    except Unavailable as error:
        if fails_in_ci and os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
