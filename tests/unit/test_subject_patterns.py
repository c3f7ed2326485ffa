"""Filters that the server takes: no two of them overlap, and nothing that was asked for is left out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.bus.codec.subject_patterns import covers, matches, merge_patterns, overlap

TOKENS = st.sampled_from(["a", "b", "*"])
PATTERNS = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(TOKENS, min_size=1, max_size=3),
    st.sampled_from([(), (">",)]),
) | st.just(">")
SUBJECTS = [".".join(tokens) for size in range(1, 6) for tokens in itertools.product("abc", repeat=size)]


@pytest.mark.parametrize(
    ("patterns", "filters"),
    [
        (["a.b"], ["a.b"]),
        (["a.b", "a.b"], ["a.b"]),
        (["a.b", "a.c"], ["a.b", "a.c"]),
        (["a.b", "a.*"], ["a.*"]),
        (["a.>", "a.b.c", "x"], ["a.>", "x"]),
        (["a", "a.>"], ["a", "a.>"]),
        (["a.*", "*.b"], ["*.*"]),
        (["a.*.c", "a.b.*", "a.x.y"], ["a.*.*"]),
        (["a.>", "*.b"], ["*.>"]),
        ([">", "a"], [">"]),
    ],
)
def test_filters_are_made_disjoint(patterns: list[str], filters: list[str]) -> None:
    assert merge_patterns(patterns) == filters


@given(st.lists(PATTERNS, min_size=1, max_size=5))
def test_disjoint_filters_match_all_that_the_patterns_match(patterns: list[str]) -> None:
    filters = merge_patterns(patterns)
    assert not any(overlap(one, other) for one, other in itertools.combinations(filters, 2))
    for subject in SUBJECTS:
        if any(matches(pattern, subject) for pattern in patterns):
            assert sum(matches(pattern, subject) for pattern in filters) == 1


@given(PATTERNS, PATTERNS)
def test_covering_and_overlapping_agree_with_matching(one: str, other: str) -> None:
    first = {subject for subject in SUBJECTS if matches(one, subject)}
    second = {subject for subject in SUBJECTS if matches(other, subject)}
    assert overlap(one, other) == bool(first & second)
    assert covers(one, other) == (second <= first)
