"""What authors read of an expression that does not compile or breaks: the remedy, whole, for each sort of mistake."""

from typing import Any

import pytest

from heed.core.cel.diagnostics import (
    explain_no_list,
    explain_no_map,
    find_remedies,
    readable_message,
    suggest_function,
)
from heed.core.cel.expression import (
    ExpressionError,
    Scope,
    compile_expression,
    expanded_size,
    explain_out_of_memory,
)
from tests.builders.expressions import scope

BOOLEAN = "what stands before ? has to be true or false; compare it with something"
BRANCHES = "what stands on both sides of : has to be of one type; write dyn(…) around one of them"
MIXED = "integers and doubles do not mix: write double(…) around the integer"
TYPES = "both sides have to be of one type; convert one with double(…), int(…) or string(…)"
TEXT = "write string(…) around what is no string"
SELECT = (
    "what stands before a dot is no map, but null, a string, a number or a list; "
    "ask first: type(x) == map && has(x.y)"
)
OPTIONAL = (
    "what stands before .? or [?] is no map, but null, a string, a number or a list; "
    "ask first: type(x) == map ? x.?y.orValue(…) : …"
)
KNOWN = "known here are event, state, task, input, agent, session"
STATE = {"none": None, "text": "x", "number": 3, "part": 1.5, "list": [1], "map": {"a": 1}}


def explained(source: str, **variables: Any) -> str:
    """Why an expression does not compile, or yields nothing."""
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).value(scope(**{"state": STATE, **variables}))
    return str(caught.value)


# ── what does not compile ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("evnt.data", 'unknown variable or function "evnt"; did you mean "event"?'),
        ("zzz.foo(1)", f'unknown variable or function "zzz"; {KNOWN}'),
        ("True", 'unknown variable or function "True"; write true'),
        ("event == NULL", 'unknown variable or function "NULL"; write null'),
        ("zzz(1)", 'unknown function "zzz"; docs/agents.md lists what there is'),
        ("event.zzz(1)", 'unknown function "zzz"; docs/agents.md lists what there is'),
        ("len (event)", 'unknown function "len"; write size(x)'),
        ("event.data.len()", 'unknown function "len"; write size(x)'),
        ("math.zzz(1)", 'unknown function "math.zzz"; docs/agents.md lists what there is'),
        (
            "math.floor (1.5) + math.mx(1)",
            'unknown function "math.mx"; docs/agents.md lists what there is',
        ),
        ("math.floor(1.5) == math.foor(1.5)", 'unknown function "math.foor"; did you mean math.floor(…)?'),
        (
            "math.abs(1) > 0 &&\n math.max(1, 2) > 1",
            'unknown function "math.max"; write math.greatest(a, b), or of a list math.greatest(x)',
        ),
        ("optional.off(1)", 'unknown function "optional.off"; did you mean optional.of(…)?'),
        ("size(1, 2)", 'unknown function "size"; size(…) takes other arguments'),
        (
            "duration(60) > duration('1s')",
            "duration(…) cannot do this; write duration('60s'), or duration(string(x) + 's')",
        ),
        ("int(duration('1s'))", "int(…) cannot do this; write x.getSeconds(), which is all of its seconds"),
        ("1 +", "Syntax error: it ends too early (line 1, column 4); write what has to follow"),
        (
            "true ? 1",
            "Syntax error: it ends too early expecting ':' (line 1, column 9); write condition ? this : that",
        ),
        ("[1", "Syntax error: it ends too early (line 1, column 3); close the bracket"),
        ("{'a': 1", "Syntax error: it ends too early (line 1, column 8); close the bracket"),
    ],
)
def test_our_own_words_for_what_does_not_compile(source: str, words: str) -> None:
    assert explained(source) == words


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("(1", "close the bracket"),
        ("event.data[", "write what has to follow"),
        ("event.data ==\n\nx and y", "write && for and"),
        ("1 + 'a'", TEXT),
        ("'a' < 1", TYPES),
        ("1 - 'a'", TYPES),
        ("1.0 + 1", MIXED),
        ("2u * 1.5", MIXED),
        ("'a' && true", "&& takes true or false; compare with something"),
        ("1 || true", "|| takes true or false; compare with something"),
        ("!1", "! takes true or false; compare with something"),
        ("-'a'", "- does not take this; check the types"),
        ("1 in 2", "`in` needs a list or a map on its right"),
        ("[1] + 1", "+ does not take this; check the types"),
        ("'%s'.format(1)", "format does not take this; check the types"),
        ("true ? 1 : 'a'", BRANCHES),
        ("event.x ? [[1]] : [1]", BRANCHES),
        ("true ? null : 1", BRANCHES),
        ("1 ? 2 : 3", BOOLEAN),
        ("'a' ? 'b' : 1", BOOLEAN),
        ("null + 1", "a value is null here; ask first: x != null"),
        ("[1].x", "only maps have fields"),
        ("has(event)", "write has(a.b)"),
        ("if (true)", "write condition ? this : that"),
        ("event.x = 1", "write == to compare"),
        ("$x", "it is CEL itself: write it without ${…}"),
        ("event & x", "write && for and"),
        ("event | x", "write || for or"),
        ('"a', "close the quote"),
        ("'a", "close the quote"),
    ],
)
def test_the_remedy_ends_the_message_of_what_does_not_compile(source: str, remedy: str) -> None:
    found = explained(source)

    assert found.endswith(f"; {remedy}")
    assert found.count("; ") == 1 + remedy.count("; ")
    assert "INVALID_ARGUMENT" not in found and "\n" not in found


