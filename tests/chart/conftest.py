"""Rendering needs helm: without it these tests skip with the reason, and fail in CI."""

from __future__ import annotations

import pytest

from tests.cluster.helm import require_helm


@pytest.fixture(scope="package", autouse=True)
def _helm() -> None:
    require_helm()
