"""The page of the operator's rights shows the chart's role."""

from __future__ import annotations

from tests.e2e.rbac_page import text
from tests.e2e.rights import PAGE


def test_the_page_is_the_charts_role() -> None:
    assert PAGE.read_text() == text(), "docs/rbac.md is not what the chart says: make generate"
