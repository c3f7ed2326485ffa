"""The syntax tree of an expression, read from what cel-cpp serialises: every sort of node, with types and without."""

import pytest

from heed.core.cel.ast import (
    Call,
    Constant,
    Fold,
    Literal,
    Name,
    Node,
    Select,
    UnknownSyntax,
    parse_syntax,
    walk_nodes,
)
from heed.core.cel.expression import compile_expression

EVENT = Name("event")
ONE = Constant(b"", "int")


def tree(source: str, *, typed: bool = False) -> Node:
    """What an expression consists of."""
    return compile_expression(source).syntax(typed=typed)


def member(name: str) -> Select:
    """The member of an event."""
    return Select(EVENT, False, name)


# ── what cel-cpp writes ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "node"),
    [
        ("null", Constant(b"", "null")),
        ("true", Constant(b"", "bool")),
        ("false", Constant(b"", "bool")),
        ("0", Constant(b"", "int")),
        ("-3", Constant(b"", "int")),
        ("3u", Constant(b"", "uint")),
        ("1.5", Constant(b"", "double")),
        ("1.0e300", Constant(b"", "double")),
        ("''", Constant(b"", "string")),
        ("'aé'", Constant("aé".encode(), "string")),
        (f"'{'x' * 300}'", Constant(b"x" * 300, "string")),
        (r"b'\xff'", Constant(b"\xff", "bytes")),
    ],
)
def test_a_literal_has_its_type_and_a_text_its_bytes(source: str, node: Constant) -> None:
    assert tree(source) == node


@pytest.mark.parametrize(
    ("source", "node"),
    [
        ("event", EVENT),
        ("event.data", member("data")),
        ("has(event.data)", Select(EVENT, True, "data")),
        ("event.data[1]", Call("_[_]", (member("data"), ONE))),
        ("event.id.contains('a')", Call("contains", (member("id"), Constant(b"a")))),
        ("math.abs(1)", Call("math.abs", (ONE,))),
        ("optional.none()", Call("optional.none", ())),
        ("[]", Literal((), True)),
        ("[1, event]", Literal((ONE, EVENT), True)),
        ("{}", Literal((), False)),
        ("{'a': 1, 'b': event}", Literal((Constant(b"a"), ONE, Constant(b"b"), EVENT), False)),
        ("{1: [event]}", Literal((ONE, Literal((EVENT,), True)), False)),
        (
            "event.all(x, x)",
            Fold(
                over=EVENT,
                each=("x",),
                sum="@result",
                start=Constant(b"", "bool"),
                goes_on=Call("@not_strictly_false", (Name("@result"),)),
                step=Call("_&&_", (Name("@result"), Name("x"))),
                result=Name("@result"),
            ),
        ),
    ],
)
def test_a_node_has_its_parts_in_their_order(source: str, node: Node) -> None:
    assert tree(source) == node


@pytest.mark.parametrize(
    ("source", "overloads"),
    [
        ("1 + 2", ("add_int64",)),
        ("event == 1", ("equals",)),
        ("size(event)", ("size_list", "size_map", "size_bytes", "size_string")),
    ],
)
def test_with_types_a_call_has_the_overloads_that_they_leave(source: str, overloads: tuple[str, ...]) -> None:
    typed, plain = tree(source, typed=True), tree(source)

    assert isinstance(typed, Call) and isinstance(plain, Call)
    assert (typed.overloads, plain.overloads) == (overloads, ())


def test_with_types_a_list_has_those_of_its_items() -> None:
    items = "1, event.x, 'a', [2], {}, 1.5, null, 2u, true, b'a', timestamp(event.x), duration('1s'), type(1)"
    typed, plain = tree(f"[{items}]", typed=True), tree(f"[{items}]")

    assert isinstance(typed, Literal) and isinstance(plain, Literal)
    assert plain.types == ()
    assert typed.types == (
        *("int", "dyn", "string", "list", "map", "double", "null", "uint", "bool", "bytes"),
        *("timestamp", "duration", "other"),
    )


def test_with_types_a_map_has_those_of_keys_and_values_in_turn() -> None:
    typed = tree("{'a': 1, 'b': event}", typed=True)

    assert isinstance(typed, Literal)
    assert typed.types == ("string", "int", "string", "dyn")


def test_types_are_found_at_any_depth() -> None:
    typed = tree("event.all(x, [1 + size(x)] == [2])", typed=True)
    found = {node.function: node.overloads for node in walk_nodes(typed) if isinstance(node, Call)}

    assert found["_+_"] == ("add_int64",) and found["_==_"] == ("equals",)
    assert [node.types for node in walk_nodes(typed) if isinstance(node, Literal)] == [("int",), ("int",)]


def test_all_nodes_are_found_once() -> None:
    source = "{'a': [has(event.b), 1]}.all(x, event.c > x) ? 'y' : event.d['z']"
    found = list(walk_nodes(tree(source)))
    names = sorted(node.name for node in found if isinstance(node, Name))
    fields = sorted(node.field for node in found if isinstance(node, Select))
    texts = sorted(node.text for node in found if isinstance(node, Constant) and node.kind == "string")

    assert names == ["@result", "@result", "@result", "event", "event", "event", "x"]
    assert fields == ["b", "c", "d"]
    assert texts == [b"a", b"y", b"z"]
    assert sum(isinstance(node, Fold) for node in found) == 1


