"""Whatever policies there are: what is allowed is what one of them allows, and nothing is allowed beside it."""

import itertools
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heed.core.type_patterns import covers, matches
from tests.builders.policies import allowed_by, grant, policy

PATTERNS = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.sampled_from([(), (">",)]),
) | st.just(">")
# `c` is in no pattern, so it stands for all tokens that are not.
TYPES = [".".join(tokens) for size in range(1, 6) for tokens in itertools.product("abc", repeat=size)]
LISTS = st.none() | st.lists(PATTERNS, max_size=3)


@cache
def of(pattern: str) -> set[str]:
    """The types that match, of all short ones."""
    return {type_ for type_ in TYPES if matches(pattern, type_)}


@settings(deadline=None)  # the machine may be busy
@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_one_if_it_matches_all_that_the_other_matches(
    wide: str, narrow: str
) -> None:
    assert covers(wide, narrow) is (of(narrow) <= of(wide))


@settings(deadline=None)  # the machine may be busy
@given(st.lists(LISTS, max_size=3), st.sampled_from(TYPES))
def test_an_emission_is_allowed_if_one_policy_that_says_anything_allows_it(
    lists: list[list[str] | None], type_: str
) -> None:
    policies = [
        policy(f"p{n}")
        if patterns is None
        else policy(f"p{n}", emissions=[{"type": item} for item in patterns])
        for n, patterns in enumerate(lists)
    ]
    saying = [patterns for patterns in lists if patterns is not None]
    wanted = not saying or any(matches(pattern, type_) for patterns in saying for pattern in patterns)

    assert (allowed_by(*policies).emission_problem(type_) is None) is wanted


@settings(deadline=None)  # the machine may be busy
@given(st.lists(PATTERNS, max_size=3), PATTERNS, st.booleans())
def test_what_may_be_subscribed_to_shows_nothing_that_is_not_allowed(
    patterns: list[str], pattern: str, elsewhere: bool
) -> None:
    # Given the same patterns as a policy for the own namespace, or as a grant of another one
    namespace = "shop" if elsewhere else "demo"
    grants = [grant("shop", *patterns)] if patterns else []
    own = policy(subscriptions=[{"type": item} for item in patterns])
    may = allowed_by(grants=grants) if elsewhere else allowed_by(own)

    refused = may.subscription_problem(pattern, namespace)

    if refused is None:
        assert of(pattern) <= set().union(*map(of, patterns))
    else:
        assert not any(of(pattern) <= of(item) for item in patterns)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.none() | st.integers(0, 9), max_size=4))
def test_of_limits_the_largest_counts(limits: list[int | None]) -> None:
    policies = [
        policy(f"p{n}", limits={} if most is None else {"sessions": most}) for n, most in enumerate(limits)
    ]
    said: list[Any] = [most for most in limits if most is not None]

    cap = allowed_by(*policies).limits.sessions

    assert (cap.most if cap else None) == max(said, default=None)
