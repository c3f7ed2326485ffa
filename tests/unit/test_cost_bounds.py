"""The exact bounds of expressions, one row for each rule: what its value may be, and the work until it is there.

E is the extent of an event's data and of all else that expressions see, L the length of the longest list in them. Every
evaluation takes 2000 and each operation in it 100; a value is 32 beside its text.
"""

import pytest

from heed.core.cel.ast import Call, Constant, Fold, Literal, Name, Node, Select
from heed.core.cel.cost import COSTLY, FREE, Cost, collection_cost, cost_of, literal_cost, rendered_cost
from heed.core.cel.expression import compile_expression
from heed.core.cel.polynomial import EXTENT, LENGTH, TOO_MUCH, Bound, constant


def written(bound: Bound) -> str:
    """A polynomial as text, the powers of E before those of L: `32 + E + 2 E L`."""
    terms = []
    for (extents, lengths), factor in sorted(bound.items()):
        powers = ["E"] * extents + ["L"] * lengths
        if factor:
            terms.append(" ".join(powers if powers and factor == 1 else [f"{factor:.10g}", *powers]))
    return " + ".join(terms) or "0"


def bounds_of(cost: Cost) -> tuple[str, str, str, str]:
    """The bounds of the extent, of the length, of the lengths within, and of the work."""
    return written(cost.size), written(cost.length), written(cost.inner), written(cost.work)


VALUES = [
    # A literal is its text; a name may be all that there is, and a member of it as much.
    ("1", ("32", "0", "0", "2100")),
    ("'order'", ("37", "0", "0", "2100")),
    ("event", ("E", "L", "L", "2100")),
    ("event.data.kind", ("E", "L", "L", "2300")),
    ("event.a.?b", ("33 + E", "L", "L", "2400")),
    ("dyn(event.a)", ("E", "L", "L", "2300")),
    ("event.data[0]", ("32 + E", "L", "L", "2400")),
    ("event.data[?0]", ("32 + E", "L", "L", "2400")),
    ("event.?data.orValue([1, 2])", ("132 + E", "2 + L", "2 + L", "2700")),
    # The question whether it is there is answered by a boolean.
    ("has(event.data.kind)", ("32", "0", "0", "2300")),
    # Lists and maps hold what stands in them, and are as long.
    ("[1, 'ab']", ("98", "2", "0", "2300")),
    ("[[1, 2, 3], [4]]", ("224", "2", "3", "2700")),
    ("[[[1, 2, 3]]]", ("192", "1", "3", "2600")),
    ("{'a': event.data}", ("65 + E", "2", "L", "2400")),
    ("[event.a.map(x, x)]", ("64 + 32 L + E", "1", "1 + L + 0.03125 E", "2400 + 528 L + 16 L L + 4 E")),
    # Numbers and booleans do not grow.
    ("!true", ("32", "1", "1", "2200")),
    ("event.n * 2", ("32", "1", "1", "2400")),
    ("math.abs(event.n)", ("32", "0", "0", "2300")),
    ("math.greatest(event.a, event.b)", ("32", "1", "1", "2500 + 16 E")),
    # Comparing goes as far as the shorter one, which a literal is; without one, through both.
    ("event.data == 'order'", ("32", "0", "0", "2548")),
    ("'order' == event.data", ("32", "0", "0", "2548")),
    ("'ab' < 'order'", ("32", "0", "0", "2436")),
    ("event.data == event.id", ("32", "0", "0", "2500 + 8 E")),
    ("event.a >= event.b.c", ("32", "0", "0", "2600 + 8 E")),
    ("'a' in event.data", ("32", "0", "0", "2400 + 8 E")),
    ("event.data in ['a', 'b']", ("32", "0", "0", "3384")),
    # Of two values, the larger; of a sum, both.
    ("event.a ? event.b : 'text'", ("36 + E", "L", "L", "2600")),
    ("event.a ? [dyn([1, 2, 3])] : [dyn(4), 5, 6, 7]", ("160", "4", "3", "3500")),
    ("event.a + event.b", ("2 E", "2 L", "L", "2500 + 8 E")),
    ("[dyn(1)] + [dyn([2, 3]), 4]", ("224", "3", "2", "3896")),
]