@pytest.mark.parametrize(
    "source", ["`a", "event.x y", "event..x", "event.a.map(1, x)", "9223372036854775808", "in", "event.data)"]
)
def test_where_no_remedy_is_known_there_is_the_place_only(source: str) -> None:
    assert ";" not in explained(source)
    assert "(line 1, column " in explained(source)


# ── what breaks with the data ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("state.zzz", 'there is no "zzz"; guard it with has(…) or use .?zzz.orValue(…)'),
        ("state.map['a b']", 'there is no "a b"; guard it with has(…) or use .?a b.orValue(…)'),
        (
            "state.none.x",
            "state.none is null, not a map; ask first: type(state.none) == map && has(state.none.x)",
        ),
        (
            "has(state.list.a)",
            "state.list is a list, not a map; ask first: type(state.list) == map && has(state.list.a)",
        ),
        (
            "state.?none.?x",
            "state.none is null, not a map; ask first: type(state.none) == map ? state.none.?x.orValue(…) : …",
        ),
        (
            "state.none.map(x, x)",
            "state.none is null, not a list or a map; ask first: type(state.none) == list ? … : []",
        ),
        ("state.?zzz", "is an optional that was not resolved; end it with .orValue(…)"),
        ("1 / (state.number - 3)", "divide by zero"),
        ("{state.text: 1, 'x': 2}", "duplicate key in map"),
        ("1.0 / (state.part - 1.5)", "is inf, which JSON cannot hold"),
        ("{state.number: 1}", "has the map key 3; JSON keys are strings"),
    ],
)
def test_our_own_words_for_what_breaks(source: str, words: str) -> None:
    assert explained(source) == words


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("state.number + state.part", MIXED),
        ("state.text + 1", TEXT),
        ("state.text < 1", TYPES),
        ("state.list + 1", TYPES),
        ("state.text ? 1 : 2", BOOLEAN),
        ("state.text && true", "&& takes true or false; compare with something"),
        ("state.none > 1", "a value is null here; ask first: x != null"),
        ("state.none.size() > 1", "what stands before the dot is null; ask first: x != null"),
        ("state.text[0]", "only lists and maps have […]"),
        ("1 in state.none", "`in` needs a list or a map on its right"),
        ("size(state.number)", "size does not take this; check the types"),
        ("[state.none][0].x", SELECT),
        ("dyn(optional.of(1)).x", SELECT),
        ("[state.text][0].?x", OPTIONAL),
        ("state.text[?0].orValue(1)", OPTIONAL),
        ("[state.number][0].map(x, x)", "what this goes over is neither a list nor a map"),
        (
            "optional.none().value()",
            "write .orValue(…) for .value(), with what holds where there is nothing",
        ),
    ],
)
def test_the_remedy_ends_the_message_of_what_breaks(source: str, remedy: str) -> None:
    found = explained(source)

    assert found.endswith(f"; {remedy}")
    assert found.count("; ") == 1 + remedy.count("; ")
    assert not any(code in found for code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "ALREADY_EXISTS"))


