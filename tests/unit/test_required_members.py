"""Which members a schema requires: by itself, by its parts, by all alternatives, and by what it refers to."""

import json
from typing import Any

import pytest

from heed.core.schema.registry import SchemaSource
from heed.core.schema.required_members import is_required

TYPE = "com.example.asked"


def source_of(schema: Any, type_: str = TYPE) -> SchemaSource:
    """An EventType that counts."""
    return SchemaSource("demo", "it", type_, "Enforce", json.dumps(schema))


def needs(*names: str) -> dict[str, Any]:
    """A schema that requires members in each other."""
    name, *inner = names
    return {"required": [name], **({"properties": {name: needs(*inner)}} if inner else {})}


def chain(length: int) -> dict[str, Any]:
    """A schema that requires `a` after so many references."""
    defs: dict[str, Any] = {f"d{index}": {"$ref": f"#/$defs/d{index + 1}"} for index in range(length - 1)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{length - 1}": needs("a")}}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (needs("a"), "a"),
        ({"required": ["b", "a"]}, "a"),
        (needs("a", "b"), "a"),
        (needs("a", "b"), "a.b"),
        (needs("a", "b", "c"), "a.b.c"),
        ({"allOf": [{}, needs("a")]}, "a"),
        ({"allOf": [True, needs("b"), needs("a")]}, "a"),
        ({"anyOf": [needs("a"), {"required": ["a", "b"]}]}, "a"),
        ({"oneOf": [needs("a", "b"), needs("a", "b", "c")]}, "a.b"),
        ({"anyOf": [{}], "oneOf": [needs("a")]}, "a"),
        ({"$ref": "#/$defs/x", "$defs": {"x": needs("a")}}, "a"),
        ({"$ref": "#/$defs/x~1y~0z", "$defs": {"x/y~z": needs("a")}}, "a"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/y"}, "y": needs("a")}}, "a"),
        ({"required": ["a"], "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": needs("b")}}, "a.b"),
        ({**needs("a"), "allOf": [needs("a", "b")]}, "a.b"),
        ({"$ref": "#/$defs/x", "required": ["a"], "$defs": {"x": {}}}, "a"),
        (chain(31), "a"),
    ],
)
def test_a_member_that_has_to_be_there_is_required(schema: Any, path: str) -> None:
    assert is_required([source_of(schema)], TYPE, tuple(path.split(".")))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({}, "a"),
        (True, "a"),
        (needs("b"), "a"),
        ({"properties": {"a": needs("b")}}, "a.b"),
        ({"required": ["a"], "properties": {"c": needs("b")}}, "a.b"),
        ({"required": ["a"], "properties": ["a"]}, "a.b"),
        (needs("a"), "a.b"),
        ({"required": "a"}, "a"),
        ({"required": {"a": 1}}, "a"),
        ({"allOf": [{}, needs("b")]}, "a"),
        ({"anyOf": [needs("a"), needs("b")]}, "a"),
        ({"oneOf": [needs("a"), {}]}, "a"),
        ({"anyOf": []}, "a"),
        ({"not": needs("a")}, "a"),
        ({"$ref": "#"}, "a"),
        ({"$ref": "#/$defs/none", "$defs": {"x": needs("a")}}, "a"),
        ({"$ref": "#/allOf/0", "allOf": ["a"]}, "a"),
        ({"$ref": "other#/$defs/x", "$defs": {"x": needs("a")}}, "a"),
        ({"$ref": ["#/$defs/x"], "$defs": {"x": needs("a")}}, "a"),
        (chain(32), "a"),
    ],
)
def test_what_is_not_said_plainly_is_not(schema: Any, path: str) -> None:
    assert not is_required([source_of(schema)], TYPE, tuple(path.split(".")))


def test_one_of_the_types_that_a_pattern_matches_is_enough() -> None:
    rules = [source_of({}), source_of(needs("a"), "com.example.b"), source_of(needs("c"), "org.other")]

    assert is_required(rules, "com.example.*", ("a",))
    assert not is_required(rules, TYPE, ("a",))
    assert not is_required(rules, "com.example.*", ("c",))
    assert not is_required([], ">", ("a",))


def test_the_value_itself_is_always_there() -> None:
    assert is_required([source_of({})], TYPE, ())
    assert not is_required([], TYPE, ())
