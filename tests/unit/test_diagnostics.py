"""The likeliest slips in CEL are answered with what to write."""

from contextlib import suppress

import pytest

from heed.core.cel.diagnostics import FUNCTIONS
from heed.core.cel.expression import ExpressionError, compile_expression
from tests.builders.expressions import scope
from tests.markdown import ROOT

STATE = {"none": None, "text": "x", "number": 3, "part": 1.5, "list": [1]}


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("${event.data.x}", "it is CEL itself: write it without ${…}"),
        ("event.data.x = 1", "write == to compare"),
        ("event.data.x=1", "write == to compare"),
        ('event.type == "a" and true', "write && for and"),
        ("true and", "write && for and"),
        ("true OR false", "write || for or"),
        ("true | false", "write || for or"),
        ("not true", "write ! for not"),
        ("true && not state.x", "write ! for not"),
        ("event.data is null", "write == for is"),
        ("true &&\n", "it ends too early (line 2, column 1); write what has to follow"),
        ("size([1, 2]", "close the bracket"),
        ('"text', "close the quote"),
        ("true ? 1", "write condition ? this : that"),
        ("if true then 1", "write condition ? this : that"),
        ("event == None", "write null"),
        ("1 * 2.0", "write double(…) around the integer"),
        ("'a' + 1", "write string(…) around what is no string"),
        ("has(state)", "write has(a.b)"),
        ("len(event.data.x) > 1", 'unknown function "len"; write size(x)'),
        ("event.data.x.len() > 1", 'unknown function "len"; write size(x)'),
        ("sum(event.data.x) > 1", "nothing adds up a list; count in `state`"),
        (
            "event.time < now()",
            "there is no clock, so that a decision can be repeated; use timestamp(event.time)",
        ),
        ("keys(event.data)", "x.map(key, key)"),
        ("event.data.keys()", "x.map(key, key)"),
        ("event.type.startswith('x')", "did you mean startsWith(…)?"),
        ("event.type.endWith('x')", "did you mean endsWith(…)?"),
        ("timestmp(event.time)", "did you mean timestamp(…)?"),
        ("math.max(1, 2)", 'unknown function "math.max"; write math.greatest(a, b)'),
        ("frobnicate(1)", "docs/agents.md lists what there is"),
        ("evnt.data.x", 'unknown variable or function "evnt"; did you mean "event"?'),
    ],
)
def test_what_does_not_compile(source: str, remedy: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)

    assert remedy in str(caught.value)
    assert "IDENTIFIER" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("state.number * state.part", "integers and doubles do not mix: write double(…) around the integer"),
        ("state.part - 1", "write double(…) around the integer"),
        ("state.text + 1", "write string(…) around what is no string"),
        ("state.text < 1", "both sides have to be of one type"),
        (
            "state.none.x",
            "state.none is null, not a map; ask first: type(state.none) == map && has(state.none.x)",
        ),
        ("has(state.text.x.y)", "state.text is a string, not a map"),
        ("[state.text].all(item, item.x)", "what stands before a dot is no map, but null, a string"),
        ("[state.text].all(item, item.?x.orValue(true))", "what stands before .? or [?] is no map"),
        ("state.none > 1", "a value is null here; ask first: x != null"),
        ("state.none.size() > 1", "what stands before the dot is null; ask first: x != null"),
        ("state.text[0]", "only lists and maps have […]"),
        ("state.number.map(x, x)", "state.number is a number, not a list or a map"),
        ("[state.number][0].map(x, x)", "what this goes over is neither a list nor a map"),
        ("state.text && true", "&& takes true or false; compare with something"),
        ("!state.number", "! takes true or false"),
        ("1 in state.text", "`in` needs a list or a map on its right"),
        ("size(state.number)", "size does not take this; check the types"),
    ],
)
def test_what_breaks_with_the_data(source: str, remedy: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).value(scope(state=STATE))

    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "source", ['"and" == "and" x', "state.is x", "event.data.list[7] &&& x", "a.b.c d", "1 $$ 2"]
)
def test_what_is_not_known_is_told_as_it_is(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)

    assert "line 1" in str(caught.value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_that_messages_know_exist_and_are_on_the_page(name: str) -> None:
    page = (ROOT / "docs/agents.md").read_text()
    assert f"`{name}`" in page or f"`{name}(" in page

    arguments = ("", "1", "1.5", "'a'", "b'a'", "event.x", "x, true", "x, event.?x", "'a', 'b'", "event.?x")
    receivers = (
        "",
        "'a'.",
        "[event].",
        "event.",
        "['a'].",
        "event.?x.",
        "timestamp('2026-01-31T12:00:00Z').",
    )
    compiled = 0
    for source in (f"{receiver}{name}({given})" for receiver in receivers for given in arguments):
        with suppress(ExpressionError):
            compile_expression(source)
            compiled += 1

    assert compiled
