"""Patterns over types agree with an independent reading of NATS' rules, token by token."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed import names
from heed.core.type_patterns import covers, matches, may_overlap

token = st.sampled_from(["a", "b", "com", "*"])
types = st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=4).map(".".join)
patterns = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]) or ">",
    st.lists(token, max_size=4),
    st.sampled_from([[], [">"]]),
)


def reference(pattern: str, type_: str) -> bool:
    """NATS' own words as a regular expression: `*` is one token, `>` is one or more and the last."""
    parts = [
        {"*": r"[^.]+", ">": r"[^.]+(\.[^.]+)*"}.get(item, re.escape(item)) for item in pattern.split(".")
    ]
    return re.fullmatch(r"\.".join(parts), type_) is not None


@given(patterns, types)
@example(">", "a")
@example("a.>", "a")
@example("a.>", "a.b.c")
@example("*", "a.b")
@example("*.>", "a")
def test_patterns_match_as_nats_does(pattern: str, type_: str) -> None:
    assert names.is_pattern(pattern)

    assert matches(pattern, type_) is reference(pattern, type_)


@given(types)
def test_a_type_is_a_pattern_for_itself(type_: str) -> None:
    assert matches(type_, type_)


def test_characters_that_mean_something_elsewhere_are_plain() -> None:
    assert matches("a+.[b]", "a+.[b]")
    assert not matches("a+", "aa")


# ── patterns among themselves ───────────────────────────────────────────────────────────────────────────────────────

TYPES = [
    ".".join(tokens) for tokens in ("a", "b", "aa", "ab", "ba", "bb", "aaa", "aba", "abb", "bab", "aaaaaa")
]


@given(patterns, types)
def test_a_pattern_covers_a_type_as_it_matches_it(pattern: str, type_: str) -> None:
    assert covers(pattern, type_) is may_overlap(pattern, type_) is matches(pattern, type_)


@given(patterns, patterns)
def test_what_covers_matches_all_and_what_overlaps_some(one: str, other: str) -> None:
    both = [type_ for type_ in TYPES if matches(one, type_) and matches(other, type_)]

    assert may_overlap(one, other) is may_overlap(other, one)
    assert not both or may_overlap(one, other)
    assert not covers(one, other) or all(matches(one, type_) for type_ in TYPES if matches(other, type_))
    assert covers(one, one) and covers(">", one) and may_overlap(one, one)


@pytest.mark.parametrize(
    ("wide", "narrow", "both_ways"),
    [
        ("*", "a", False),
        ("a.*", "a.b", False),
        (">", "*", False),
        (">", "a.>", False),
        ("a.>", "a.*", False),
        ("a.>", "a.*.b", False),
        ("a.>", "a.*.>", False),
        ("*.>", "*.*", False),
        ("*.*", "a.*", False),
        ("*.b", "a.b", False),
        ("*.>", "a.>", False),
        ("a.*.>", "a.*.>", True),
        (">", ">", True),
    ],
)
def test_the_wider_of_two_covers_the_other(wide: str, narrow: str, both_ways: bool) -> None:
    assert covers(wide, narrow)
    assert covers(narrow, wide) is both_ways
    assert may_overlap(wide, narrow) and may_overlap(narrow, wide)


@pytest.mark.parametrize(
    ("one", "other", "some"),
    [
        ("a", "b", False),
        ("a", "a.b", False),
        ("*", "*.*", False),
        ("a.>", "a", False),
        ("a.>", "*", False),
        ("a.b", "a.b.>", False),
        ("*.b", "a.c", False),
        ("a.*", "b.>", False),
        ("a.*.c", "*.b.d", False),
        ("*.b", "a.*", True),
        ("a.>", "*.b", True),
        ("*.b.>", "a.*.c.d", True),
        ("a.*.>", "*.b.>", True),
        ("a.>", "*.>", True),
        ("a.*", "*.>", True),
    ],
)
def test_two_of_which_neither_covers_the_other_may_overlap(one: str, other: str, some: bool) -> None:
    assert not covers(one, other)
    assert may_overlap(one, other) is may_overlap(other, one) is some
