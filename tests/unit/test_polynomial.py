"""Bounds as polynomials, the data that stay within the budget, and how much a JSON value is."""

import marshal
from typing import Any

import pytest

from heed.core.cel.polynomial import (
    EXTENT,
    NO_WORK,
    TOO_MUCH,
    WORK_BUDGET,
    Bound,
    DataLimit,
    RemainingLimit,
    constant,
    measure_extent,
    peak,
    plus,
    scale,
    times,
    without,
)

MOST = 1e60
LARGEST = 1 << 24


def test_a_sum_adds_what_has_the_same_powers() -> None:
    assert plus() == NO_WORK
    assert plus({(1, 0): 2.0, (0, 1): 3.0}, {(1, 0): 5.0}, constant(1)) == {
        (1, 0): 7.0,
        (0, 1): 3.0,
        (0, 0): 1.0,
    }


def test_a_product_adds_the_powers() -> None:
    assert times(EXTENT, NO_WORK) == NO_WORK
    assert times({(1, 0): 2.0, (0, 1): 3.0}, {(1, 0): 5.0, (0, 1): 7.0}) == {
        (2, 0): 10.0,
        (1, 1): 29.0,
        (0, 2): 21.0,
    }
    assert times({(2, 1): 2.0}, {(1, 1): 3.0}) == {(3, 2): 6.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((3, 0), (3, 0)),
        ((0, 3), (0, 3)),
        ((2, 1), (2, 1)),
        ((5, 0), (0, 1)),
        ((1, 2), (1, 2)),
        ((6, 0), (0, 0)),
    ],
)
def test_a_product_of_more_than_the_fifth_degree_is_too_much_for_any_data(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    assert times({one: 2.0}, {other: 3.0}) == {(0, 0): 6 * TOO_MUCH}


def test_no_coefficient_gets_beyond_what_can_be_reckoned_with() -> None:
    assert times(constant(1e40), constant(1e40)) == {(0, 0): MOST}
    assert times({(1, 0): 1e40, (0, 0): 1e59}, {(1, 0): 1.0}) == {(2, 0): 1e40, (1, 0): 1e59}
    assert times({(1, 0): MOST, (0, 1): MOST}, {(1, 0): 1.0, (0, 1): 1.0})[(1, 1)] == MOST
    assert scale(constant(1e40), 1e40) == {(0, 0): MOST}


def test_scaled_is_so_many_times_as_much() -> None:
    assert scale({(1, 0): 2.0, (0, 2): 3.0}, 4) == {(1, 0): 8.0, (0, 2): 12.0}
    assert scale(NO_WORK, 4) == NO_WORK


def test_the_peak_is_no_less_than_any() -> None:
    assert peak({(1, 0): 2.0, (0, 1): 3.0}, {(1, 0): 5.0, (0, 1): 1.0}, constant(1)) == {
        (1, 0): 5.0,
        (0, 1): 3.0,
        (0, 0): 1.0,
    }


def test_what_is_left_without_another_is_never_negative() -> None:
    one = {(1, 0): 5.0, (0, 1): 3.0, (0, 0): 2.0, (2, 0): 1.0}

    assert without(one, {(1, 0): 2.0, (0, 1): 4.0, (0, 0): 2.0}) == {(1, 0): 3.0, (2, 0): 1.0}


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("work", "always"),
    [
        (NO_WORK, LARGEST),
        (constant(WORK_BUDGET), LARGEST),
        (constant(WORK_BUDGET + 1), -1),
        ({(1, 0): WORK_BUDGET + 1.0}, 0),
        ({(1, 0): float(WORK_BUDGET)}, 1),
        ({(1, 0): WORK_BUDGET / 1000}, 1000),
        ({(0, 1): WORK_BUDGET / 1000}, 32_000),  # a value is 32 at least, so a list of a thousand has 32000
        ({(2, 0): 1.0}, 10_000),
        ({(1, 1): 32.0}, 10_000),
        ({(0, 2): 1.0, (0, 0): WORK_BUDGET - 100.0}, 320),
        ({(1, 0): WORK_BUDGET / LARGEST}, LARGEST),
        ({(1, 0): WORK_BUDGET / (LARGEST - 0.5)}, LARGEST - 1),
    ],
)
def test_a_limit_is_the_largest_extent_that_is_within_the_budget(work: Bound, always: int) -> None:
    limit = DataLimit.of(work)

    assert (limit.work, limit.always) == (work, always)
    assert limit.is_none is (always == LARGEST)


def test_just_as_much_as_the_budget_is_allowed_and_no_more() -> None:
    data = {"a": [1, "x" * 100]}
    extent, length = measure_extent([data])

    for powers, measure in (((1, 0), extent), ((0, 1), length), ((1, 1), extent * length)):
        assert DataLimit.of({powers: WORK_BUDGET / measure}).allows(data)
        assert not DataLimit.of({powers: WORK_BUDGET / (measure - 0.5)}).allows(data)


def test_values_count_together() -> None:
    limit = DataLimit.of({(1, 0): WORK_BUDGET / 500})

    assert limit.allows("x" * 200) and limit.allows("x" * 200, "y" * 100)
    assert not limit.allows("x" * 200, "y" * 300)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_allowance_has_less_left_for_more_that_stays_the_same(allowed: bool) -> None:
    fixed, changing = {"labels": "x" * 300}, {"data": "y" * 300}
    extent = measure_extent([fixed, changing])[0]
    limit = DataLimit.of({(1, 0): WORK_BUDGET / (extent - (not allowed) * 0.5)})

    assert RemainingLimit(limit, fixed).allows(changing) is allowed
    assert RemainingLimit(limit, {}).allows(changing)


def test_a_short_look_at_their_bytes_is_enough_where_data_are_few() -> None:
    """Every byte counts as a value of one character: 33."""
    data = {"a": [1, 2]}
    size = 33 * len(marshal.dumps((data,), 2))
    changing = 33 * (len(marshal.dumps("xy", 2)) + len(marshal.dumps(data, 2)))

    assert DataLimit(constant(TOO_MUCH), size).allows(data)
    assert not DataLimit(constant(TOO_MUCH), size - 1).allows(data)
    assert RemainingLimit(DataLimit(constant(TOO_MUCH), changing), "xy").allows(data)
    assert not RemainingLimit(DataLimit(constant(TOO_MUCH), changing - 1), "xy").allows(data)


def test_the_short_look_counts_a_value_as_often_as_it_is_there() -> None:
    text = "x" * 1000
    data = [text] * 100
    limit = DataLimit(constant(TOO_MUCH), measure_extent([data])[0] - 1)

    assert not limit.allows(data)
    assert not RemainingLimit(limit, None).allows(data)


# ── how much a value is ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "extent", "longest"),
    [
        (None, 32, 0),
        (True, 32, 0),
        (10**18, 32, 0),
        (1.5, 32, 0),
        ("", 32, 0),
        ("abc", 35, 0),
        ("aé", 40, 0),  # up to four bytes for each character, as soon as one is not ASCII
        (b"abc", 38, 0),
        ([], 32, 0),
        ({}, 32, 0),
        ([1, "ab"], 98, 2),
        ({"key": 1}, 99, 1),
        ({"é": 1}, 97, 1),
        ([[1, 2, 3]], 160, 3),
        ([[], [], [], []], 160, 4),
        ({"a": {"b": 1, "c": 2}, "d": [1, 2, 3]}, 388, 3),
    ],
)
def test_a_value_is_32_for_itself_and_its_characters(value: Any, extent: int, longest: int) -> None:
    assert measure_extent(value) == (extent, longest)