def test_a_message_of_the_library_is_cut() -> None:
    assert len(explained("int(state.text)", state={"text": "x" * 9000})) <= 500
    assert explained("timestamp(state.text)").startswith("String to Timestamp conversion failed")


@pytest.mark.parametrize(
    ("source", "type_"), [("event.data", "string"), ("event.data + 'x'", "string"), ("[event.data]", "list")]
)
def test_a_condition_that_is_no_boolean_says_what_it_is(source: str, type_: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).holds(scope(event={"data": "a"}))

    assert str(caught.value).startswith(f"is {type_}")
    assert str(caught.value).endswith(", not a boolean; compare it with something")


def test_a_condition_holds_or_not() -> None:
    both = compile_expression("event.data == 'a'", condition=True)

    assert both.holds(scope(event={"data": "a"})) is True
    assert both.holds(scope(event={"data": "b"})) is False


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_expression_has_1024_characters() -> None:
    assert compile_expression("'" + "x" * 1022 + "'").value(scope()) == "x" * 1022
    with pytest.raises(ExpressionError) as caught:
        compile_expression("'" + "x" * 1023 + "'")
    assert str(caught.value) == "has 1025 characters, more than 1024; shorten it"


def test_five_of_opt_map_and_no_more() -> None:
    five = "optional.of(1)" + ".optMap(x, x)" * 4 + ".optFlatMap(x, optional.of(x))"

    assert compile_expression(five + ".orValue(2)").value(scope()) == 1
    with pytest.raises(ExpressionError) as caught:
        compile_expression(five + ".optMap(x, x).orValue(2)")
    assert str(caught.value) == "has more than 5 of optMap and optFlatMap; split it"


def test_what_its_macros_make_too_long_is_refused() -> None:
    def source(length: int) -> str:
        return "optional.of([" + ", ".join(["event.a"] * length) + "])" + ".optMap(x, x)" * 5

    compile_expression(source(10))
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source(100))
    assert str(caught.value) == "is too much once its macros are written out; shorten or split it"


@pytest.mark.parametrize(
    ("source", "characters"),
    [
        ("1 + 2", 5),
        ("a.optMap(x, x)", 14 * 2),
        ("a.optMap(x, x).optFlatMap(y, y)", 31 * 4),
        ("x.optMaps(y) + x.noptMap(y)", 27),
        ("a" + ".optMap(x, x)" * 6, 79 * 64),
        ("a" + ".optMap(x, x)" * 9, 118 * 64),
    ],
)
def test_each_opt_map_doubles_what_an_expression_weighs(source: str, characters: int) -> None:
    assert expanded_size(source) == characters


def test_a_decision_without_memory_is_a_dead_letter_of_its_handler() -> None:
    failure = explain_out_of_memory("answer")

    assert (failure.code, failure.handler) == ("TooCostly", "answer")
    assert str(failure).startswith("needs too much memory; work on less data")
    assert explain_out_of_memory().handler is None


