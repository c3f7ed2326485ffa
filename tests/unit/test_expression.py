"""Expressions against careless authors and hostile data: an answer that is JSON, or a reason; no truthy accident."""

import base64
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.api.fields import MAX_EXPRESSION_CHARS
from heed.core.cel.expression import ExpressionError, Scope, compile_expression
from heed.core.codec.strict_json import MAX_JSON_DEPTH
from tests.builders.expressions import scope
from tests.builders.values import nested_maps


def value(source: str, **variables: Any) -> Any:
    """What an expression yields."""
    return compile_expression(source).value(scope(**variables))


def refusal(source: str, **variables: Any) -> str:
    """Why an expression yields nothing."""
    with pytest.raises(ExpressionError) as caught:
        value(source, **variables)
    return str(caught.value)


# ── what is not there ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["event.data.topic", "state.topic.name", "[event.x]", "{'a': event.x}"])
def test_a_missing_key_is_an_error_that_says_how_to_guard_it(source: str) -> None:
    said = refusal(source, event={"data": {}})

    assert "there is no" in said
    assert "has(…)" in said


@pytest.mark.parametrize("source", ["event.missing", "event.data.flag", "state.done"])
def test_a_condition_on_a_missing_key_is_not_true(source: str) -> None:
    condition = compile_expression(source, condition=True)

    with pytest.raises(ExpressionError, match="there is no"):
        condition.holds(scope(event={"data": {}}))


def test_an_error_that_does_not_decide_is_none() -> None:
    assert value("event.missing == 1 || true") is True
    assert value("event.missing == 1 && false") is False


@pytest.mark.parametrize("data", [None, "text", 7, [1], True])
def test_a_field_of_what_is_no_map_is_an_error(data: Any) -> None:
    assert refusal("event.data.x", event={"data": data})


# ── conditions ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", ["false", "true", 1, 0, None, [], {}, 1.5, b"x"])
def test_only_true_is_true(data: Any) -> None:
    condition = compile_expression("event.data", condition=True)

    with pytest.raises(ExpressionError, match="not a boolean"):
        condition.holds(scope(event={"data": data}))


@pytest.mark.parametrize("source", ["'yes'", "1", "null", "[true]", "event.data + 'x'"])
def test_a_condition_that_can_be_no_boolean_is_found_when_it_is_compiled(source: str) -> None:
    if "event" in source:
        with pytest.raises(ExpressionError, match="not a boolean"):
            compile_expression(source, condition=True).holds(scope(event={"data": "a"}))
    else:
        with pytest.raises(ExpressionError, match="not a boolean; compare it"):
            compile_expression(source, condition=True)


def test_an_unresolved_optional_is_not_true() -> None:
    condition = compile_expression("state.?done", condition=False)

    with pytest.raises(ExpressionError, match="orValue"):
        condition.holds(scope(state={"done": True}))


# ── what an author mistypes ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("evnt.data", 'unknown variable or function "evnt"; did you mean "event"?'),
        ("sate.x == 1", 'did you mean "state"?'),
        ("zzz.x", "known here are event, state, task, input, agent, session"),
        ("frobnicate(1)", 'unknown function "frobnicate"'),
        ("1 +", "line 1, column 4"),
        ("event.data ==\n\n&& true", "line 3"),
        ("", "line 1"),
        ("   ", "line 1"),
        ("1 + 'a'", "no matching overload"),
        ("9223372036854775808", "invalid int literal"),
        ("'\\ud800'", "Unicode"),
        ("has(event)", "has()"),
    ],
)
def test_a_mistake_is_explained_in_one_line(source: str, expected: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "'" + "x" * MAX_EXPRESSION_CHARS + "'",
        "1" + " " * MAX_EXPRESSION_CHARS,
        "1 // " + "x" * MAX_EXPRESSION_CHARS,
        "+".join(["1"] * 100),
        "[" * 100 + "]" * 100,
        "true ? 1 : " * 100 + "2",
    ],
)
def test_a_monstrous_expression_is_refused_quickly(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source)


