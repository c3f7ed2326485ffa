"""What is said of data that do not fit, for each keyword of JSON Schema, and of schemas that are none."""

from typing import Any

import pytest

from heed.core.schema.cost import SchemaRefused
from heed.core.schema.validator import MAX_MISMATCH_CHARS, SchemaValidator, shorten_text

LONG = "x" * 100


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        ({"type": "string"}, True, "is a boolean, not string"),
        ({"type": "array"}, {}, "is a map, not array"),
        ({"type": ["string", "null"]}, 1, "is a number, not null or string"),
        ({"required": ["a"]}, {}, 'lacks "a"'),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, 'lacks "b"'),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}, 'lacks "b"'),
        (
            {"properties": {"z": True}, "additionalProperties": False},
            {"a": 1, "z": 2},
            'has "a", which the schema does not know',
        ),
        (
            {"unevaluatedProperties": False},
            dict.fromkeys("abcde", 1),
            'has "a", "b", "c" and 2 more, which the schema does not know',
        ),
        (
            {"patternProperties": {"^x": True}, "additionalProperties": False},
            {LONG: 1, "é": 2},
            'has "é", which the schema does not know',
        ),
        ({"unevaluatedProperties": False}, {"b": 1}, 'has "b", which the schema does not know'),
        ({"additionalProperties": False}, {"b": 1}, "has a field, and the schema allows none"),
        ({"propertyNames": False}, {"b": 1}, "has a field, and the schema allows none"),
        (
            {"propertyNames": {"maxLength": 1}},
            {"ab": 1},
            "has a field whose name is not allowed (propertyNames)",
        ),
        ({"enum": [1, "é", None]}, 2, 'is none of 1, "é", null'),
        ({"enum": [1, 2, 3, 4]}, 9, "is none of 1, 2, 3 and 1 more"),
        ({"const": {"a": 1}}, 2, 'is not {"a": 1}'),
        ({"const": "x" * 58}, 2, f'is not "{"x" * 58}"'),
        ({"const": "x" * 59}, 2, f'is not "{"x" * 58}…'),
        ({"pattern": "^a"}, "b", 'does not match the pattern "^a"'),
        ({"format": "date"}, "x", "is no date"),
        ({"not": {"type": "string"}}, "x", "fits what is excluded (not)"),
        ({"not": True}, "x", "fits what is excluded (not)"),
        ({"not": {"not": False}}, "x", "fits what is excluded (not)"),
        ({"not": {"not": {"type": "string"}}}, 1, "fits what is excluded (not)"),
        ({"not": {"not": {"type": "string"}, "title": "a"}}, 1, "fits what is excluded (not)"),
        ({"not": {"anyOf": [{"type": "string"}]}}, "x", "fits what is excluded (not)"),
        ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, 1, "fits none of its alternatives (anyOf)"),
        ({"oneOf": [True, True]}, 1, "does not fit exactly one (oneOf)"),
        ({"oneOf": [{"type": "string"}], "anyOf": [True]}, 1, "does not fit exactly one (oneOf)"),
        ({"allOf": [{"anyOf": [{"type": "null"}]}, True]}, 1, "fits none of its alternatives (anyOf)"),
        ({"allOf": [False]}, 1, "is not allowed"),
        ({"minimum": 5}, 4, "is less than 5"),
        ({"exclusiveMinimum": 5}, 5, "is not more than 5"),
        ({"maximum": 5.5}, 6, "is more than 5.5"),
        ({"exclusiveMaximum": 5}, 5, "is not less than 5"),
        ({"multipleOf": 2}, 3, "is not a multiple of 2"),
        ({"minLength": 2}, "a", "is shorter, in characters, than 2"),
        ({"maxLength": 1}, "ab", "is longer, in characters, than 1"),
        ({"minItems": 1}, [], "has fewer items than 1"),
        ({"maxItems": 1}, [1, 2], "has more items than 1"),
        ({"minProperties": 1}, {}, "has fewer fields than 1"),
        ({"maxProperties": 0}, {"a": 1}, "has more fields than 0"),
        ({"uniqueItems": True}, [1, 1], "does not fit uniqueItems"),
        ({"contains": {"type": "string"}}, [1], "does not fit contains"),
        ({"if": {"type": "string"}, "then": {"minLength": 3}}, "a", "is shorter, in characters, than 3"),
        ({"if": {"type": "string"}, "else": {"minimum": 2}}, 1, "is less than 2"),
    ],
)
def test_each_keyword_has_its_words(schema: dict[str, Any], data: Any, said: str) -> None:
    assert SchemaValidator(schema).problem(data) == f"data: {said}"


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [
        ({"properties": {"a": False}}, {"a": 1}, "data.a: is not allowed"),
        (
            {"properties": {"additionalProperties": False}},
            {"additionalProperties": 1},
            "data.additionalProperties: is not allowed",
        ),
        ({"properties": {"a/b~c": {"type": "string"}}}, {"a/b~c": 1}, "data.a/b~c: is a number, not string"),
        ({"items": {"items": {"type": "string"}}}, [["a"], ["a", 3]], "data[1][1]: is a number, not string"),
        ({"prefixItems": [True], "items": False}, ["a", 1], "data[1]: is not allowed"),
        ({"contains": {}, "properties": {"a": {"minimum": 1}}}, {"a": 0}, "data.a: is less than 1"),
        (
            {"patternProperties": {"^x": {"anyOf": [{"type": "null"}]}}},
            {LONG: 1},
            f"data.{'x' * 39}…: fits none of its alternatives (anyOf)",
        ),
        (
            {"dependentSchemas": {"a": {"properties": {"b": {"oneOf": [False]}}}}},
            {"a": 1, "b": 2},
            "data.b: does not fit exactly one (oneOf)",
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"anyOf": [{"type": "null"}]}}},
            {"a": 1},
            "data.a: fits none of its alternatives (anyOf)",
        ),
        (
            {"$ref": "#/definitions/x", "definitions": {"x": {"prefixItems": [{"oneOf": [False]}]}}},
            [1],
            "data[0]: does not fit exactly one (oneOf)",
        ),
        (
            {
                "if": {"anyOf": [{"type": "string"}]},
                "then": {"oneOf": [{"minLength": 3}]},
                "else": {"anyOf": [False]},
            },
            "a",
            "data: does not fit exactly one (oneOf)",
        ),
        (
            {"additionalProperties": {"anyOf": [False]}},
            {"a": 1},
            "data.a: fits none of its alternatives (anyOf)",
        ),
    ],
)
def test_a_mistake_has_its_place(schema: dict[str, Any], data: Any, said: str) -> None:
    assert SchemaValidator(schema).problem(data) == said


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, 3),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "a"),
        ({"not": {"type": "string"}}, 1),
        ({"format": "x-own"}, "x"),
        ({"contentEncoding": "base64"}, "?"),
        ({"format": "date"}, 7),
    ],
)
def test_what_fits_has_no_problem(schema: dict[str, Any], data: Any) -> None:
    assert SchemaValidator(schema).problem(data) is None