# ── what it might write one day ─────────────────────────────────────────────────────────────────────────────────────


def varint(number: int) -> bytes:
    """A number in groups of seven bits."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, value: int | bytes) -> bytes:
    """A field of a message: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def serialised(node: bytes, facts: bytes = b"") -> bytes:
    """A CheckedExpr in an Any."""
    return field(1, b"type.googleapis.com/cel.expr.CheckedExpr") + field(2, facts + field(4, node))


def name(text: bytes, number: int = 0) -> bytes:
    return (field(2, number) if number else b"") + field(4, field(1, text))


UNKNOWN = [  # fields of newer versions, of every wire type
    field(99, 300),
    field(99, name(b"b")),
    varint(99 << 3 | 1) + b"\x22\x03\x0a\x01b\x22\x03\x0a",
    varint(99 << 3 | 5) + b"\x22\x03\x0a\x01",
]


@pytest.mark.parametrize("more", UNKNOWN)
def test_fields_that_are_not_known_are_passed_over(more: bytes) -> None:
    assert parse_syntax(more + serialised(more + name(b"a"), more)) == Name("a")


@pytest.mark.parametrize("kind", [3, 4, 6, 7])
def test_a_field_of_a_wire_type_that_there_is_not_is_unknown_syntax(kind: int) -> None:
    with pytest.raises(UnknownSyntax, match=f"wire type {kind}"):
        parse_syntax(serialised(varint(99 << 3 | kind) + name(b"a")))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no field 2"),
        (field(2, b""), "no field 4"),
        (field(2, 7), "no field 2"),
        (serialised(b""), "of no kind"),
        (serialised(field(2, 1)), "of no kind"),
        (serialised(field(4, 1)), "of no kind"),
        (serialised(field(4, b"")), "no field 1"),
        (serialised(field(9, field(1, b"x"))), "KeyError"),
        (serialised(name(b"\xff")), "UnicodeDecodeError"),
        (b"\xff", "IndexError"),
    ],
)
def test_what_is_no_expression_is_unknown_syntax(data: bytes, said: str) -> None:
    with pytest.raises(UnknownSyntax, match=said):
        parse_syntax(data)


def test_a_constant_of_a_type_that_is_not_known_is_another_without_a_text() -> None:
    assert parse_syntax(serialised(field(3, field(8, b"text")))) == Constant(b"", "other")
    assert parse_syntax(serialised(field(3, b""))) == Constant(b"", "other")


def test_a_fold_may_name_two_variables() -> None:
    parts = {1: b"key", 2: name(b"over"), 3: b"sum", 4: name(b"a"), 5: name(b"b"), 6: name(b"c")}
    data = b"".join(field(number, part) for number, part in parts.items())

    fold = parse_syntax(serialised(field(9, data + field(7, name(b"d")) + field(8, b"value"))))

    each = ("key", "value")
    assert fold == Fold(Name("over"), each, "sum", Name("a"), Name("b"), Name("c"), Name("d"))


def test_large_numbers_of_nodes_keep_their_types() -> None:
    def facts(number: int) -> bytes:
        """An entry of the map of types: a string."""
        return field(3, field(1, number) + field(2, field(3, 5)))

    for number in (1, 127, 128, 300, 2**21 + 5):
        items = field(7, field(1, name(b"a", number)) + field(1, name(b"b", number + 1)))
        literal = parse_syntax(serialised(items, facts(number)), typed=True)
        assert isinstance(literal, Literal)
        assert literal.types == ("string", "other")


def test_a_node_without_a_number_and_facts_that_are_none_have_no_types() -> None:
    entry = field(3, field(1, 1) + field(2, field(3, 5)))
    strange = field(3, field(1, b"1")) + field(3, field(1, 2) + field(2, 5)) + field(2, 7)
    items = field(7, b"".join(field(1, name(b"a", number)) for number in (0, 1, 2)))

    literal = parse_syntax(serialised(items, strange + entry), typed=True)

    assert isinstance(literal, Literal)
    assert literal.types == ("other", "string", "other")


@pytest.mark.parametrize(
    ("type_", "name_"),
    [
        (field(1, b""), "dyn"),
        (field(2, 0), "null"),
        (field(3, 1), "bool"),
        (field(3, 6), "bytes"),
        (field(3, 9), "other"),
        (field(5, 1), "other"),
        (field(5, 2), "timestamp"),
        (field(5, 3), "duration"),
        (field(6, b""), "list"),
        (field(7, b""), "map"),
        (field(9, b"cel.Other"), "other"),
        (b"", "other"),
    ],
)
def test_a_type_has_a_name(type_: bytes, name_: str) -> None:
    literal = parse_syntax(
        serialised(field(7, field(1, name(b"a", 7))), field(3, field(1, 7) + field(2, type_))), typed=True
    )

    assert isinstance(literal, Literal)
    assert literal.types == (name_,)
