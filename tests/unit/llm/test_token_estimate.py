"""Estimates of tokens: bounds from above and below, and the turn after one that was counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.llm.model_answer import Usage
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.token_estimate import (
    TOKENS_PER_ENTRY,
    TOKENS_PER_IMAGE,
    TOKENS_PER_REQUEST,
    estimate_next,
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
        ("a", 1, 0),
        ("hello", 3, 0),
        ("hello world", 6, 1),
        ("a" * 16, 8, 0),
        ("a" * 17, 17, 0),
        ("1234", 4, 0),
        ('{"a": 1}', 7, 1),
        ("a    b", 5, 1),
        ("a\n\nb", 4, 1),
        ("é", 2, 0),
        ("日本", 6, 0),
        ("one two three four", 9, 2),
    ],
)
def test_the_rule(text: str, most: int, least: int) -> None:
    assert (most_tokens(text), least_tokens(text)) == (most, least)


@given(st.text(), st.text())
def test_the_bounds_enclose_each_other_and_grow(one: str, other: str) -> None:
    assert least_tokens(one) <= most_tokens(one) <= len(one.encode(errors="replace"))
    assert least_tokens(one + " " + other) >= least_tokens(one) + least_tokens(other)
    assert most_tokens(one + "\n" + other) == most_tokens(one) + 1 + most_tokens(other)


def test_a_request_counts_all_that_is_sent() -> None:
    bare = estimate_request(model_settings(), [HELLO])
    assert bare.most == TOKENS_PER_REQUEST + TOKENS_PER_ENTRY + 3
    assert estimate_request(model_settings(tools=(a_tool(),)), [HELLO]).most > bare.most + 50
    assert (
        estimate_request(model_settings(output=CheckedSchema.of(ORDER_SCHEMA)), [HELLO]).most > bare.most + 30
    )
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
    assert estimate_request(model_settings(tools=(a_tool(),)), [thoughts, result]).least == 1 + 5


def test_a_later_turn_goes_by_what_the_endpoint_counted() -> None:
    added = [ToolResult("a", "t", "done")]
    assert (
        estimate_next(model_settings(), Usage(1000, 200), added)
        == TOKENS_PER_REQUEST + 1200 + TOKENS_PER_ENTRY + 2
    )
