"""What an expression reads, asks for and compares, as paths; and which of them is null or no map where that matters."""

from typing import Any

import pytest

from heed.core.cel.expression import compile_expression
from heed.core.cel.member_paths import (
    EACH,
    MemberReads,
    Path,
    find_blocked,
    find_non_list,
    find_reads,
    format_path,
)


def reads(source: str) -> MemberReads:
    """What an expression does with members."""
    return find_reads(compile_expression(source).syntax())


def paths(*shown_: str) -> list[Path]:
    """`a.b` and `a.[].c` as paths."""
    return [tuple(path.split(".")) for path in shown_]


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("true", []),
        ("event", []),
        ("event.data", ["event.data"]),
        ("event.data.a.b", ["event.data.a.b"]),
        ("event['a']", ["event.a"]),
        ("event.a['b']['c'].d", ["event.a.b.c.d"]),
        ("dyn(event.a)", ["event.a"]),
        ("dyn(event.a).b", ["event.a.b"]),
        ("event.a[0]", ["event.a"]),
        ("event.a[0].x", ["event.a"]),
        ("event.a[event.b]", ["event.a", "event.b"]),
        ("event.a[event.b].c", ["event.a", "event.b"]),
        ("(event.a ? event.b : event.c).d", ["event.a", "event.b", "event.c"]),
        ("[event.a, [event.b]][0].c", ["event.a", "event.b"]),
        ("{'k': event.a, event.b: 1}", ["event.a", "event.b"]),
        ("size(event.a) + event.b", ["event.a", "event.b"]),
        ("event.a.contains(event.b)", ["event.a", "event.b"]),
        ("event.a == event.a", ["event.a"]),
        ("event.b < event.a", ["event.b", "event.a"]),
    ],
)
def test_the_values_that_have_to_be_there_in_their_order(source: str, values: list[str]) -> None:
    found = reads(source)

    assert list(found.values) == paths(*values)
    assert not found.asked and not found.maps and not found.over and not found.comparisons


@pytest.mark.parametrize(
    ("source", "asked", "values"),
    [
        ("has(event.a)", ["event.a"], []),
        ("has(event.a.b)", ["event.a.b"], ["event.a"]),
        ("has(event['a'].b)", ["event.a.b"], ["event.a"]),
        ("has(event.a[0].b)", [], ["event.a"]),
        ("has([event.a][0].b)", [], ["event.a"]),
        ("event.?a", ["event.a"], []),
        ("event.?a.?b", ["event.a.b", "event.a"], []),
        ("event.a.?b", ["event.a.b"], ["event.a"]),
        ("event.a[?'b']", ["event.a.b"], ["event.a"]),
        ("event.a[?0].b", [], ["event.a"]),
        ("event.?a[?0].?b", ["event.a"], []),
        ("[event.a][?0].?b", [], ["event.a"]),
        ("event.?a.orValue(event.b)", ["event.a"], ["event.b"]),
        ("event.?a.or(event.?b)", ["event.a", "event.b"], []),
        ("event.?a.orValue({}).b", ["event.a"], ["event.a.b"]),
        ("event.?a.orValue({}).b.c", ["event.a"], ["event.a.b.c"]),
        ("event.?a.orValue({'x': event.b}).c['d'].e", ["event.a"], ["event.a.c.d.e", "event.b"]),
        ("dyn(event.?a.or(event.?b).value())['c']", ["event.a", "event.b"], ["event.a.c"]),
        ("event.?a.hasValue()", ["event.a"], []),
        ("event.?a.value().b", [], ["event.a.b"]),
        ("event.?a.optMap(x, x.b)", ["event.a"], ["event.a", "event.a.b"]),
        ("'a' in event", ["event.a"], []),
        ("'a' in event.b", ["event.b.a"], ["event.b"]),
        ("'a' in event.?b.orValue([])", ["event.b.a", "event.b"], []),
        ("event.a in event.b", [], ["event.a", "event.b"]),
        ("1 in event.b", [], ["event.b"]),
    ],
)
def test_what_is_asked_for_need_not_be_there(source: str, asked: list[str], values: list[str]) -> None:
    found = reads(source)

    assert (list(found.asked), list(found.values)) == (paths(*asked), paths(*values))
    assert list(found.all()) == list(dict.fromkeys(paths(*values, *asked)))
    assert not found.maps and not found.over and not found.comparisons


@pytest.mark.parametrize(
    ("source", "over", "asked", "values"),
    [
        ("event.a.all(x, x.b)", ["event.a"], [], ["event.a", "event.a.[].b"]),
        ("event.a.map(x, x)", ["event.a"], [], ["event.a", "event.a.[]"]),
        ("event.a.map(x, x)[0].y", ["event.a"], [], ["event.a", "event.a.[]"]),
        ("event.a.filter(x, has(x.b))", ["event.a"], ["event.a.[].b"], ["event.a", "event.a.[]"]),
        ("event.all(x, 'b' in x)", ["event"], ["event.[].b"], ["event.[]"]),
        (
            "event.a.all(x, x.b.all(y, y.c != x.d))",
            ["event.a", "event.a.[].b"],
            [],
            ["event.a", "event.a.[].b", "event.a.[].b.[].c", "event.a.[].d"],
        ),
        ("event.a.all(event, event.b)", ["event.a"], [], ["event.a", "event.a.[].b"]),
        ("[event.a].all(x, x.b)", [], [], ["event.a"]),
        ("event.a.all(k, event.a[k].b)", ["event.a"], [], ["event.a", "event.a.[]"]),
    ],
)
def test_a_macro_reads_members_of_each_element(
    source: str, over: list[str], asked: list[str], values: list[str]
) -> None:
    found = reads(source)

    assert (list(found.over), list(found.asked), list(found.values)) == (
        paths(*over),
        paths(*asked),
        paths(*values),
    )


