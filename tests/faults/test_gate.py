"""The judge of the rate limit finds when more was let through than the time allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.gate import NAME, NAMESPACE, PASSED, Commit, limit_findings
from tests.faults.incarnation import Incarnation
from tests.faults.test_judging import CREATED, compiled, received_at
from tests.integration.engine.oracle import folded

PROGRAM = compiled(NAMESPACE, NAME)
NOON = 1_793_534_400.0  # 2026-11-01T12:00:00Z


def findings(*committed: float) -> list[str]:
    """What the judge says where events that came a second after noon are committed so many seconds after noon."""
    at = received_at(1, PASSED, {}).at
    events = [replace(received_at(number, PASSED, {}), at=at) for number in range(1, len(committed) + 1)]
    fold = folded(PROGRAM, events, CREATED)
    commits = [Commit(NOON + at, number) for number, at in enumerate(committed, 1)]
    return limit_findings(Incarnation(PROGRAM, fold.ledger, fold, True), commits)


@pytest.mark.parametrize(
    ("committed", "says"),
    [
        ((1.1, 1.2, 2.1, 3.1), None),
        ((4.0, 4.0, 4.0, 4.0), None),
        ((1.1, 1.2, 1.9), "3 events were let through in 0.90 s"),
        ((1.1, 1.2, 2.1, 2.9), "4 events were let through in 1.90 s"),
        ((2.9, 2.9, 2.9, 2.9), "4 events were let through in 1.90 s"),
    ],
)
def test_no_more_is_let_through_than_the_time_allows(committed: tuple[float, ...], says: str | None) -> None:
    found = findings(*committed)
    assert bool(found) is (says is not None)
    assert says is None or any(says in text for text in found), found