@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused(source: str) -> None:
    with contextlib.suppress(ExpressionError):
        compile_expression(source)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(TEXT, max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(TEXT, max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_data_go_through_an_expression_unchanged(data: Any) -> None:
    assert value("event.data", event={"data": data}) == data


def test_the_deepest_data_an_event_may_have_go_through() -> None:
    assert value("event.data", event={"data": nested_maps(MAX_JSON_DEPTH)}) == nested_maps(MAX_JSON_DEPTH)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615u", 2**64 - 1),
        ("b'\\xff\\x00'", base64.b64encode(b"\xff\x00").decode()),
        ("'é😀'.size()", 2),
        ("'\\U0010ffff'", "\U0010ffff"),
        ("timestamp('2026-01-31T12:00:00Z')", "2026-01-31T12:00:00Z"),
        ("timestamp('2026-01-31T12:00:00.5+02:00')", "2026-01-31T10:00:00.500Z"),
        ("timestamp('0001-01-01T00:00:00Z')", "0001-01-01T00:00:00Z"),
        ("timestamp('9999-12-31T23:59:59Z')", "9999-12-31T23:59:59Z"),
        ("duration('1h30m')", "5400s"),
        ("duration('1234567s')", "1234567s"),
        ("duration('-1500ms')", "-1.500s"),
        ("duration('315576000000s')", "315576000000s"),
        ("[duration('0s')]", ["0s"]),
        ("{'b': 1, 'a': [null]}", {"a": [None], "b": 1}),
        ("event.?x.orValue('none')", "none"),
        ("{?'a': event.?x}", {}),
        ("[?event.?x]", []),
        ("optional.of(1).hasValue()", True),
    ],
)
def test_a_value_becomes_json_as_cel_says(source: str, expected: Any) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1.0 / 0.0", "inf, which JSON cannot hold"),
        ("[0.0 / 0.0]", "nan, which JSON cannot hold"),
        ("{1: 2}", "JSON keys are strings"),
        ("{'a': {true: 2}}", "JSON keys are strings"),
        ("type(1)", "which JSON cannot hold"),
        ("{'t': [int]}", "which JSON cannot hold"),
        ("9223372036854775807 + 1", "overflow"),
        ("1 / 0", "divide by zero"),
        ("string(b'\\xff')", "UTF-8"),
        ("matches('a', '(')", "regular expression"),
        ("event.data.n + 1", "overload"),
        ("'%.1001f'.format([1.0])", "precision"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "overflow"),
    ],
)
def test_what_json_cannot_hold_or_cel_cannot_do_is_refused(source: str, reason: str) -> None:
    assert reason in refusal(source, event={"data": {"n": 1.5}})


@pytest.mark.parametrize(
    "source",
    [
        "optional.of(1)",
        "optional.none()",
        "state.?x",
        "[optional.none()]",
        "dyn([state.?x])",
        "true ? [state.?x] : []",
    ],
)
def test_an_optional_that_was_not_resolved_is_refused(source: str) -> None:
    assert "orValue" in refusal(source)


class Held:
    """Stands for a value of the library that holds others; it must not be asked to convert itself."""

    def __init__(self, like: str, held: Any) -> None:
        self._type, self._held = evaluated(like).type(), held

    def type(self) -> Any:
        return self._type

    def value(self) -> Any:
        return self._held

    def plain_value(self) -> Any:
        raise AssertionError("the library was asked to convert what holds an optional")


def evaluated(source: str) -> Any:
    """The library's own value of an expression."""
    return scope().evaluate(compile_expression(source))


def a_map(**held: Any) -> Held:
    return Held("{'a': 1}", held)


def a_list(*held: Any) -> Held:
    return Held("[1]", list(held))


@pytest.mark.parametrize(
    "shape",
    [
        lambda optional: a_list(optional),
        lambda optional: a_map(a=evaluated("1"), b=optional),
        lambda optional: a_map(a=a_list(a_map(b=optional))),
        lambda optional: a_list(a_map(n=evaluated("1"), x=optional)),
        lambda optional: a_list(a_list(evaluated("'x'")), a_list(a_list(optional))),
    ],
)
def test_what_holds_an_optional_at_any_depth_is_refused_before_the_library_converts_it(
    shape: Callable[[Any], Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shape(optional_value())
    monkeypatch.setattr(Scope, "evaluate", lambda self, expression: found)

    with pytest.raises(ExpressionError, match="orValue"):
        compile_expression("state.?x").value(scope())


def optional_value() -> Any:
    """An optional as the library has it inside of a list."""
    (optional,) = evaluated("[optional.none()]").value()
    return optional


@pytest.mark.parametrize("levels", [1_000, 3_000])
def test_data_too_deep_for_python_are_an_error_not_a_crash(levels: int) -> None:
    assert "deep" in refusal("event.data", event={"data": nested_maps(levels)}) or levels < 1_000


@pytest.mark.parametrize("data", ["\ud800", {"\ud800": 1}, ["a\udfff"]])
def test_half_a_surrogate_pair_is_refused(data: Any) -> None:
    assert refusal("event.data", event={"data": data})


def test_endless_work_runs_out_of_its_budget() -> None:
    ten = "[0,1,2,3,4,5,6,7,8,9]"
    source = "1"
    for name in "abcde":
        source = f"{ten}.map({name}, {source})"

    assert "budget" in refusal(source)


def test_one_broken_evaluation_does_not_spoil_the_scope() -> None:
    shared = scope(event={"data": {"n": 1}})
    with pytest.raises(ExpressionError):
        compile_expression("event.data.x").value(shared)

    assert compile_expression("event.data.n").value(shared) == 1