TEXTS = [
    # What is looked for may be nearly everywhere in a text.
    ("event.data.contains('ab')", ("32", "0", "0", "2672 + 10.125 E")),
    ("event.data.indexOf(event.id)", ("32", "0", "0", "2500 + 16 E + 0.0625 E E")),
    ("event.a.lastIndexOf('x', 2)", ("32", "0", "0", "2764 + 10.0625 E")),
    # By function: work for each of the arguments' extent, and how often that may be in what it makes.
    ("size(event.data)", ("32", "1", "1", "2300 + E")),
    ("event.data.startsWith('ab')", ("32", "1", "1", "2434 + E")),
    ("int(event.data)", ("32", "1", "1", "2300 + 4 E")),
    ("timestamp(event.time).getHours()", ("32", "1", "1", "2528 + 4 E")),
    ("string(event.data)", ("32 + E", "1 + 0.03125 E", "1 + 0.03125 E", "2300 + 4 E")),
    ("bytes(event.data)", ("32 + 2 E", "1 + 0.0625 E", "1 + 0.0625 E", "2300 + 8 E")),
    (
        "event.data.split(',')",
        ("1121 + 33 E", "35.03125 + 1.03125 E", "35.03125 + 1.03125 E", "10848 + 256 E"),
    ),
    # Every character may be replaced, and every part joined, with a text as long as the data.
    (
        "event.data.replace('a', 'bc')",
        ("32 + 35 E", "1 + 1.09375 E", "1 + 1.09375 E", "2764 + 150.0625 E"),
    ),
    (
        "event.data.replace(event.a, event.b)",
        (
            "32 + E + E E",
            "1 + 0.03125 E + 0.03125 E E",
            "1 + 0.03125 E + 0.03125 E E",
            "2700 + 20 E + 4.0625 E E",
        ),
    ),
    ("event.data.join()", ("32 + E", "1 + 0.03125 E", "1 + 0.03125 E", "2300 + 4 E")),
    (
        "event.data.join(', ')",
        ("32 + 2.0625 E", "1 + 0.064453125 E", "1 + 0.064453125 E", "2400 + 8.25 E"),
    ),
    # %s and %d write values as they are; any other clause, or a format that is not known, may widen each of them.
    ("'%s: %d'.format([event.id])", ("134 + 2 E", "4.1875 + 0.0625 E", "4.1875 + 0.0625 E", "2908 + 8 E")),
    ("'%d%%'.format([1])", ("196", "6.125", "6.125", "3056")),
    (
        "'%.2f'.format([event.n])",
        ("1124 + 33 E", "35.125 + 1.03125 E", "35.125 + 1.03125 E", "6868 + 132 E"),
    ),
    ("event.a.format([1])", ("2144 + E", "67 + 0.03125 E", "67 + 0.03125 E", "10948 + 4 E")),
    # A pattern is compiled, 300 a character, and followed, 10 for each: counts repeat what they stand behind.
    ("event.data.matches('ab')", ("32", "0", "0", "3300 + 30 E")),
    ("event.data.matches('a{3}')", ("32", "0", "0", "6900 + 150 E")),
    ("event.data.matches('a{,3}')", ("32", "0", "0", "7800 + 180 E")),
    ("event.data.matches('a{3,}')", ("32", "0", "0", "7800 + 180 E")),
    ("event.data.matches('a{0}')", ("32", "0", "0", "3900 + 50 E")),
    ("event.data.matches('a{3,7}b{2}')", ("32", "0", "0", "25500 + 770 E")),
    ("event.data.matches('(a{2}){3}(b{5}){2}')", ("32", "0", "0", "173400 + 5700 E")),
    # Classes of Unicode are 50 times as large until they are compiled, which RE2 refuses at some size.
    (r"event.data.matches('\\pL')", ("32", "0", "0", "62400 + 40 E")),
    (r"event.data.matches('\\PL')", ("32", "0", "0", "62400 + 40 E")),
    ("event.data.matches('a{2000000}')", ("32", "0", "0", "60002400 + 220000000 E")),
]

MACROS = [
    # Each element makes its own work, and all of them together what their extents make.
    ("event.data.all(x, x > 0)", ("32", "0", "0", "2400 + 628 L")),
    ("event.data.exists(x, x == 'a')", ("32", "0", "0", "2400 + 732 L")),
    ("event.data.exists_one(x, x > 1)", ("32", "0", "0", "2728 + 956 L")),
    ("event.data.all(x, event.id == event.x)", ("32", "0", "0", "2400 + 800 L + 8 E L")),
    # A list is copied for each element that is added to it.
    (
        "event.data.map(x, x)",
        ("32 + 32 L + E", "L", "1 + L + 0.03125 E", "2300 + 528 L + 16 L L + 4 E"),
    ),
    (
        "event.data.filter(x, x > 1)",
        ("32 + 32 L + E", "L", "1 + L + 0.03125 E", "2300 + 956 L + 16 L L + 4 E"),
    ),
    ("[1, 2, 3].map(x, x)", ("256", "3", "8", "4740")),
    (
        "event.data.filter(x, x.ok)[0].a",
        ("64 + 32 L + E", "1 + L + 0.03125 E", "1 + L + 0.03125 E", "2600 + 728 L + 16 L L + 4 E"),
    ),
    (
        "event.data.map(x, x).map(y, y)",
        ("64 + 64 L + E", "L", "2 + 2 L + 0.03125 E", "2528 + 1184 L + 32 L L + 8 E"),
    ),
    (
        "event.a.map(x, event.b.map(y, y))",
        (
            "32 + 64 L + 32 L L + E L",
            "L",
            "1 + 2 L + L L + 0.03125 E L",
            "2300 + 956 L + 672 L L + 16 L L L + 8 E L",
        ),
    ),
    (
        "event.data.all(a, event.data.all(b, event.data.all(c, a == b)))",
        ("32", "0", "0", "2400 + 700 L + 700 L L + 400 L L L + 8 E L L"),
    ),
    # optMap gives a value a name, once.
    ("event.a.optMap(x, x + x)", ("32 + 2 E", "1 + 2 L", "1 + 2 L", "3200 + 8 E")),
    ("optional.of(event.a).optMap(x, x).orValue(1)", ("64 + E", "1 + L", "1 + L", "3400")),
]


