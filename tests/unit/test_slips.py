"""The likeliest slips in CEL are answered with what to write."""

import pytest

from heed.core.expressions import ExpressionError, compile_expression
from tests.unit.builders import scope

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
        ("state.none.x", "what stands before a dot is no map, but null, a string"),
        ("has(state.text.x.y)", "what stands before a dot is no map"),
        ("state.text[0]", "only lists and maps have […]"),
        ("state.number.map(x, x)", "what this goes over is neither a list nor a map"),
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