def test_a_scope_converts_its_variables_once_and_for_itself() -> None:
    variables = {**scope().variables, "event": {"data": 1}}
    shared = Scope(variables)
    assert compile_expression("event.data").value(shared) == 1

    variables["event"] = {"data": 2}

    assert compile_expression("event.data").value(shared) == 1
    assert compile_expression("event.data").value(Scope(variables)) == 2


# ── the words by themselves ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("len", "write size(x)"),
        ("max", "write math.greatest(a, b), or of a list math.greatest(x)"),
        ("floor", "write math.floor(x)"),
        ("range", "there is no range; let the event carry a list"),
        ("contains", "contains(…) takes other arguments"),
        ("startswith", "did you mean startsWith(…)?"),
        ("Timestamp", "did you mean timestamp(…)?"),
        ("greatst", "did you mean math.greatest(…)?"),
        ("encoded", "did you mean base64.encode(…)?"),
        ("existsone", "did you mean exists_one(…) or exists(…)?"),
        ("zzz", "docs/agents.md lists what there is"),
    ],
)
def test_for_a_function_that_there_is_not_the_nearest_is_named(name: str, instead: str) -> None:
    assert suggest_function(name) == instead


def test_what_is_no_list_or_no_map_is_asked_for_as_it_can_be() -> None:
    assert explain_no_list(("event", "data"), "null") == (
        "event.data is null, not a list or a map; ask first: type(event.data) == list ? … : []"
    )
    assert explain_no_list(("event", "data", "a"), "a string") == (
        "event.data.a is a string, not a list or a map; "
        "ask first: type(event.data.?a.orValue(null)) == list ? … : []"
    )
    path, member = ("event", "data", "a"), ("event", "data", "a", "b")
    assert explain_no_map(path, "null", member, optional=False) == (
        "event.data.a is null, not a map; ask first: type(event.data.a) == map && has(event.data.a.b)"
    )
    assert explain_no_map(path, "null", member, optional=True) == (
        "event.data.a is null, not a map; "
        "ask first: type(event.data.?a.orValue(null)) == map ? event.data.a.?b.orValue(…) : …"
    )
    assert explain_no_map(path[:2], "a list", path, optional=True) == (
        "event.data is a list, not a map; ask first: type(event.data) == map ? event.data.?a.orValue(…) : …"
    )


def test_lists_of_tokens_are_left_out() -> None:
    assert readable_message("Syntax error: mismatched input 'x' expecting {'[', '{', IDENTIFIER}") == (
        "Syntax error: mismatched input 'x'"
    )
    assert readable_message("mismatched input '<EOF>' expecting ':'") == "it ends too early expecting ':'"
    assert readable_message("nothing {of} this") == "nothing {of} this"


@pytest.mark.parametrize(
    ("message", "before", "found"),
    [
        ("token recognition error at: '~'", "", []),
        ("extraneous input 'x' expecting <EOF>", "event NOT ", ["write ! for not"]),
        ("extraneous input 'x' expecting <EOF>", "event.not ", []),
        ("extraneous input 'x' expecting <EOF>", "cannot ", []),
        ("extraneous input 'AND' expecting <EOF>", "a or ", ["write && for and"]),
        ("mismatched input '<EOF>' expecting ']'", "a", ["close the bracket"]),
        ("mismatched input '<EOF>' expecting {']', ','}", "a", ["close the bracket"]),
        ("mismatched input '<EOF>' expecting {')', ','}", "a", ["close the bracket"]),
        ("mismatched input '<EOF>' expecting {'}', ','}", "a", ["close the bracket"]),
        ("mismatched input '<EOF>' expecting {'(', IDENTIFIER}", "a and", ["write && for and"]),
        ("mismatched input '<EOF>' expecting {'(', IDENTIFIER}", "1 +", ["write what has to follow"]),
        ("something else", "", []),
    ],
)
def test_what_to_do_about_a_message(message: str, before: str, found: list[str]) -> None:
    assert list(find_remedies(message, before)) == found
