"""Schemas check data, say what is wrong without quoting it, fetch nothing, and cannot take more than they may."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.core.schema.cost import MAX_SCHEMA_BYTES, SchemaRefused, find_limit
from heed.core.schema.validator import MAX_MISMATCH_CHARS, SchemaValidator
from tests.builders.values import nested_schema

ORDER = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$", "maxLength": 8},
        "items": {"type": "array", "maxItems": 3, "items": {"$ref": "#/$defs/item"}},
        "placed": {"format": "date-time"},
        "paid": {"enum": ["cash", "card"]},
        "to": {"oneOf": [{"required": ["street"]}, {"required": ["locker"]}]},
        "kind": {"anyOf": [{"const": "new"}, {"type": "integer", "minimum": 1}]},
    },
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}}},
}


def problem(schema: dict[str, Any], data: Any) -> str | None:
    """What a schema has against data."""
    return SchemaValidator(schema).problem(data)


def refusal(schema: dict[str, Any]) -> str:
    """Why a schema is not taken."""
    with pytest.raises(SchemaRefused) as caught:
        SchemaValidator(schema)
    return f"{caught.value.path}: {caught.value.message}"


# ── what it says ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"id": "AB1"}, None),
        ({"id": "AB1", "items": [{"price": 2}, {"price": 0.5}], "paid": "card", "kind": 3}, None),
        ({"id": "AB1", "placed": "2026-01-31T12:00:00Z", "to": {"street": "x"}}, None),
        (None, "data: is null, not object"),
        ({}, 'data: lacks "id"'),
        ({"id": 7}, "data.id: is a number, not string"),
        ({"id": "secret"}, 'data.id: does not match the pattern "^[A-Z]{2}[0-9]+$"'),
        ({"id": "AB123456789"}, "data.id: is longer, in characters, than 8"),
        (
            {"id": "AB1", "items": [{}, {"price": "s3cret"}]},
            "data.items[1].price: is a string, not number",
        ),
        ({"id": "AB1", "items": [{"price": -17}]}, "data.items[0].price: is less than 0"),
        ({"id": "AB1", "items": [1, 2, 3, 4]}, "data.items: has more items than 3"),
        ({"id": "AB1", "placed": "s3cret"}, "data.placed: is no date-time"),
        ({"id": "AB1", "paid": "s3cret"}, 'data.paid: is none of "cash", "card"'),
        ({"id": "AB1", "more": "s3cret"}, 'data: has "more", which the schema does not know'),
        ({"id": "AB1", "kind": "s3cret"}, "data.kind: fits none of its alternatives (anyOf)"),
        ({"id": "AB1", "to": {"street": 1, "locker": 2}}, "data.to: does not fit exactly one (oneOf)"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_without_the_value(data: Any, expected: str | None) -> None:
    found = problem(ORDER, data)
    assert found is None if expected is None else (found or "").startswith(expected)
    assert "s3cret" not in (found or "")


def test_integers_of_64_bits_and_floats_are_compared_exactly() -> None:
    schema = {"type": "integer", "maximum": 2**63 - 2}
    assert problem(schema, 2**63 - 2) is None
    assert problem(schema, 2**63 - 1) == f"data: is more than {2**63 - 2}"
    assert problem(schema, 3.0) is None, "in JSON 3.0 is an integer"
    assert problem(schema, 3.5) == "data: is a number, not integer"
    assert problem({"multipleOf": 0.1}, 0.3) is None


def test_a_message_is_short_whatever_the_data_and_the_schema_hold() -> None:
    deep: Any = {"x" * 300: "wrong"}
    schema: dict[str, Any] = {"additionalProperties": {"enum": ["y" * 500] * 100}}
    for _ in range(20):
        deep, schema = {"x" * 300: deep}, {"additionalProperties": schema}
    found = problem(schema, deep)
    assert found is not None and len(found) <= MAX_MISMATCH_CHARS and found.startswith("data.xxx")


def test_alternatives_count_for_what_is_unevaluated() -> None:
    schema = {
        "anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": True}}],
        "properties": {"c": {"type": "string"}},
        "unevaluatedProperties": False,
    }
    assert problem(schema, {"a": 1, "b": 2, "c": "x"}) is None
    assert problem(schema, {"a": 1, "c": 2}) == "data.c: is a number, not string"
    assert problem(schema, {"a": 1, "d": 2}) == 'data: has "d", which the schema does not know'


def test_a_reference_into_an_alternative_keeps_its_meaning() -> None:
    schema = {"properties": {"a": {"oneOf": [{"type": "string"}]}, "b": {"$ref": "#/properties/a/oneOf/0"}}}
    assert problem(schema, {"a": "x", "b": "y"}) is None
    assert problem(schema, {"a": "x", "b": 1}) is not None


_LEAVES = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "string"},
        {"minimum": 2},
        {"required": ["a"]},
        {"enum": [1, "a"]},
        True,
        False,
    ]
)


def _combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({}, optional={"anyOf": some, "oneOf": some, "allOf": some, "not": inner}),
        st.fixed_dictionaries({"properties": st.fixed_dictionaries({"a": inner, "b": inner})}),
        st.builds(lambda one, rest: {"anyOf": one, "unevaluatedProperties": rest}, some, inner),
        st.builds(lambda one, rest: {"oneOf": one, "items": rest}, some, inner),
    )


@settings(max_examples=300, deadline=None)
@given(
    schema=st.recursive(_LEAVES, _combined, max_leaves=8).filter(lambda item: isinstance(item, dict)),
    data=st.recursive(
        st.sampled_from([1, 3, "a", None]),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner) | st.lists(inner, max_size=2),
        max_leaves=5,
    ),
)
def test_every_mistake_that_there_is_can_be_explained(schema: Any, data: Any) -> None:
    found = problem(schema, data)
    assert found != "data: do not fit the schema"


# ── what is not taken ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "strnig"}, '.type: is "strnig"; known are array, boolean'),
        ({"properties": {"a": {"minimum": "1"}}}, ".properties.a.minimum: is no JSON Schema"),
        ({"pattern": "(a"}, ".pattern: "),
        ({"pattern": "(?=a)b"}, "(?= looks around"),
        ({"pattern": r"^(a)\1$"}, r"\1 refers back"),
        ({"pattern": r"^[\w-.]+$"}, r"no end of a range in [\w-.]; write the - last: [\w.-]"),
        ({"pattern": r"[^a-\d]"}, r"no end of a range in [^a-\d]; write the - last: [^a\d-]"),
        ({"pattern": "[z-a]"}, "the range z-a in [z-a] goes backwards; write a-z"),
        ({"pattern": r"^a\Z"}, r"\Z is no anchor here; write $"),
        ({"pattern": "a{,3}"}, "{,3} has no least count"),
        ({"pattern": "[a-z]*("}, "do not match"),
        ({"pattern": "[abc"}, "[ has no ]"),
        ({"pattern": "(?>a)[(?=]"}, "(?> is an atomic group"),
        ({"pattern": "(" * 2000}, "a construct that is not supported"),
        ({"pattern": "((a{18}){18}){18}"}, "its patterns are too large together"),
        ({"$ref": "#/$defs/nope"}, ".$ref: refers to a place that does not exist"),
        ({"$ref": "#nope"}, ".$ref: refers to an anchor that does not exist"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ".$schema: is another dialect"),
        ({"$defs": {"a": {"$id": "http://h/x"}}, "properties": {"a": {"$ref": "#/$defs/a"}}}, "has an $id"),
        ({"title": "x" * MAX_SCHEMA_BYTES}, f"bytes; {MAX_SCHEMA_BYTES} are allowed"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_a_reason(schema: dict[str, Any], expected: str) -> None:
    assert expected in refusal(schema)


def doubling(levels: int, keyword: str) -> dict[str, Any]:
    """A schema that refers to the next one twice, so many times: its length stays small, what it does does not."""
    defs: dict[str, Any] = {f"a{i}": {keyword: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{levels}": {"type": "integer"}}}


def unevaluated(levels: int) -> dict[str, Any]:
    """A schema that looks again at what looks again."""
    schema: dict[str, Any] = {"properties": {"x": True}}
    for _ in range(levels):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        *(nested_schema(levels) for levels in (65, 80, 100)),
        *(doubling(15, keyword) for keyword in ("allOf", "anyOf", "oneOf")),
        unevaluated(10),
        {"$ref": "#/$defs/a0", "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(150)}},
        {"patternProperties": {rf"\p{{L}}{{9}}{i}": True for i in range(42)}},
    ],
    ids=lambda schema: (
        json.dumps(schema)[:40] if isinstance(schema, dict) and len(str(schema)) < 9999 else None
    ),
)
def test_a_schema_that_would_take_too_much_is_refused(schema: dict[str, Any]) -> None:
    assert refusal(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"not": {"$ref": "#"}},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$dynamicAnchor": "node", "items": {"$dynamicRef": "#node"}},
        {"properties": {"next": {"$ref": "#"}}},
    ],
)
def test_what_refers_to_itself_works_and_is_never_taken_for_harmless(schema: dict[str, Any]) -> None:
    assert not find_limit(schema).allows(1)
    SchemaValidator(schema).problem([[{"next": {"next": None}}]])


def test_a_tree_is_checked_to_its_leaves() -> None:
    tree = {"properties": {"name": {"type": "string"}, "in": {"items": {"$ref": "#"}}}}
    data = {"name": "a", "in": [{"name": "b", "in": [{"name": 3}]}]}
    assert problem(tree, data) == "data.in[0].in[0].name: is a number, not string"


def test_common_schemas_are_harmless_on_common_data_and_costly_ones_are_not_on_much() -> None:
    assert find_limit(ORDER).allows({"id": "AB1", "items": [{"price": 1}] * 100})
    options = {"items": {"enum": [{"a": i} for i in range(2000)]}}
    assert find_limit(options).allows([1])
    assert not find_limit(options).allows([{"a": 1}] * 2000)
    assert not find_limit({"pattern": "(a|b)*a(a|b){40}c"}).allows("ab" * 50_000)


# ── nothing is fetched ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A server that would answer with a schema, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "string"}')

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


WAYS: dict[str, Any] = {
    "$ref": lambda uri: {"$ref": uri},
    "fragment": lambda uri: {"$ref": f"{uri}#/type"},
    "$dynamicRef": lambda uri: {"$dynamicRef": f"{uri}#node"},
    "$schema": lambda uri: {"$schema": uri, "type": "string"},
    "in $defs": lambda uri: {"$defs": {"a": {"$ref": uri}}},
    "in unused $defs of a property": lambda uri: {"properties": {"a": {"$defs": {"b": {"$ref": uri}}}}},
    "relative to $id": lambda uri: {"$id": uri.rpartition("/")[0] + "/", "$ref": uri.rpartition("/")[2]},
    "relative below $id": lambda uri: {"$id": uri, "items": {"$ref": "other.json"}},
    "contentSchema": lambda uri: {"contentSchema": {"$ref": uri}},
    "dependencies": lambda uri: {"dependencies": {"a": {"$ref": uri}}},
    "unknown keyword": lambda uri: {"$ref": "#/x-more", "x-more": {"$ref": uri}},
    "nested $schema": lambda uri: {"properties": {"a": {"$schema": uri, "type": "string"}}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_nothing_outside_of_a_schema_is_ever_opened(
    way: str, scheme: str, visits: tuple[str, list[str]], tmp_path: Path
) -> None:
    # Given a schema that is really there, by HTTP and as a file: who opens it finds what it looks for
    server, asked = visits
    path = tmp_path / "schema.json"
    path.write_text('{"type": "string"}')
    uri = f"{server}/schema.json" if scheme == "http" else path.as_uri()
    # When a schema refers to it, it is refused,
    assert refusal(WAYS[way](uri))
    # and nobody has asked for it.
    assert asked == []


def test_what_a_file_says_makes_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    reasons = []
    for text in (None, "{}", "no JSON"):
        if text is not None:
            path.write_text(text)
        reasons.append(refusal({"$ref": path.as_uri()}))
    assert len(set(reasons)) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "file:///etc/hostname"}},
        {"enum": [{"$schema": "http://127.0.0.1:9/"}]},
        {"default": {"$ref": "file:///etc/hostname"}, "examples": [{"$ref": "http://127.0.0.1:9/"}]},
        {"$id": "https://example.com/order", "$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"$ref": "#item", "$defs": {"a": {"$anchor": "item", "type": "integer"}}},
        {"$ref": "#/$defs/a%20%C3%A9~1b", "$defs": {"a é/b": {"type": "integer"}}},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
        {"format": "x-of-our-own", "x-note": 1, "deprecated": True},
    ],
)
def test_what_only_looks_like_a_reference_is_taken(schema: dict[str, Any]) -> None:
    SchemaValidator(schema)
