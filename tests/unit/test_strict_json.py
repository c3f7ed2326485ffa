"""JSON read strictly: each thing that is refused, on both sides of its boundary, with the words that senders read."""

from typing import Any

import pytest

from heed.core.codec.strict_json import (
    MAX_JSON_DEPTH,
    Unreadable,
    check_no_nul,
    check_value,
    measure_depth,
    parse_json,
    shorten_json,
)

TOO_DEEP = ("TooDeep", "data nest deeper than 64 levels; flatten them")
SURROGATE = ("BadData", "data hold a lone surrogate, which is no Unicode text; drop it")
ZERO = ("BadData", "data hold the character U+0000, which ends text in CEL; drop it")


def out_of_range(number: str) -> tuple[str, str]:
    """What is said of a number."""
    return "NumberOutOfRange", f"number {number} does not fit 64 bits; send it as a string"


def refusal(check: Any, *arguments: Any) -> tuple[str, str]:
    """The code and the message of a refusal."""
    with pytest.raises(Unreadable) as caught:
        check(*arguments)
    return caught.value.code, str(caught.value)


def nested(levels: int) -> Any:
    """Lists and maps in each other."""
    value: Any = 1
    for level in range(levels):
        value = [0, value] if level % 2 else {"b": "x", "a": value}
    return value


def brackets(levels: int) -> bytes:
    """The JSON of lists and maps in each other."""
    pairs = (levels + 1) // 2
    text = b'[{"a":' * pairs + b"1" + b"}]" * pairs
    return text if levels % 2 == 0 else text[1:-1]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"null", None),
        (b' {"a": [1, -2.5, true, "x"]} ', {"a": [1, -2.5, True, "x"]}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1.0", 1.0),
        (b"1e308", 1e308),
        ('"é😀"'.encode(), "é😀"),
        (rb'"\ud83d\ude00 \u0000"', "😀 \0"),
        (b'"' + b"[{" * 100 + b'"', "[{" * 100),
        (b"[" + b"[]," * 100 + b"[]]", [[]] * 101),
    ],
)
def test_what_can_be_kept_exactly_is_read(text: bytes, value: Any) -> None:
    found = parse_json(text, "BadData", "no JSON")

    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"nul", b"\xff", b"\xef\xbb\xbf1", b"NaN", b"-Infinity", b"[1,]"]
)
def test_what_is_no_json_is_told_in_the_callers_words(text: bytes) -> None:
    assert refusal(parse_json, text, "NotAnEvent", "write JSON") == ("NotAnEvent", "write JSON")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"9223372036854775808", out_of_range("9223372036854775808")),
        (b"[-9223372036854775809]", out_of_range("-9223372036854775809")),
        (b'{"a": ' + b"1" * 24 + b"}", out_of_range("1" * 24)),
        (b"1" * 25, out_of_range("1" * 24 + "…")),
        (b"-" + b"1" * 400, out_of_range("-" + "1" * 23 + "…")),
        (b"[1e999]", out_of_range("1e999")),
        (b"-1" + b"0" * 400 + b".0", out_of_range("-1" + "0" * 22 + "…")),
        (rb'["\ud800"]', SURROGATE),
        (rb'{"a\udfff": 1}', SURROGATE),
        pytest.param(b"[" * 100_000, TOO_DEEP, id="100,000 brackets"),
    ],
)
def test_what_could_not_be_kept_is_refused(text: bytes, said: tuple[str, str]) -> None:
    assert refusal(parse_json, text, "BadData", "no JSON") == said


@pytest.mark.parametrize("levels", [3, 4, MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1])
def test_so_many_levels_are_read_and_no_more(levels: int) -> None:
    assert measure_depth(parse_json(brackets(levels), "BadData", "no JSON", levels)) == levels
    assert refusal(parse_json, brackets(levels + 1), "BadData", "no JSON", levels) == TOO_DEEP
    assert parse_json(b"[" * levels + b"]" * levels, "BadData", "no JSON", levels)
    assert refusal(parse_json, b"[" * (levels + 1) + b"]" * (levels + 1), "", "", levels) == TOO_DEEP


def test_without_a_number_of_levels_there_are_64() -> None:
    assert parse_json(brackets(64), "BadData", "no JSON")
    assert refusal(parse_json, brackets(65), "BadData", "no JSON") == TOO_DEEP


@pytest.mark.parametrize(
    ("value", "depth"),
    [(None, 0), ("[[", 0), ([], 1), ({}, 1), ([[], {}, 1], 2), ({"a": 1, "b": [{"c": "x"}]}, 3), ((1,), 0)],
)
def test_the_depth_is_that_of_the_deepest_list_or_map(value: Any, depth: int) -> None:
    assert measure_depth(value) == depth


def test_depth_is_counted_to_two_levels_beyond_what_is_allowed() -> None:
    for levels in (1, 63, 64, 65, 66):
        assert measure_depth(nested(levels)) == levels
    assert measure_depth(nested(500)) == 66


# ── documents that no parser saw ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value", [None, True, "x", 2**63 - 1, -(2**63), 1.5, [], {}, {"a": [{"b": ["é", None, 0]}]}]
)
def test_json_is_let_through(value: Any) -> None:
    check_value(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**63, out_of_range("9223372036854775808")),
        (-(2**63) - 1, out_of_range("-9223372036854775809")),
        (2**255 - 1, out_of_range("578960446186580977117854…")),
        (2**255, out_of_range("of 256 bits")),
        pytest.param(-(1 << 16_609), out_of_range("of 16610 bits"), id="of 5000 digits"),
        (float("nan"), out_of_range("nan")),
        (float("-inf"), out_of_range("-inf")),
        ("a\ud800", SURROGATE),
        ("\udfff", SURROGATE),
        ({"\udbff": 1}, SURROGATE),
        ({1: "a"}, ("BadData", "data hold the key 1; make it a string")),
        ({(1, 2): "a"}, ("BadData", "data hold the key tuple; make it a string")),
        ((1, 2), ("BadData", "data hold a tuple; send JSON")),
        (b"x", ("BadData", "data hold a bytes; send JSON")),
    ],
)
def test_what_json_could_not_hold_is_refused_wherever_it_stands(value: Any, said: tuple[str, str]) -> None:
    for place in (value, [1, value], {"a": "x", "b": value}, {"a": [{"b": [value]}]}):
        assert refusal(check_value, place) == said


@pytest.mark.parametrize("value", ["\0", "admin\0x", {"a\0": 1}, {"ok": 1, "b\0": {}}, ["ok", "\0"]])
def test_the_character_zero_is_refused_wherever_it_stands(value: Any) -> None:
    for place in (value, [1, [value]], {"a": None, "b": value}, {"a": [{"b": value}]}):
        assert refusal(check_no_nul, place) == ZERO


@pytest.mark.parametrize("value", [None, "", "x", "\\0", 0, [0, None, "a", [True]], {"0": {"a": ["b", 1.5]}}])
def test_all_else_is_none(value: Any) -> None:
    check_no_nul(value)


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("é\n", r"'\xe9\n'"),
        (1.5, "1.5"),
        (True, "True"),
        (None, "NoneType"),
        ([1], "list"),
        ("x" * 78, f"'{'x' * 78}'"),
        ("x" * 79, f"'{'x' * 78}…"),
    ],
)
def test_a_value_in_a_message_has_80_characters_at_most(value: Any, text: str) -> None:
    assert shorten_json(value) == text
