"""The API server's audit log: all that the operator asked for was allowed, and the chart's role allows nothing else."""

from __future__ import annotations

import os

import pytest

from tests.e2e.conftest import say
from tests.e2e.node.layout import Layout
from tests.e2e.release import NAME, NAMESPACE, Release
from tests.e2e.rights import covers, requests, rights, table

pytestmark = pytest.mark.skipif(
    os.environ.get("E2E_CLUSTER", "node") != "node", reason="the API server's audit log is out of reach"
)
USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"


def test_every_request_was_allowed_and_every_right_was_used(
    release: Release, pytestconfig: pytest.Config
) -> None:
    # Given what the operator asked for from its installation to the moment in which its rights were taken away
    began, ended = release.period
    asked = [r for r in requests(Layout.from_environment().audit_log, USER) if began <= r.time < ended]
    granted = rights(release.roles)
    say(pytestconfig, f"{len(asked)} requests of the operator's; its rights:\n{table(granted)}")

    # Then
    assert len(asked) > 300
    assert [r for r in asked if not r.allowed] == []
    unused = {g for g in granted if not any(covers(g, r, NAMESPACE) for r in asked)}
    assert unused == set()
    # The API server's own pages are open to everybody who is authenticated.
    resources = [r for r in asked if r.resource]
    assert [r for r in resources if not any(covers(g, r, NAMESPACE) for g in granted)] == []
