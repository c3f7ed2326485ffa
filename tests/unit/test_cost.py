"""Bounds of what decisions may cost: what is harmless is known to be so, and what is not is never taken for it."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.cel.ast import Call, Constant, UnknownSyntax, parse_syntax
from heed.core.cel.cost import COSTLY, cost_of
from heed.core.cel.expression import compile_expression
from heed.core.cel.polynomial import (
    NODE_EXTENT,
    WORK_BUDGET,
    Bound,
    DataLimit,
    RemainingLimit,
    measure_extent,
    peak,
    plus,
    times,
    without,
)
from tests.builders.agents import job, program
from tests.unit.test_expression import json_values

SMALL = {
    "kind": "order",
    "lines": [{"sku": f"s{n}", "n": n} for n in range(5)],
    "text": "a lamp and a rug",
    "words": ["a"],
}
MANY = {
    **SMALL,
    "lines": [{"sku": f"s{n}", "n": n} for n in range(9000)],
    "words": ["xz"] * 9000,
    "text": "x" * 400_000,
}


def allows(source: str, data: Any) -> bool:
    """Whether an expression's value may be looked for at once, on these data."""
    return DataLimit.of(compile_expression(source).value_cost.work).allows({"event": {"data": data}})


# ── what anyone writes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "source",
    [
        "event.data.kind == 'order' && event.source.startsWith('/shop')",
        "state.?seen.orValue(0) + 1",
        "event.data.lines.map(line, {'sku': line.sku, 'order': event.id})",
        "event.data.lines.filter(line, line.n > 1).map(line, line.sku).join(', ')",
        "event.data.lines.exists(line, event.data.lines.exists(other, other.sku == line.sku + 'x'))",
        "event.data.text.replace('lamp', 'mug').split(' ')",
        "event.data.text.matches('^[a-z]{1,20}$')",
        "'%s: %d'.format([event.data.text, size(event.data.lines)])",
        "optional.of(event.data.kind).optMap(kind, kind + '!').orValue('')",
    ],
)
def test_ordinary_expressions_on_ordinary_data_are_harmless(source: str) -> None:
    assert allows(source, SMALL)


@pytest.mark.parametrize(
    "source", ["event.data.kind == 'order'", "has(state.x)", "event.data.words.size() > 3"]
)
def test_what_looks_at_data_without_going_through_them_is_harmless_on_any(source: str) -> None:
    assert DataLimit.of(compile_expression(source).cost.work).is_none


# ── what multiplies ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "source",
    [
        "['" + "x" * 60 + "']" + ".map(s, s + s + s + s)" * 8,
        "[[1, 2]]" + ".map(s, s + s + s + s)" * 8,
        "[1, 2, 3, 4, 5, 6, 7, 8, 9]" + ".map(s, [s, s, s, s, s, s, s, s, s])" * 5,
        "[1]" + ".map(s, {'a': s, 'b': s, 'c': s, 'd': s})" * 8,
        "'xxxxxxxxxx'" + ".replace('x', 'xxxxxxxxxxxxxxxx')" * 3,
        "'xxxxxxxxxx'" + ".split('').join('xxxxxxxxxxxxxxxx')" * 3,
        "'x'.matches(event.data.pattern)",
        "'x'.matches('" + r"\\w{1000}" * 15 + "') && 'y'.matches('" + r"\\pL{1000}" * 9 + "')",
    ],
)
def test_a_bomb_needs_no_data_and_is_never_harmless(source: str) -> None:
    assert not allows(source, None)


def test_folds_in_folds_in_folds_in_folds_are_never_harmless() -> None:
    four = "event.data.all(a, event.data.all(b, event.data.all(c, event.data.all(d, a + b + c + d > 0))))"

    assert not allows(four, [1])


@pytest.mark.parametrize(
    "source",
    [
        "event.data.words.all(word, !event.data.text.contains(word))",
        "event.data.lines.map(line, line.sku)",
        "event.data.lines.filter(line, line.n > 8)",
        "event.data.lines.all(line, event.data.lines == event.data.lines)",
        "event.data.lines.map(line, event.data.text)",
        "event.data.text.replace('x', event.data.text)",
        "event.data.text.split('').map(char, char)",
        "event.data.words.map(word, '%s %s'.format([word, event.data.text]))",
        "event.data.text.matches('(x?y?){20}$')",
        "event.data.words.exists(word, word in event.data.words.map(other, other + 'y'))",
        "optional.of(event.data.text).optMap(t, t + t + t).optMap(t, t + t + t).optMap(t, t + t + t).orValue('')",
        "event.data.words.join(event.data.text)",
    ],
)
def test_what_grows_faster_than_its_data_is_harmless_on_few_only(source: str) -> None:
    assert allows(source, SMALL)
    assert not allows(source, MANY)


