"""What checking data against a schema may cost, rule by rule, and which schemas are not taken, at their boundaries."""

from typing import Any

import pytest

from heed.core.cel.polynomial import NODE_EXTENT
from heed.core.schema.cost import JSON_SCHEMA_DIALECT, MAX_SCHEMA_BYTES, SchemaRefused, find_limit
from tests.builders.values import nested_schema

RECURSIVE = 1e30


def work_of_schema(schema: dict[str, Any]) -> tuple[float, float]:
    """The nanoseconds for a value of the data, and for a character: looked at three times, and 300 to read it."""
    bound = find_limit(schema).work
    node = bound[(0, 0)]
    return round((node - 300) / 3, 6), round(bound[(1, 0)] - node / NODE_EXTENT, 6)


def refusal(schema: dict[str, Any]) -> tuple[str, str]:
    """Where and why a schema is not taken."""
    with pytest.raises(SchemaRefused) as caught:
        find_limit(schema)
    return caught.value.path, caught.value.message


# ── what a schema's own keywords cost: 50 for itself and for each ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schema", "node", "text"),
    [
        ({}, 50, 1),
        ({"type": "string"}, 100, 1),
        ({"type": "string", "minLength": 2}, 150, 1),
        ({"format": "date"}, 100, 201),
        ({"format": "regex"}, 100, 1_000_201),  # each pattern that comes is compiled
        ({"uniqueItems": True}, 400, 1),
        ({"multipleOf": 3}, 100, 1),
        ({"multipleOf": 0.1}, 30_100, 1),
        ({"uniqueItems": True, "multipleOf": 0.1}, 30_450, 1),
        # each value that data are compared with, and each key
        ({"const": 1}, 100 + 160, 1),
        ({"const": {"a": [1, 2], "b": None}}, 100 + 160 * 7, 1),
        ({"enum": [1, "b", [2]]}, 100 + 160 * 5, 1),
        ({"required": ["a", "b"]}, 100 + 160 * 3, 1),
        ({"dependentRequired": {"a": ["b"]}}, 100 + 160 * 4, 1),
        ({"enum": [1], "const": 1}, 150 + 160 * 3, 1),
        # a pattern: its characters and one, twice, times what is repeated; fifty times with classes of Unicode
        ({"pattern": "ab"}, 150, 1 + 6),
        ({"pattern": "a{3}"}, 150, 1 + 30),
        ({"pattern": "a{3,7}"}, 150, 1 + 98),
        ({"pattern": "a{7,}"}, 150, 1 + 84),
        ({"pattern": "a{,7}"}, 150, 1 + 84),
        ({"pattern": "a{0}"}, 150, 1 + 10),
        ({"pattern": "(a{3}){2}"}, 150, 1 + 120),
        ({"pattern": r"\pL"}, 150, 1 + 200),
        ({"pattern": r"\PL{2}"}, 150, 1 + 700),
        ({"pattern": 7}, 100, 1),
    ],
)
def test_a_keyword_costs_so_much(schema: dict[str, Any], node: float, text: float) -> None:
    assert work_of_schema(schema) == (node, text)


# ── what is within ──────────────────────────────────────────────────────────────────────────────────────────────────

INNER = {"pattern": "ab", "type": "string"}  # 200 for a value, 7 for a character


@pytest.mark.parametrize(
    "keyword", ["not", "if", "then", "else", "additionalProperties", "items", "contains", "propertyNames"]
)
def test_a_schema_within_costs_its_own(keyword: str) -> None:
    assert work_of_schema({keyword: True}) == (150, 1)
    assert work_of_schema({keyword: INNER}) == (300, 8)
    assert work_of_schema({keyword: {keyword: INNER}}) == (400, 9)


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "prefixItems"])
def test_each_of_a_list_costs_its_own(keyword: str) -> None:
    assert work_of_schema({keyword: []}) == (100, 1)
    assert work_of_schema({keyword: [INNER, False, INNER]}) == (100 + 400 + 50, 1 + 14)


@pytest.mark.parametrize("keyword", ["properties", "dependentSchemas", "dependencies"])
def test_each_of_a_map_costs_its_own(keyword: str) -> None:
    assert work_of_schema({keyword: {}}) == (100, 1)
    assert work_of_schema({keyword: {"a": INNER, "b": False, "c": INNER}}) == (100 + 400 + 50, 1 + 14)


def test_a_pattern_of_names_is_one_too() -> None:
    assert work_of_schema({"patternProperties": {"ab": INNER, "c": True}}) == (
        100 + 50 * 2 + 200 + 50,
        1 + 6 + 4 + 7,
    )


@pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
def test_what_is_unevaluated_has_all_beside_it_looked_at_three_times(keyword: str) -> None:
    assert work_of_schema({keyword: False}) == (3 * 150, 3)
    assert work_of_schema({keyword: INNER, "allOf": [INNER]}) == (3 * (150 + 400), 3 * 15)
    assert work_of_schema({"items": {keyword: False}, "type": "array"}) == (150 + 450, 1 + 3)


