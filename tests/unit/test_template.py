"""Templates: what is literal stays literal, what is CEL keeps its type, and nothing an event says is read as CEL."""

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.core.cel.template import TemplateError, compile_template, is_single
from tests.builders.expressions import scope


def render(template: Any, **variables: Any) -> Any:
    """A template rendered."""
    return compile_template(template).render(scope(**variables))


def refusal(template: Any, **variables: Any) -> TemplateError:
    """Why a template cannot be parsed or rendered."""
    with pytest.raises(TemplateError) as caught:
        render(template, **variables)
    return caught.value


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${event.n}", 3),
        ("${event.n + 1}", 4),
        ("${null}", None),
        ("${[1, {'a': true}]}", [1, {"a": True}]),
        (" ${event.n}", " 3"),
        ("${event.n}${event.n}", "33"),
        ("n=${event.n}, t=${true}, z=${null}", "n=3, t=true, z=null"),
        ("${1.5}|${[1, 2]}|${{'b': 1, 'a': 'x'}}", '1.5|[1,2]|{"a":"x","b":1}'),
        ("${event.s} & ${event.s}", "é😀 & é😀"),
    ],
)
def test_one_expression_keeps_its_type_and_several_become_text(template: str, expected: Any) -> None:
    assert render(template, event={"n": 3, "s": "é😀"}) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${'}'}", "}"),
        ('${"}" + "{"}', "}{"),
        ("${'it\\'s }'}", "it's }"),
        ("${'''a'}'b'''}", "a'}'b"),
        ('${"""a"}"b"""}', 'a"}"b'),
        ("${r'\\d}'}", "\\d}"),
        ("${R'\\d' + '}'}", "\\d}"),
        ("${r'''a'}\\\\'''}", "a'}\\\\"),
        ("${b'}' == b'}'}", True),
        ("${br'\\\\' == b'\\\\\\\\'}", True),
        ("${{'a': {'b': 1}}.a.b}", 1),
        ("${ {'a': '}'}['a'] }", "}"),
        ("${'${'}", "${"),
        ("a}b", "a}b"),
        ("{${1}}", "{1}"),
        ("${''}", ""),
    ],
)
def test_braces_and_quotes_in_cel_strings_do_not_end_an_expression(template: str, expected: Any) -> None:
    assert render(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("$${x}", "${x}"),
        ("$${", "${"),
        ("a$${b}$${c", "a${b}${c"),
        ("$$${x}", "$${x}"),
        ("$${${1}}", "${1}"),
        ("${1}$${x}", "1${x}"),
        ("$", "$"),
        ("$$", "$$"),
        ("${1}$", "1$"),
        ("$ {x}", "$ {x}"),
        ("$(x) $x", "$(x) $x"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_a_doubled_dollar_writes_a_literal_one(template: str, expected: str) -> None:
    assert render(template) == expected
    assert render({"a": [template]}) == {"a": [expected]}
    assert render({"a": [template], "b": "${1}"}) == {"a": [expected], "b": 1}


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("${event.n", "no closing brace"),
        ("${", "no closing brace"),
        ("ok ${1} and ${ {", "no closing brace"),
        ("${'abc}", "closing quote"),
        ("${'''abc'}", "closing quote"),
        ("${'abc\\'}", "closing quote"),
        ("${}", "Syntax error"),
        ("${ }", "Syntax error"),
        ("${evnt.x}", 'did you mean "event"?'),
    ],
)
def test_what_is_not_closed_or_no_cel_is_refused_with_its_place(template: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template({"a": [{"b": template}]})

    assert reason in caught.value.message
    assert caught.value.path == ".a[0].b"


def test_what_does_not_resolve_names_its_place_and_expression() -> None:
    error = refusal({"args": ["x", "${event.topic}"]})

    assert error.path == ".args[1]"
    assert "${event.topic}" in error.message
    assert 'no "topic"' in error.message


def test_what_an_event_says_is_never_read_as_cel() -> None:
    hostile = {"a": "${agent.name}", "b": ["$${x}", {"${c}": "${"}]}

    assert render("${event.data}", event={"data": hostile}, agent={"name": "secret"}) == hostile
    assert render("<${event.data.a}>", event={"data": hostile}) == "<${agent.name}>"


def test_keys_are_literal() -> None:
    assert render({"${x}": "${1}"}) == {"${x}": 1}


def test_a_template_without_expressions_says_so() -> None:
    assert compile_template({"a": ["b", 1, None, "$${"]}).constant
    assert not compile_template({"a": ["b", 1, None, "${1}"]}).constant


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, "", [None, {"a": None}]])
def test_other_values_stay_what_they_are(value: Any) -> None:
    assert render(value) == value


@given(st.text())
@example("${" * 200)
@example("$" * 50 + "{")
def test_any_string_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(TemplateError):
        compile_template(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_literal_can_be_written(text: str) -> None:
    assert render(text.replace("${", "$${")) == text


@pytest.mark.parametrize(
    ("text", "single"),
    [("${a}", True), ("${'}${'}", True), ("${a}${b}", False), ("${a} and ${b}", False), ("$${a}", False)],
)
def test_only_one_whole_expression_is_single(text: str, single: bool) -> None:
    text = text.replace("a", "event").replace("b", "state") if "nd" not in text else "${event} - ${state}"

    assert is_single(text) is single


def test_dollars_from_expressions_are_doubled_where_kubernetes_reads_them_again() -> None:
    template = compile_template(
        {"args": ["$(KEPT) ${event.s}", "${event.s}"], "image": "${event.s}"},
        guard=lambda path: path.startswith(".args"),
    )

    assert template.render(scope(event={"s": "$(SECRET)"})) == {
        "args": ["$(KEPT) $$(SECRET)", "$$(SECRET)"],
        "image": "$(SECRET)",
    }