@pytest.mark.parametrize(("source", "bounds"), [*VALUES, *TEXTS, *MACROS])
def test_an_expression_has_these_bounds(source: str, bounds: tuple[str, str, str, str]) -> None:
    assert bounds_of(compile_expression(source).cost) == bounds


# ── what no bound is known of ───────────────────────────────────────────────────────────────────────────────────────

DATA, NONE_YET = Name("event"), Literal((), True)
TRUE = Constant(b"", "bool")


def fold(over: Node = DATA, *, start: Node = TRUE, goes_on: Node = TRUE, step: Node = DATA) -> Fold:
    """A macro over the data."""
    return Fold(over, ("x",), "@sum", start, goes_on, step, Name("@sum"))


def is_costly(node: Node) -> bool:
    """Whether the work of a node is too much on any data that have a list."""
    return sum(cost_of(node).work.values()) >= TOO_MUCH


@pytest.mark.parametrize("part", ["step", "goes_on"])
def test_folds_in_each_others_bodies_are_bounded_to_the_third(part: str) -> None:
    three: Node = fold()
    for _ in range(2):
        three = fold(**{part: three})

    assert not is_costly(three)
    assert is_costly(fold(**{part: three}))


def test_folds_after_each_other_do_not_nest() -> None:
    after: Node = fold()
    for _ in range(4):
        after = fold(fold(start=after))

    assert not is_costly(after)
    assert not is_costly(Select(Call("_[_]", (after, DATA)), False, "x"))


def test_a_fold_in_what_has_a_name_nests_as_deep_as_one_beside_it() -> None:
    def named(node: Node, result: Node) -> Fold:
        return Fold(NONE_YET, ("#unused",), "x", node, TRUE, Name("x"), result)

    three: Node = fold(step=fold(step=fold()))

    assert not is_costly(named(three, Name("x"))) and not is_costly(named(DATA, three))
    assert is_costly(fold(step=named(three, Name("x")))) and is_costly(fold(step=named(DATA, three)))


def test_a_function_of_an_argument_that_is_too_much_is_too_much() -> None:
    for function in ("size", "_+_", "contains", "_?_:_", "dyn", "math.abs", "replace"):
        assert is_costly(Call(function, (Call("strings.repeat", (DATA,)), DATA, DATA)))


@pytest.mark.parametrize("name", ["strings.repeat", "sort", ""])
def test_a_function_that_nobody_has_measured_is_too_much(name: str) -> None:
    assert bounds_of(cost_of(Call(name, (DATA,)))) == ("1e+30",) * 4
    assert bounds_of(COSTLY) == ("1e+30",) * 4


def test_a_pattern_that_comes_with_an_event_is_too_much() -> None:
    assert bounds_of(cost_of(Call("matches", (Constant(b"a"), DATA)))) == ("1e+30",) * 4


# ── parts of templates ──────────────────────────────────────────────────────────────────────────────────────────────

SOME = Cost(EXTENT, LENGTH, constant(7), constant(5))


def test_a_literal_of_a_manifest_has_its_own_extent_and_no_work() -> None:
    assert bounds_of(literal_cost("ab")) == ("34", "0", "0", "0")
    assert bounds_of(literal_cost({"a": [1, 2, 3]})) == ("193", "3", "3", "0")


def test_a_list_is_as_much_as_its_items_and_a_map_has_its_keys_too() -> None:
    assert bounds_of(collection_cost([])) == ("32", "0", "0", "0")
    assert bounds_of(collection_cost([SOME, literal_cost("ab")])) == ("66 + E", "2", "7 + L", "5")
    assert bounds_of(collection_cost([SOME, literal_cost("ab")], keys="abcd")) == (
        "134 + E",
        "2",
        "7 + L",
        "5",
    )
    assert bounds_of(collection_cost([FREE, SOME, SOME])) == ("32 + 2 E", "3", "7 + L", "10")


def test_a_value_as_json_is_read_through_and_four_times_where_it_may_hold_optionals() -> None:
    assert bounds_of(rendered_cost(SOME)) == ("E", "L", "7", "5 + 16 E")
    assert bounds_of(rendered_cost(SOME, optionals=True)) == ("E", "L", "7", "5 + 64 E")


@pytest.mark.parametrize(
    ("source", "work"),
    [
        ("event.a", "2200 + 16 E"),
        ("event.?a.orValue(event)", "4612 + 128 E"),
        ("optional.of(event).value()", "2300 + 64 E"),
    ],
)
def test_what_may_be_an_optional_is_known_by_its_text(source: str, work: str) -> None:
    assert written(compile_expression(source).value_cost.work) == work