@pytest.mark.parametrize("keyword", ["properties", "allOf", "patternProperties", "$defs"])
@pytest.mark.parametrize("value", [7, "x", None])
def test_what_is_no_schema_at_all_is_left_to_the_library(keyword: str, value: Any) -> None:
    assert work_of_schema({keyword: value}) == (100, 1)


# ── references ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schema", "keywords"),
    [
        ({"$ref": "#/$defs/a", "$defs": {"a": INNER}}, 2),
        ({"$dynamicRef": "#/$defs/a", "$defs": {"a": INNER}}, 2),
        ({"$ref": "#/definitions/a", "definitions": {"a": INNER}}, 2),
        ({"$ref": "#/x/1/y", "x": [0, {"y": INNER}]}, 2),
        ({"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": INNER}}, 2),
        ({"$ref": "#/$defs/%61%20%C3%A9", "$defs": {"a é": INNER}}, 2),
        ({"$ref": "#/$defs/", "$defs": {"": INNER}}, 2),
        ({"$ref": "#/$defs/0", "$defs": {"0": INNER}}, 2),
    ],
)
def test_a_reference_costs_what_stands_where_it_leads(schema: dict[str, Any], keywords: int) -> None:
    assert work_of_schema(schema) == (50 * (1 + keywords) + 200, 8)


@pytest.mark.parametrize("anchor", ["$anchor", "$dynamicAnchor"])
@pytest.mark.parametrize(
    "place",
    [
        lambda it: {"$defs": {"a/b~": it}},
        lambda it: {"definitions": {"a": it}},
        lambda it: {"$defs": {"a": {"$defs": {"b": it}}}},
        lambda it: {"$defs": {"a": {"properties": {"p/q": {"allOf": [True, {"items": it}]}}}}},
    ],
)
def test_an_anchor_is_found_wherever_it_stands(anchor: str, place: Any) -> None:
    assert work_of_schema({"$ref": "#it", **place({anchor: "it", "pattern": "ab"})}) == (150 + 200, 8)


