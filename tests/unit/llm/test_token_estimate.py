"""Estimates of tokens: bounds from above and below, and the turn after one that was counted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.token_estimate import (
    TOKENS_PER_ENTRY,
    TOKENS_PER_IMAGE,
    TOKENS_PER_REQUEST,
    estimate_request,
    least_tokens,
    most_tokens,
)
from heed.core.llm.transcript import AssistantTurn, FilePart, ImagePart, Prompt, ToolResult
from tests.builders.models import ORDER_SCHEMA, a_tool, model_settings

HELLO = Prompt.of("user", "hello")


@pytest.mark.parametrize(
    ("text", "most", "least"),
    [
        ("", 0, 0),
        ("a", 2, 0),
        ("hello", 4, 0),
        ("hello world", 7, 1),
        ("HELLO", 5, 0),
        ("aBcDe", 4, 0),
        ("getHTTPResponse", 2 + 3 + 4 + 1, 0),
        ("a" * 32, 17, 0),
        ("a" * 33, 34, 0),
        ("aB3+/=_-" * 5, 41, 0),
        ("abcd1234" * 4, 25, 0),
        ("1234", 5, 0),
        ('{"a": 1}', 8, 1),
        ("a    b", 6, 1),
        ("a\n\nb", 5, 1),
        ("é", 3, 0),
        ("日本", 7, 0),
        ("one two three four", 10, 3),
    ],
)
def test_the_rule(text: str, most: int, least: int) -> None:
    assert (most_tokens(text), least_tokens(text)) == (most, least)


@given(st.text(), st.text())
def test_the_bounds_enclose_each_other_and_grow(one: str, other: str) -> None:
    assert least_tokens(one) <= most_tokens(one) <= len(one.encode(errors="replace")) + 1
    assert least_tokens(one + " " + other) >= least_tokens(one) + least_tokens(other)
    both = most_tokens("x" + one + "\n" + other + "x")
    assert both == most_tokens("x" + one) + most_tokens(
        other + "x"
    )  # the line's end is one, and so is each text


def test_a_request_counts_all_that_is_sent() -> None:
    bare = estimate_request(model_settings(), [HELLO])
    assert bare.most == TOKENS_PER_REQUEST + TOKENS_PER_ENTRY + 4
    result = estimate_request(model_settings(), [HELLO, ToolResult("a", "t", "hello")])
    assert result.most == bare.most + TOKENS_PER_ENTRY + 4
    turn = estimate_request(model_settings(), [HELLO, AssistantTurn("Responses", ({"a": 1}, {}), "hello")])
    assert turn.most == bare.most + TOKENS_PER_ENTRY + most_tokens('{"a": 1}') + most_tokens("{}")
    tool = json.dumps(["look_up", "Does look_up.", ORDER_SCHEMA])
    offering = estimate_request(model_settings(tools=(a_tool(),)), [HELLO])
    assert offering.most == bare.most + most_tokens(tool) + TOKENS_PER_ENTRY
    structured = estimate_request(model_settings(output=CheckedSchema.of(ORDER_SCHEMA)), [HELLO])
    assert structured.most == bare.most + most_tokens(json.dumps(ORDER_SCHEMA)) + TOKENS_PER_ENTRY
    image = Prompt("user", (ImagePart("data:" + "A" * 1000),))
    assert (
        estimate_request(model_settings(), [image]).most
        == TOKENS_PER_REQUEST + TOKENS_PER_ENTRY + TOKENS_PER_IMAGE
    )
    file = Prompt("user", (FilePart("f", "A" * 1000),))
    assert estimate_request(model_settings(), [file]).most == (
        TOKENS_PER_REQUEST + TOKENS_PER_ENTRY + TOKENS_PER_IMAGE + 500
    )


def test_from_below_only_words_count_that_must_be_read() -> None:
    thoughts = AssistantTurn("ChatCompletions", ({"reasoning": "word " * 100},), "two words")
    result = ToolResult("a", "t", "word " * 10)
    assert estimate_request(model_settings(tools=(a_tool(),)), [thoughts, result]).least == 1 + 7