def test_the_same_checker_explains_each_of_many_data() -> None:
    checker = SchemaValidator({"anyOf": [{"type": "string"}], "properties": {"a": {"type": "null"}}})

    for _ in range(2):
        assert checker.problem({"a": 1}) == "data.a: is a number, not null"
        assert checker.problem(1) == "data: fits none of its alternatives (anyOf)"


def test_a_place_and_a_message_are_cut() -> None:
    schema: dict[str, Any] = {"const": LONG}
    data: Any = 1
    for _ in range(6):
        schema, data = {"additionalProperties": schema}, {LONG: data}
    place = shorten_text("data" + f".{'x' * 39}…" * 6, 200)
    assert SchemaValidator(schema).problem(data) == f'{place}: is not "{"x" * 58}…'

    many: dict[str, Any] = {"additionalProperties": {"enum": [LONG, LONG + "a", LONG + "b", LONG + "c"]}}
    for _ in range(5):
        many = {"additionalProperties": many}
    found = SchemaValidator(many).problem(data) or ""
    assert len(found) == MAX_MISMATCH_CHARS and found.startswith(f'{place}: is none of "{"x" * 58}…, "x')


@pytest.mark.parametrize("data", [{"a": "\ud800"}, {1: 2}, b"x", [[[b"x"]]]])
@pytest.mark.parametrize("schema", [{"type": "string"}, {"anyOf": [{"type": "string"}]}])
def test_data_that_the_library_cannot_read_have_a_problem_and_no_exception(
    schema: dict[str, Any], data: Any
) -> None:
    assert SchemaValidator(schema).problem(data) == (
        "data: cannot be checked, as they nest too deep or hold numbers beyond 64 bits"
    )