def test_few_long_records_are_more_harmless_than_many_short_ones() -> None:
    source = "event.data.map(a, event.data.filter(b, b.sku == a.sku)[0])"

    assert allows(source, [{"sku": str(number), "text": "x" * 2000} for number in range(10)])
    assert not allows(source, [{"sku": str(number), "text": ""} for number in range(330)])


# ── a whole Agent ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_all_handlers_may_do_counts_together() -> None:
    def limit(handlers: int) -> int:
        return program(*[{"state": {"copy": "${event.data}"}}] * handlers).limit.always

    assert limit(64) < limit(8) < limit(1)


@pytest.mark.parametrize(
    ("place", "handler", "spec"),
    [
        ("where", {}, {"subscribe": [{"type": "com.example.>", "where": "'x'.matches(event.id)"}]}),
        ("key", {}, {"session": {"key": "['x'].filter(x, x.matches(event.id))[0]"}}),
        ("when", {"when": "'x'.matches(event.id)"}, {}),
        ("state", {"state": {"a": ["b", {"c": "- ${'x'.matches(event.id)}"}]}}, {}),
        ("input", {"start": [{"task": "work", "input": "${'x'.matches(event.id)}"}]}, {}),
        ("starts", {"start": [{"from": "${'x'.matches(event.id) ? [] : [{}]}"}]}, {}),
        ("data", {"emit": [{"type": "com.example.out", "data": "${'x'.matches(event.id)}"}]}, {}),
        ("to", {"emit": [{"type": "com.example.out", "to": "${'x'.matches(event.id) ? 'a' : 'b'}"}]}, {}),
        ("emits", {"emit": [{"from": "${'x'.matches(event.id) ? [] : [{}]}"}]}, {}),
        ("task", {"start": [{"task": "work"}]}, {"tasks": {"work": job("${string('x'.matches(event.id))}")}}),
        (
            "any task",
            {"start": [{"from": "${event.data}"}]},
            {"tasks": {"work": job("${string('x'.matches(event.id))}")}},
        ),
    ],
)
def test_a_bomb_is_seen_wherever_it_stands(place: str, handler: dict[str, Any], spec: dict[str, Any]) -> None:
    costly = program(handler, **{"tasks": {"work": job()}, **spec})

    assert not costly.limit.allows("")
    assert costly.opening.allows("") == (place not in ("where", "key"))


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────

FACTORS = st.just(0.0) | st.floats(1e-9, 1000)  # products of much smaller ones underflow
bounds = st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 2)), FACTORS, max_size=3)


def bound_at(bound: Bound, extent: float, length: float) -> float:
    return sum(factor * extent**i * length**j for (i, j), factor in bound.items())


@given(bounds, bounds, st.integers(1, 50), st.integers(1, 50))
def test_bounds_of_sums_and_products_hold(one: Bound, other: Bound, extent: int, length: int) -> None:
    first, second = bound_at(one, extent, length), bound_at(other, extent, length)
    enough = 1 + 1e-9

    assert bound_at(plus(one, other), extent, length) * enough >= first + second
    assert bound_at(times(one, other), extent, length) * enough >= first * second
    assert bound_at(peak(one, other), extent, length) * enough >= max(first, second)
    assert bound_at(plus(without(plus(one, other), other), other), extent, length) * enough >= first + second


@given(json_values, json_values)
def test_the_short_look_at_data_allows_what_the_long_one_does(fixed: Any, changing: Any) -> None:
    extent = measure_extent([fixed, changing])[0]
    for most in (1, extent // 2, extent - NODE_EXTENT - 1, extent, extent * 40):
        limit = DataLimit({(1, 0): WORK_BUDGET / (most + 0.5)}, most)
        for allowed in (limit.allows(fixed, changing), RemainingLimit(limit, fixed).allows(changing)):
            assert allowed or extent > most
            assert not allowed or extent - NODE_EXTENT <= most


# ── syntax ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=60))
def test_no_bytes_are_taken_for_syntax_that_are_none(data: bytes) -> None:
    with contextlib.suppress(UnknownSyntax):
        parse_syntax(data)


def test_a_function_that_nobody_has_measured_is_too_much() -> None:
    assert cost_of(Call("strings.repeat", (Constant(b"x"), Constant(b"")))).size == COSTLY.size


def test_extents_count_every_value_and_key_and_the_longest_list() -> None:
    assert measure_extent({"a": [1, None, "xyz"], "é": b"12"}) == (32 * 8 + 1 + 3 + 1 + 4, 3)
