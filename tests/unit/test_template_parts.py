"""Templates, part by part: what they hold, what they render to as far as that is known, and what they may cost."""

from typing import Any

import pytest

from heed.core.cel.expression import ExpressionError
from heed.core.cel.template import (
    ExpressionSlot,
    TemplateError,
    compile_template,
    expression_sources,
    is_single,
)
from tests.builders.expressions import scope
from tests.unit.test_cost_bounds import bounds_of

EVENT = {"n": 3, "s": "$x", "list": ["$a", {"k$": "$b", "n": 1}]}


def refusal(template: Any, path: str = "") -> tuple[str, str]:
    """Where and why a template cannot be parsed, or rendered."""
    with pytest.raises(TemplateError) as caught:
        compile_template(template, path).render(scope(event=EVENT))
    assert str(caught.value) == caught.value.message
    return caught.value.path, caught.value.message


# ── what is in it ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "shape", "paths"),
    [
        ("text", "text", []),
        ("$${a}", "${a}", []),
        ([1, None, {"a": "$${"}], [1, None, {"a": "${"}], []),
        ("${event.n}", ExpressionSlot("DYN"), [("", "event.n")]),
        ("${ size(event) }", ExpressionSlot("INT"), [("", "size(event)")]),
        ("${[1]}", ExpressionSlot("LIST"), [("", "[1]")]),
        ("${{'a': 1}}", ExpressionSlot("MAP"), [("", "{'a': 1}")]),
        ("${true}", ExpressionSlot("BOOL"), [("", "true")]),
        (" ${true}", ExpressionSlot("STRING", alone=False), [("", "true")]),
        ("${1}${event.n}", ExpressionSlot("STRING", alone=False), [("", "1"), ("", "event.n")]),
        (
            {"a": "x", "b": ["${1}", {"c": "-${event.s}"}, 7]},
            {"a": "x", "b": [ExpressionSlot("INT"), {"c": ExpressionSlot("STRING", alone=False)}, 7]},
            [(".b[0]", "1"), (".b[1].c", "event.s")],
        ),
        (
            [["${1}"], "${2}"],
            [[ExpressionSlot("INT")], ExpressionSlot("INT")],
            [("[0][0]", "1"), ("[1]", "2")],
        ),
    ],
)
def test_a_template_knows_its_shape_and_its_expressions(
    template: Any, shape: Any, paths: list[tuple[str, str]]
) -> None:
    found = compile_template(template)

    assert found.shape == shape
    assert [(path, expression.source) for path, expression in found.expressions] == paths
    assert found.constant is (not paths)


def test_paths_begin_where_the_template_stands() -> None:
    found = compile_template({"a": ["${1}"]}, ".spec")

    assert [path for path, _ in found.expressions] == [".spec.a[0]"]
    assert refusal({"a": ["${event.zzz}"]}, ".spec")[0] == ".spec.a[0]"
    assert refusal({"a": ["${zzz}"]}, ".spec")[0] == ".spec.a[0]"
    assert refusal({"a": ["x ${event.zzz}"]}, ".spec")[0] == ".spec.a[0]"


@pytest.mark.parametrize(
    ("template", "bounds"),
    [
        ("ab", ("34", "0", "0", "0")),
        ({"a": [1, 2]}, ("161", "2", "2", "0")),
        # an expression is evaluated, and its value read through
        ("${event}", ("E", "L", "L", "2100 + 16 E")),
        # the parts of a text together
        ("ab${event}cd", ("100 + E", "3", "L", "2100 + 16 E")),
        ("${event}${event.a}", ("32 + 2 E", "2", "L", "4300 + 32 E")),
        # a list or a map, its keys too, as soon as there is an expression in it
        (["${event}", "ab"], ("66 + E", "2", "L", "2100 + 16 E")),
        ({"abc": "${event}", "d": 7}, ("132 + E", "2", "L", "2100 + 16 E")),
    ],
)
def test_a_template_costs_what_is_in_it(template: Any, bounds: tuple[str, str, str, str]) -> None:
    assert bounds_of(compile_template(template).cost) == bounds


# ── what is doubled ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_dollars_are_doubled_in_all_that_an_expression_yields_and_nowhere_else() -> None:
    template = {
        "a": "${event.list}",
        "b": ["$(X) ${event.s} $${", "$(Y)"],
        "c": "${event.list}",
        "n": "${event.n}",
    }

    found = compile_template(template, guard=lambda path: not path.startswith(".c"))

    assert found.render(scope(event=EVENT)) == {
        "a": ["$$a", {"k$": "$$b", "n": 1}],
        "b": ["$(X) $$x ${", "$(Y)"],
        "c": ["$a", {"k$": "$b", "n": 1}],
        "n": 3,
    }


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("${event.n", '"${event.n" has no closing brace; write $${ for a literal ${'),
        (
            "ab ${event.n + 12345678901234567890",
            '"${event.n + 1234567890" has no closing brace; write $${ for a literal ${',
        ),
        ("${ {'a': 1}", "\"${ {'a': 1}\" has no closing brace; write $${ for a literal ${"),
        ("${1} ${", '"${" has no closing brace; write $${ for a literal ${'),
        ("${'abc}", "has a string without its closing quote"),
        ('${"abc\\"}', "has a string without its closing quote"),
        ("${'''abc''}", "has a string without its closing quote"),
        ("${evnt.x}", 'unknown variable or function "evnt"; did you mean "event"?'),
        ("${event.zzz}", '${event.zzz}: there is no "zzz"; guard it with has(…) or use .?zzz.orValue(…)'),
        (
            "at ${ event.zzz }",
            '${event.zzz}: there is no "zzz"; guard it with has(…) or use .?zzz.orValue(…)',
        ),
    ],
)
def test_what_cannot_be_parsed_or_rendered_is_told_with_its_place(template: str, said: str) -> None:
    assert refusal({"a": [template]}) == (".a[0]", said)


# ── before it is parsed ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (None, []),
        ("text $${a}", []),
        ("${ a }-${b}", ["a", "b"]),
        ({"x": "${a}", "${k}": ["${b} ${c}", 7, {"y": ""}]}, ["a", "b", "c"]),
        ("${'}'}", ["'}'"]),
        ("${'''a'}'''}${r'\\'}${b}", ["'''a'}'''", "r'\\'", "b"]),
        ("${xr'\\''}", ["xr'\\''"]),
        ("${{'a': {'b': 1}}}", ["{'a': {'b': 1}}"]),
        ("a$$${b}", []),
        ("$${${b}", ["b"]),
    ],
)
def test_the_sources_of_expressions_are_found_without_compiling_them(template: Any, found: list[str]) -> None:
    assert list(expression_sources(template)) == found


@pytest.mark.parametrize(
    ("text", "single"),
    [("${zzz}", True), ("${ a }", True), ("${a} ", False), ("${a}${b}", False), ("a", False), ("", False)],
)
def test_what_is_one_expression_is_known_without_compiling_it(text: str, single: bool) -> None:
    assert is_single(text) is single


def test_what_is_not_closed_has_no_sources() -> None:
    for text in ("${a", "${'a}"):
        with pytest.raises(ExpressionError):
            list(expression_sources(["${b}", text]))
        with pytest.raises(ExpressionError):
            is_single(text)
