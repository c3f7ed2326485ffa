"""How long to wait before something is tried again."""

import random

import pytest

from heed.util.backoff import Backoff


def test_the_first_attempt_waits_for_nothing_and_each_one_twice_as_long_as_the_one_before_up_to_a_cap() -> (
    None
):
    backoff = Backoff(first_s=0.1, last_s=5.0)

    assert [backoff.delay(attempt) for attempt in range(9)] == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_however_often_it_was_tried_there_is_a_delay() -> None:
    assert Backoff(first_s=1e-6, last_s=30.0).delay(100_000) == 30.0


def test_one_that_starts_at_its_cap_is_a_fixed_delay() -> None:
    backoff = Backoff(first_s=5.0, last_s=5.0)

    assert [backoff.delay(attempt) for attempt in (1, 2, 3)] == [5.0, 5.0, 5.0]


@pytest.mark.parametrize("attempt", [1, 3, 20])
def test_chance_shortens_a_delay_by_its_share_at_most(attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steady, shaken = Backoff(1.0, 8.0), Backoff(1.0, 8.0, jitter=0.25)
    whole = steady.delay(attempt)

    for chance, expected in ((0.0, 0.75 * whole), (1.0, whole)):
        monkeypatch.setattr(random, "uniform", lambda low, high, at=chance: low + at * (high - low))
        assert shaken.delay(attempt) == expected


def test_without_jitter_nothing_is_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(random, "uniform")

    assert Backoff(1.0, 8.0).delay(2) == 2.0
    assert Backoff(1.0, 8.0, jitter=0.5).delay(0) == 0.0
