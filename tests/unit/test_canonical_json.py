"""Values and patches: what is put into a status comes back as it was, and a patch says all that changed."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.core.codec.canonical_json import canonicalize, dump_compact, merge_patch
from tests.builders.values import as_stored, merged

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=5)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
json_maps = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=4)


@given(json_maps)
@example({"n": 1e20, "m": -(2.0**63), "k": 2.0**63, "z": -0.0})
def test_a_canonical_value_survives_the_api_server(value: dict[str, Any]) -> None:
    kept = canonicalize(value)

    again = canonicalize(as_stored({"state": kept})["state"], stored=True)

    assert dump_compact(again) == dump_compact(kept)


@given(json_values)
def test_canonical_twice_is_canonical_once(value: Any) -> None:
    once = canonicalize(value)

    assert dump_compact(canonicalize(once)) == dump_compact(once)


def test_nulls_go_from_maps_at_any_depth_and_stay_in_lists() -> None:
    value = {"a": None, "b": {"c": None, "d": [None, {"e": None}]}}

    assert canonicalize(value) == {"b": {"d": [None, {}]}}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_is_refused_unless_the_server_made_it(value: int) -> None:
    assert canonicalize([value], stored=True) == [float(value)]
    with pytest.raises(OverflowError, match="keep it as a string"):
        canonicalize({"n": [value]})


@pytest.mark.parametrize("value", [True, False, 0, "1.0", 0.5, 1e300, 2.0**63])
def test_what_comes_back_as_it_is_is_left_alone(value: Any) -> None:
    assert canonicalize(value) is value


@given(json_maps, json_maps)
@example({"a": [1]}, {"a": [True]})
@example({"a": {"b": 1}}, {"a": {}})
@example({"a": {}}, {})
@example({"a": 1}, {"a": {}})
@example({"a": [{"b": 0}]}, {"a": [{"b": False}]})
@example({"a": {"b": {"c": 1}}}, {"a": {"b": [1]}})
def test_a_patch_turns_the_old_map_into_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    old, new = canonicalize(old), canonicalize(new)

    assert dump_compact(merged(old, merge_patch(old, new))) == dump_compact(new)


@given(json_maps)
def test_nothing_changed_makes_an_empty_patch(value: dict[str, Any]) -> None:
    value = canonicalize(value)

    assert merge_patch(value, json.loads(json.dumps(value))) == {}


def test_a_patch_holds_only_what_changed() -> None:
    old = {"kept": {"big": "x" * 100, "n": 1}, "gone": 1, "same": [1, 2]}

    assert merge_patch(old, {"kept": {"big": "x" * 100, "n": 2}, "same": [1, 2]}) == {
        "kept": {"n": 2},
        "gone": None,
    }


@given(json_values)
def test_compact_is_the_same_for_the_same_value(value: Any) -> None:
    assert dump_compact(json.loads(dump_compact(value))) == dump_compact(value)


def test_compact_refuses_what_is_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_compact({"n": float("nan")})


# ── each rule by itself ─────────────────────────────────────────────────────────────────────────────────────────────


def exactly(value: Any) -> str:
    """A value with the types of its numbers."""
    return repr(value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2.0, 2),
        (-0.0, 0),
        (1e18, 10**18),
        (-(2.0**63), -(2**63)),
        (2.0**63, 2.0**63),
        (-1e19, -1e19),
        (0.5, 0.5),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        ([1.0, None, [2.0]], [1, None, [2]]),
        ({"a": 1.0, "b": None, "c": {"d": [3.0]}}, {"a": 1, "c": {"d": [3]}}),
    ],
)
def test_whole_floats_of_64_bits_are_integers(value: Any, kept: Any) -> None:
    assert exactly(canonicalize(value)) == exactly(kept)
    assert exactly(canonicalize(value, stored=True)) == exactly(kept)


def test_what_the_server_made_of_large_floats_is_made_floats_again_wherever_it_stands() -> None:
    assert exactly(canonicalize({"a": [2**63], "b": {"c": -(2**63) - 1}}, stored=True)) == exactly(
        {"a": [2.0**63], "b": {"c": -(2.0**63)}}
    )


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
@pytest.mark.parametrize(
    "place", [lambda n: n, lambda n: [n], lambda n: {"a": n}, lambda n: {"a": [{"b": n}]}]
)
def test_an_integer_that_would_be_another_one_later_is_named(value: int, place: Any) -> None:
    with pytest.raises(OverflowError, match=f"^integer {value} does not fit 64 bits; keep it as a string$"):
        canonicalize(place(value))


def test_compact_is_short_sorted_and_as_it_is_read() -> None:
    assert dump_compact({"b": [1, 2.5, None, True], "a": {"ü": "é\n"}}) == (
        '{"a":{"ü":"é\\n"},"b":[1,2.5,null,true]}'
    )


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2, "b": {}}, {"a": 2, "b": {}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}, {"a": {"c": None, "d": 3}}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1.0}, {"a": 1.0}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": [0]}, {"a": [False]}, {"a": [False]}),
        ({"a": [{"b": [0, "x"]}]}, {"a": [{"b": [False, "x"]}]}, {"a": [{"b": [False, "x"]}]}),
        ({"a": [{"b": 1, "c": [2]}]}, {"a": [{"b": 1, "c": [2]}]}, {}),
    ],
)
def test_a_patch_names_what_is_other_and_nothing_else(old: Any, new: Any, patch: Any) -> None:
    assert exactly(merge_patch(old, new)) == exactly(patch)
