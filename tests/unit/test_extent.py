"""How many expressions and values an Agent may have: each limit on both sides."""

from typing import Any

import pytest

from heed.api.agent import MAX_EXPRESSIONS, MAX_EXPRESSIONS_CHARS, MAX_TEMPLATE_VALUES, AgentSpec
from heed.core.compiler import validation
from tests.unit.checks import said, spec

VALUES = "spec: has more than 10000 values in templates; make several Agents of it, or let tasks read them elsewhere"
EXPRESSIONS = (
    "spec: has more than 1000 expressions, or 65536 characters of them (each optMap doubles its expression); "
    "make several Agents of it"
)


@pytest.mark.parametrize("kind", ["list", "map", "job", "input"])
def test_so_many_values_there_may_be_in_templates(kind: str) -> None:
    def filled(count: int) -> AgentSpec:
        values: Any = dict.fromkeys(map(str, range(count)), 1) if kind == "map" else [1] * count
        if kind == "job":
            return spec(tasks={"a": {"job": {"x": values}}})
        return spec(
            {"start": [{"task": "a", "input": values}]} if kind == "input" else {"state": {"x": values}}
        )

    # what is there besides: the state of the handler or none, the maps and lists themselves, the fields of a start
    besides = {"list": 2, "map": 2, "job": 3, "input": 5}[kind]

    assert said(validation.check_extent, filled(MAX_TEMPLATE_VALUES - besides)) == []
    assert said(validation.check_extent, filled(MAX_TEMPLATE_VALUES - besides + 1)) == [VALUES]


@pytest.mark.parametrize("place", ["state", "when", "where", "job"])
def test_so_many_expressions_there_may_be(place: str) -> None:
    def filled(count: int) -> AgentSpec:
        own, more = "${1}", ["${1}"] * count
        if place == "job":
            return spec({"state": {"x": own}}, tasks={"a": {"job": {"x": more[1:]}}})
        if place == "state":
            return spec({"state": {"x": more}})
        one: dict[str, Any] = {"state": {"x": more[1:]}}
        if place == "when":
            return spec({**one, "when": "true"})
        return spec(one, subscribe=[{"type": "a", "where": "true"}])

    assert said(validation.check_extent, filled(MAX_EXPRESSIONS)) == []
    assert said(validation.check_extent, filled(MAX_EXPRESSIONS + 1)) == [EXPRESSIONS]


def test_so_many_characters_of_expressions_there_may_be() -> None:
    whole = ["${" + "x" * 1024 + "}"] * (MAX_EXPRESSIONS_CHARS // 1024 - 1)

    assert said(validation.check_extent, spec({"state": {"x": [*whole, "${" + "x" * 1024 + "}"]}})) == []
    assert said(validation.check_extent, spec({"state": {"x": [*whole, "${" + "x" * 1025 + "}"]}})) == [
        EXPRESSIONS
    ]


def test_what_cannot_be_read_is_told_where_it_is_compiled() -> None:
    assert said(validation.check_extent, spec({"state": {"x": "${", "y": "${1}"}})) == []
