"""Fields of approvals as controls of a form, and what was entered as fields of an answer."""

from typing import Any

import pytest

from heed.gateway.approvals.form_fields import default_entries, form_fields, read_entries


def a_schema(*required: str, **properties: Any) -> dict[str, Any]:
    """A schema of a map."""
    return {"type": "object", "properties": properties, "required": list(required)}


def read(schema: dict[str, Any], *entered: str) -> tuple[dict[str, Any], list[str]]:
    """What becomes of texts entered into the controls in their order, and the problems."""
    fields = form_fields(schema)
    entries = {field.control: text for field, text in zip(fields, entered, strict=True)}
    values, problems = read_entries(fields, entries)
    return values, list(problems.values())


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string", "maxLength": 200}, "text"),
        ({"type": "string", "maxLength": 201}, "long"),
        ({"type": "string"}, "long"),
        ({"type": "string", "format": "date"}, "text"),
        ({"type": "string", "format": "time"}, "long"),
        ({"type": "number"}, "number"),
        ({"type": "integer"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"enum": [1, "a"]}, "list"),
        ({"type": "string", "enum": []}, "long"),
        ({"type": "array"}, "json"),
        ({"type": ["string", "null"]}, "json"),
        ({}, "json"),
        (True, "json"),
    ],
)
def test_each_type_has_a_control(schema: Any, kind: str) -> None:
    (field,) = form_fields(a_schema(it=schema))

    assert (field.key, field.kind, field.required) == ("it", kind, False)


def test_controls_have_titles_help_and_know_what_is_required() -> None:
    two, one = form_fields(
        a_schema("b", a={"type": "string", "title": "A thing", "description": "Say it."}, b={"type": "array"})
    )

    assert (one.control, one.title, one.help, one.required) == ("field-1", "A thing", "Say it.", False)
    assert (two.control, two.title, two.help, two.required) == ("field-0", "b", "Write JSON.", True)


def test_what_is_required_comes_first_in_the_order_of_the_manifest() -> None:
    schema = a_schema("z", "missing", "m", a={"type": "string"}, m={"type": "string"}, z={"type": "string"})

    assert [(item.key, item.required) for item in form_fields(schema)] == [
        ("z", True),
        ("m", True),
        ("a", False),
    ]
    for odd in ("z", None, [["z"]]):
        assert [item.required for item in form_fields({**schema, "required": odd})] == [False] * 3


def test_a_schema_without_properties_is_written_as_json_and_none_asks_for_nothing() -> None:
    assert form_fields(None) == ()
    assert read({"type": "object"}, '{"a": 1}') == ({"a": 1}, [])
    assert read({"type": "object"}, "  ") == ({}, [])
    assert read({"type": "object"}, "[1]") == ({}, ["This is no map. Write it in braces."])


@pytest.mark.parametrize("schema", [{"properties": {}}, {"properties": [1]}, {"properties": None}])
def test_properties_that_are_none_are_no_controls(schema: dict[str, Any]) -> None:
    assert [item.key for item in form_fields(schema)] == [None]


@pytest.mark.parametrize("title", [7, "", None, ["x"]])
def test_what_has_no_title_has_its_name(title: Any) -> None:
    (field,) = form_fields(a_schema(it={"type": "string", "title": title, "description": title}))

    assert (field.title, field.help) == ("it", "")


def test_a_number_may_have_forty_characters() -> None:
    assert read(a_schema(n={"type": "integer"}), "1" * 40) == ({"n": int("1" * 40)}, [])


def test_texts_come_as_they_are_and_empty_ones_are_left_out() -> None:
    schema = a_schema(a={"type": "string"}, b={"type": "string"}, c={"type": "string"})

    assert read(schema, " x\r\ny ", "", " ") == ({"a": " x\ny "}, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" -7 ", -7),
        ("+7", 7),
        ("7.0", 7),
        ("7.5", 7.5),
        ("1e3", 1000),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_whole_numbers_stay_whole(text: str, value: float) -> None:
    found, problems = read(a_schema(n={"type": "integer"}), text)

    assert (found, problems) == ({"n": value}, [])
    assert type(found["n"]) is type(value)


def test_numbers_keep_their_point() -> None:
    found, _ = read(a_schema(n={"type": "number"}), "7.0")

    assert type(found["n"]) is float


@pytest.mark.parametrize("text", ["x", "1,5", "0x1", "--1", "1.", ".5", "1" * 41, "NaN", "inf", "١"])
def test_what_is_no_number_is_said(text: str) -> None:
    found, (problem,) = read(a_schema(n={"type": "number"}), text)

    assert (found, problem.startswith("This is no number.")) == ({}, True)


def test_a_number_beyond_all_is_said() -> None:
    assert read(a_schema(n={"type": "number"}), "1e999") == ({}, ["This number is too large."])


def test_a_tick_is_true_and_none_is_false() -> None:
    schema = a_schema(a={"type": "boolean"}, b={"type": "boolean"})

    assert read(schema, "on", "") == ({"a": True, "b": False}, [])


def test_a_choice_is_one_of_the_list_by_its_place() -> None:
    schema = a_schema(a={"enum": ["x", 2, None]})

    assert read(schema, "1") == ({"a": 2}, [])
    assert read(schema, "2") == ({"a": None}, [])
    for wrong in ("3", "-1", "x", "²"):
        assert read(schema, wrong) == ({}, ["Choose one of the list."])


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100 + "]" * 100, "12345678901234567890123"])
def test_what_is_no_json_is_said(text: str) -> None:
    found, problems = read(a_schema(a={}), text)

    assert (found, len(problems)) == ({}, 1)


def test_json_may_be_anything() -> None:
    assert read(a_schema(a={}), '[{"b": 1}]') == ({"a": [{"b": 1}]}, [])


def test_defaults_are_there_at_first() -> None:
    fields = form_fields(
        a_schema(
            a={"type": "string", "default": "x"},
            b={"type": "boolean", "default": True},
            c={"enum": ["p", "q"], "default": "q"},
            d={"type": "integer", "default": 3},
            e={"type": "number", "default": True},
            f={"type": "string", "default": 1},
            g={"enum": ["p"], "default": "other"},
            h={"type": "boolean", "default": False},
        )
    )

    assert default_entries(fields) == {"field-0": "x", "field-1": "on", "field-2": "1", "field-3": "3"}
