"""Calls of tools: which can be made, and what the model is told of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.llm.tool_calls import MAX_ID_CHARS, WrittenCall, is_object, parse_arguments, read_calls
from tests.builders.models import a_tool, model_settings


@pytest.mark.parametrize(
    ("written", "arguments"),
    [("", {}), (" \n", {}), ("{}", {}), ('{"a": [1, null]}', {"a": [1, None]})],
)
def test_arguments_are_an_object(written: str, arguments: object) -> None:
    assert parse_arguments(written) == (arguments, "")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{", "no JSON"),
        ("null", "no object"),
        ("[1]", "no object"),
        ('{"a": NaN}', "no JSON"),
        ('{"a": 1e999}', "64 bits"),
        ("[" * 100_000, "nest deeper"),
        ("\ud800", "no JSON"),
    ],
)
def test_what_is_no_object_is_explained_to_the_model(written: str, problem: str) -> None:
    arguments, said = parse_arguments(written)
    assert arguments is None and problem in said


def test_arguments_are_checked_by_the_schema_of_the_tool() -> None:
    settings = model_settings(tools=(a_tool(),))
    right, wrong = read_calls(
        [WrittenCall("a", "look_up", '{"order": "7"}'), WrittenCall("b", "look_up", '{"order": 7}')], settings
    )
    assert (right.arguments, right.reason) == ({"order": "7"}, None)
    assert (wrong.arguments, wrong.reason) == (None, "MalformedToolArguments")
    assert "data.order: is a number, not string" in wrong.problem


def test_an_unknown_tool_is_told_which_there_are() -> None:
    settings = model_settings(tools=(a_tool(), a_tool("refund")))
    (call,) = read_calls([WrittenCall("a", "lookup", "{}")], settings)
    assert call.reason == "UnknownTool"
    assert call.problem == "There is no tool 'lookup'. Tools: look_up, refund."
    (other,) = read_calls([WrittenCall("a", None, "{}")], model_settings())
    assert other.problem.endswith("Tools: none.")


@given(st.lists(st.none() | st.sampled_from(["", "a", "a_1", "call_1", "x" * 500]) | st.integers()))
def test_ids_are_unique(ids: list[object]) -> None:
    calls = read_calls([WrittenCall(identity, "t", "{}") for identity in ids], model_settings())
    assert len({call.id for call in calls}) == len(ids)


@given(st.lists(st.text(min_size=1, max_size=MAX_ID_CHARS), unique=True))
def test_ids_that_are_unique_stay(ids: list[str]) -> None:
    calls = read_calls([WrittenCall(identity, "t", "{}") for identity in ids], model_settings())
    assert [call.id for call in calls] == ids


def test_an_id_that_is_too_long_is_replaced() -> None:
    calls = read_calls([WrittenCall("x" * (MAX_ID_CHARS + 1), "t", "{}")], model_settings())
    assert calls[0].id == "call_0"


@pytest.mark.parametrize(
    ("written", "fine"),
    [
        ("{}", True),
        ({}, True),
        ("[]", False),
        ("{", False),
        (None, False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_only_objects_stand_in_a_history(written: object, fine: bool) -> None:
    assert is_object(written) is fine
