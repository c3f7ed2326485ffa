"""Patterns over types agree with an independent reading of NATS' rules, token by token."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from heed import names
from heed.core.patterns import matches

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