# ── where a mistake cannot be looked for ────────────────────────────────────────────────────────────────────────────

UNTOLD = "data: do not fit the schema"


def test_where_a_reference_leads_into_an_alternative_the_mistake_is_not_named() -> None:
    schema = {"properties": {"a": {"oneOf": [{"type": "string"}]}, "b": {"$ref": "#/properties/a/oneOf/0"}}}

    assert SchemaValidator(schema).problem({"b": 1}) == UNTOLD
    assert SchemaValidator(schema).problem({"b": "x"}) is None


def test_where_alternatives_in_each_other_make_a_copy_too_long_it_is_neither() -> None:
    def alternatives(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"description": "x" * 8000, "type": "string"}
        for _ in range(levels):
            schema = {"anyOf": [schema]}
        return schema

    assert SchemaValidator(alternatives(3)).problem(1) == "data: fits none of its alternatives (anyOf)"
    assert SchemaValidator(alternatives(7)).problem(1) in (
        UNTOLD,
        "data: fits none of its alternatives (anyOf)",
    )


# ── schemas that are none ───────────────────────────────────────────────────────────────────────────────────────────

TYPES = "known are array, boolean, integer, null, number, object, string"
NO_PATTERN = (
    "is no pattern that can be used: "
    r"its brackets ( and ) do not match; close them, or write \( for a literal one"
)


@pytest.mark.parametrize(
    ("schema", "path", "said"),
    [
        ({"type": "strnig"}, ".type", f'is "strnig"; {TYPES}'),
        ({"type": ["string", 3]}, ".type", f'is ["string", 3]; {TYPES}'),
        ({"type": "x" * 90}, ".type", f'is "{"x" * 78}…; {TYPES}'),
        ({"properties": {"a": {"type": "x"}}}, ".properties.a.type", f'is "x"; {TYPES}'),
        (
            {"$defs": {"a": {"minimum": "x"}}},
            ".$defs.a.minimum",
            'is no JSON Schema: "x" is not of type "number"',
        ),
        ({"minimum": LONG * 2}, ".minimum", f'is no JSON Schema: "{"x" * 158}…'),
        ({"pattern": "(a"}, ".pattern", f'"(a" {NO_PATTERN}'),
        ({"pattern": "(" + "a" * 90}, ".pattern", f'"({"a" * 77}… {NO_PATTERN}'),
        ({"patternProperties": {"(a": True}}, ".patternProperties.(a", f'"(a" {NO_PATTERN}'),
        (
            {"$id": "http://[x"},
            "",
            "has an $id that is no URI reference; write it like https://example.com/order",
        ),
    ],
)
def test_a_schema_that_is_none_is_refused_with_its_place(
    schema: dict[str, Any], path: str, said: str
) -> None:
    with pytest.raises(SchemaRefused) as caught:
        SchemaValidator(schema)

    assert (caught.value.path, caught.value.message) == (path, said)


def test_the_place_of_such_a_mistake_is_cut() -> None:
    schema: dict[str, Any] = {"minimum": "1"}
    for _ in range(4):
        schema = {"properties": {"n" * 70: schema}}

    with pytest.raises(SchemaRefused) as caught:
        SchemaValidator(schema)

    assert caught.value.path == shorten_text(f".properties.{'n' * 70}" * 4 + ".minimum", 256)
    assert len(caught.value.path) == 256


def test_what_the_library_cannot_read_is_refused_too() -> None:
    with pytest.raises(SchemaRefused) as caught:
        SchemaValidator({"const": {1: 2}})

    assert caught.value.message.startswith("cannot be used: Dict key must be str")


@pytest.mark.parametrize(
    ("text", "length", "short"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("x" * 81, None, "x" * 79 + "…")]
)
def test_a_text_is_cut_with_an_ellipsis(text: str, length: int | None, short: str) -> None:
    assert (shorten_text(text) if length is None else shorten_text(text, length)) == short
    assert shorten_text("x" * 80) == "x" * 80