def test_what_is_referred_to_often_is_counted_as_often() -> None:
    assert work_of_schema({"allOf": [{"$ref": "#/$defs/a"}] * 3, "$defs": {"a": INNER}}) == (
        150 + 3 * 300,
        1 + 3 * 8,
    )
    assert work_of_schema({"items": INNER, "contains": {"$ref": "#/items"}}) == (150 + 200 + 300, 1 + 7 + 8)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$dynamicRef": "#"},
        {"items": {"$ref": "#"}},
        {"properties": {"a": {"items": {"$ref": "#/properties/a"}}}},
        {"$ref": "#it", "$defs": {"a": {"$anchor": "it", "not": {"$ref": "#it"}}}},
    ],
)
def test_no_data_are_harmless_where_a_schema_refers_to_itself(schema: dict[str, Any]) -> None:
    limit = find_limit(schema)

    assert (limit.work, limit.always) == ({(0, 0): RECURSIVE}, -1)


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("other", "refers to something outside of the schema; copy it into $defs and refer to #/$defs/…"),
        (
            "http://h/#/$defs/a",
            "refers to something outside of the schema; copy it into $defs and refer to #/$defs/…",
        ),
        ("#none", "refers to an anchor that does not exist"),
        ("#/$defs/none", "refers to a place that does not exist"),
        ("#/$defs/a/type/x", "refers to a place that does not exist"),
        ("#/$defs/a/enum/2", "refers to a place that does not exist"),
        ("#/$defs/a/enum/-1", "refers to a place that does not exist"),
        ("#/$defs/%FF", "refers to a place that does not exist"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(keyword: str, reference: str, said: str) -> None:
    inner = {"type": "string", "enum": ["a", "b"]}

    assert refusal({keyword: reference, "$defs": {"a": inner}}) == (f".{keyword}", said)
    assert refusal({"properties": {"p/q~": {keyword: reference}}, "$defs": {"a": inner}}) == (
        f".properties.p/q~.{keyword}",
        said,
    )


def test_a_reference_may_lead_to_an_item_of_a_list() -> None:
    assert work_of_schema({"$ref": "#/allOf/1", "allOf": [True, INNER]}) == (150 + 50 + 200 + 200, 1 + 7 + 7)


# ── what is not taken ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_anchor_that_is_there_twice_is_refused_at_the_second() -> None:
    schema = {"$anchor": "a", "$defs": {"x": {"$anchor": "b"}}, "items": {"$dynamicAnchor": "a"}}

    assert refusal(schema) == (".items", "has an anchor that is elsewhere, too; rename one")
    assert work_of_schema({"$anchor": "a", "$dynamicAnchor": "a"}) == (150, 1)


def test_an_id_is_the_whole_schemas_only() -> None:
    assert work_of_schema({"$id": "https://example.com/a", "items": {"$id": 7}}) == (150 + 100, 2)
    assert refusal({"items": {"$id": "https://example.com/a"}}) == (
        ".items",
        "has an $id of its own; refer to it as #/$defs/… instead",
    )


def test_there_is_one_dialect() -> None:
    assert work_of_schema(
        {"$schema": JSON_SCHEMA_DIALECT, "items": {"$schema": f"{JSON_SCHEMA_DIALECT}#"}}
    ) == (
        150 + 100,
        2,
    )
    for other in ("http://json-schema.org/draft-07/schema#", "", 7):
        assert refusal({"$schema": other}) == (".$schema", f"is another dialect; write {JSON_SCHEMA_DIALECT}")
        assert refusal({"not": {"$schema": other}})[0] == ".not.$schema"


def chain(length: int) -> dict[str, Any]:
    """A schema that refers on, so many times."""
    defs: dict[str, Any] = {f"a{index}": {"$ref": f"#/$defs/a{index + 1}"} for index in range(length - 1)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{length - 1}": {}}}


def test_a_schema_nests_64_levels_and_128_with_its_references() -> None:
    assert work_of_schema(nested_schema(63)) == (63 * 100 + 50, 64)
    assert refusal(nested_schema(64)) == ("", "nests deeper than 64 levels; flatten it, or use $defs")
    assert work_of_schema(chain(127)) == (150 + 126 * 100 + 50, 128)
    path, said = refusal(chain(128))
    assert (path, said) == (
        ".$defs.a127",
        "nests, its references followed, deeper than 128 levels; flatten it",
    )


def test_schemas_beside_each_other_do_not_nest() -> None:
    assert work_of_schema({"allOf": [{"not": {}}] * 200}) == (100 + 200 * 150, 1 + 200 * 2)


def test_a_schema_has_64_kib_as_it_is_sent() -> None:
    around = len('{"title":""}')

    assert work_of_schema({"title": "x" * (MAX_SCHEMA_BYTES - around)}) == (100, 1)
    assert work_of_schema({"title": "é" * ((MAX_SCHEMA_BYTES - around) // 2)}) == (100, 1)
    assert refusal({"title": "x" * (MAX_SCHEMA_BYTES - around + 1)}) == (
        "",
        "has 65537 bytes; 65536 are allowed",
    )
    assert refusal({"title": "é" * (MAX_SCHEMA_BYTES // 2)}) == (
        "",
        f"has {MAX_SCHEMA_BYTES + around} bytes; 65536 are allowed",
    )


MUCH = "its references, patterns or unevaluated… multiply to more than can be checked; simplify it"


def test_ten_milliseconds_for_a_value_are_allowed_and_no_more() -> None:
    most = {
        "allOf": [{"$ref": "#/$defs/a"}] * 331,
        "$defs": {"a": {"multipleOf": 0.5}},
        **{f"x-{n}": n for n in range(73)},
    }

    assert work_of_schema(most) == (10_000_000, 1 + 2 * 331)
    assert refusal({**most, "type": "number"}) == ("", MUCH)


def test_ten_milliseconds_for_a_character_are_allowed_and_no_more() -> None:
    assert work_of_schema({"allOf": [{"format": "regex"}] * 9})[1] == 1 + 9 * 1_000_201
    assert refusal({"allOf": [{"format": "regex"}] * 10}) == ("", MUCH)


def test_patterns_are_limited_all_together() -> None:
    said = ("", "its patterns are too large together; shorten or drop some")

    assert work_of_schema({"pattern": "aa{10000}"})[1] == 200_001
    assert refusal({"pattern": "aaa{10000}"}) == said
    assert work_of_schema({"allOf": [{"pattern": "aa{5000}"}] * 2})[1] == 3 + 2 * 90_000
    assert refusal({"allOf": [{"pattern": "aa{5000}"}] * 3}) == said
    assert refusal({"pattern": "aaa{9999}", "patternProperties": {"a{9}": True}}) == said
    # what is referred to is compiled once
    once = {"allOf": [{"$ref": "#/$defs/a"}] * 3, "$defs": {"a": {"pattern": "aa{5000}"}}}
    assert work_of_schema(once)[1] == 1 + 3 * (2 + 90_000)


def test_the_place_of_a_mistake_is_cut() -> None:
    inner: dict[str, Any] = {"$ref": "x"}
    for _ in range(5):
        inner = {"properties": {"n" * 70: inner}}
    path, _ = refusal(inner)

    assert len(path) == 256
    assert path.startswith(f".properties.{'n' * 64}.properties.n")


def test_no_schema_gets_beyond_what_can_be_reckoned_with() -> None:
    assert refusal({"pattern": "a{9999999}" * 200}) == ("", MUCH)