@pytest.mark.parametrize(
    ("source", "maps"),
    [
        ("type(event.a) == map", ["event.a"]),
        ("map == type(event.a.b)", ["event.a.b"]),
        ("type(event.a) != map", ["event.a"]),
        ("type(event.?a.orValue(null)) == map", ["event.a"]),
        ("event.a != null", ["event.a"]),
        ("null != event.a", ["event.a"]),
        ("type(event.a) == list", []),
        ("event.a == null", []),
        ("event.a != 0", []),
        ("type([event.a]) == map", []),
        ("dyn([event.a]) != null", []),
    ],
)
def test_it_is_known_what_is_asked_to_be_a_map(source: str, maps: list[str]) -> None:
    assert list(reads(source).maps) == paths(*maps)


@pytest.mark.parametrize(
    ("source", "comparisons"),
    [
        ("event.a == 'x'", [("event.a", ("x",), True)]),
        ("'é' == event.a", [("event.a", ("é",), True)]),
        ("event.a != 'x'", [("event.a", ("x",), False)]),
        ("event.?a.orValue('') == 'x'", [("event.a", ("x",), True)]),
        ("event.a in ['x', 'y']", [("event.a", ("x", "y"), True)]),
        ("event.a in ['x', 1]", []),
        ("event.a in ['x', event.b]", []),
        ("event.a in []", []),
        ("event.a in {'x': 1}", []),
        ("dyn([event.a]) in ['x']", []),
        ("event.a == 1", []),
        ("event.a == b'x'", []),
        ("event.a == event.b", []),
        ("event.a < 'x'", []),
        ("dyn(size(event.a)) == 'x'", []),
        ("event.a == 'x' || event.b != 'y'", [("event.a", ("x",), True), ("event.b", ("y",), False)]),
    ],
)
def test_it_is_known_which_texts_a_path_is_compared_with(source: str, comparisons: list[Any]) -> None:
    found = reads(source)

    assert [(".".join(item.path), item.values, item.equal) for item in found.comparisons] == comparisons


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("event",), "event"),
        (("event", "data", "a"), "event.data.a"),
        (("event", "a-b", "c d", "1"), 'event["a-b"]["c d"]["1"]'),
        (("event", "a", EACH, "b"), "event.a[…].b"),
        (("a-b", "c"), '["a-b"].c'),
        ((), ""),
    ],
)
def test_a_path_is_shown_as_an_expression_writes_it(path: Path, text: str) -> None:
    assert format_path(path) == text


# ── what stands in the way ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "data", "found"),
    [
        ("event.data.a", None, ("event.data", "null", "event.data.a")),
        ("event.data.a.b", {"a": "x"}, ("event.data.a", "a string", "event.data.a.b")),
        ("event.data.a.b.c", {"a": [1]}, ("event.data.a", "a list", "event.data.a.b")),
        ("has(event.data.a.b)", {"a": 3}, ("event.data.a", "a number", "event.data.a.b")),
        ("event.data.?a.?b", {"a": True}, ("event.data.a", "a boolean", "event.data.a.b")),
        ("event.data.a.b == event.data.c.d", {"a": {"b": 1}}, None),
        (
            "event.data.a.b == event.data.c.d",
            {"a": {}, "c": None},
            ("event.data.c", "null", "event.data.c.d"),
        ),
        ("event.data.a.b", {"a": {"b": None}}, None),
        ("event.data.a.b", {}, None),
        ("event.data.a.all(x, x.b)", {"a": ["x"]}, None),
        (
            "event.data.a.all(x, x.b) && event.data.c.d",
            {"a": ["x"], "c": 1},
            ("event.data.c", "a number", "event.data.c.d"),
        ),
        ("state.a.b", {}, None),
    ],
)
def test_the_first_path_that_is_no_map_is_found(
    source: str, data: Any, found: tuple[str, str, str] | None
) -> None:
    expected = found and (tuple(found[0].split(".")), found[1], tuple(found[2].split(".")))

    assert find_blocked(reads(source), {"event": {"data": data}, "state": {}}) == expected


@pytest.mark.parametrize(
    ("source", "data", "found"),
    [
        ("event.data.all(x, x)", None, ("event.data", "null")),
        ("event.data.a.map(x, x)", {"a": "x"}, ("event.data.a", "a string")),
        ("event.data.a.map(x, x)", {"a": [1]}, None),
        ("event.data.a.map(x, x)", {"a": {"b": 1}}, None),
        ("event.data.a.map(x, x)", {}, None),
        ("event.data.a.b.map(x, x)", {"a": None}, None),
        ("event.data.a.map(x, x.b.map(y, y))", {"a": [{"b": 1}]}, None),
        ("event.data.a.map(x, x) == event.data.b.map(x, x)", {"a": [], "b": 1}, ("event.data.b", "a number")),
    ],
)
def test_the_first_that_a_macro_cannot_go_over_is_found(
    source: str, data: Any, found: tuple[str, str] | None
) -> None:
    expected = found and (tuple(found[0].split(".")), found[1])

    assert find_non_list(reads(source), {"event": {"data": data}}) == expected
