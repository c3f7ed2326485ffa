"""Event types compiled: what a checker is asked, what it says, who is told, and which type counts."""

import json
import pickle
from typing import Any

import pytest

from heed import names
from heed.core.schema.registry import (
    NO_SCHEMAS,
    CompiledEventType,
    RefusedEventType,
    SchemaMismatch,
    SchemaRegistry,
    SchemaSource,
    combine_types,
    compile_schemas,
    compile_type,
)
from tests.builders.agents import ASKED, NAMESPACE
from tests.builders.policies import event_type
from tests.unit.test_event_types import schemas

NUMBER = {"type": "integer"}
RECURSIVE = {"items": {"$ref": "#"}}
SAID = "EventType demo/numbers of com.example.question.asked: "


def numbers(**more: Any) -> SchemaRegistry:
    """One type, of whole numbers."""
    return schemas(event_type(NUMBER, name="numbers", **more))


# ── what is said ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "content", "said"),
    [
        (7, None, None),
        (7, "application/json", None),
        (7, "application/vnd.shop+json", None),
        ("x", None, "data: is a string, not integer"),
        (None, None, "data: is null, not integer"),
        (b"7", None, "data: are bytes, not JSON"),
        (b"7", "application/json", "data: are application/json, not JSON"),
        ("7", "text/plain", "data: are text/plain, not JSON"),
        (7, "text/plain", "data: are text/plain, not JSON"),
    ],
)
@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_what_does_not_fit_is_found_with_the_types_mode(
    mode: Any, data: Any, content: str | None, said: str | None
) -> None:
    expected = None if said is None else SchemaMismatch(mode, SAID + said)

    assert numbers(mode=mode).check(NAMESPACE, ASKED, data, content) == expected


def test_a_type_without_a_mode_enforces() -> None:
    found = numbers().check(NAMESPACE, ASKED, "x")

    assert found is not None and found.mode == "Enforce"


def test_a_type_is_one_of_its_namespace_only() -> None:
    for place in ((NAMESPACE, "com.example.other"), ("shop", ASKED)):
        assert numbers().check(*place, "x") is None
        assert numbers().is_cheap(*place, "x")
    assert NO_SCHEMAS.check(NAMESPACE, ASKED, "x") is None
    assert not NO_SCHEMAS and numbers()


def test_who_wants_to_know_is_told_what_is_about_to_check() -> None:
    told: list[str] = []
    found = numbers()
    listening = SchemaRegistry(found.rules, found._checkers, told.append)

    for type_ in (ASKED, "com.example.other"):
        listening.check(NAMESPACE, type_, 7)

    assert told == ["EventType demo/numbers"]


def test_whether_a_check_is_harmless_is_known_before() -> None:
    found = schemas(event_type(RECURSIVE), event_type(NUMBER, "com.example.n"))

    assert not found.is_cheap(NAMESPACE, ASKED, [])
    assert found.is_cheap(NAMESPACE, ASKED, b"bytes are not checked")
    assert found.is_cheap(NAMESPACE, "com.example.n", [1] * 1000)


# ── which are compiled ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_type_is_compiled_to_its_rule() -> None:
    schema = {"title": "é", "type": "integer"}
    found = compile_type(event_type(schema, name="numbers", namespace="shop", mode="Warn"))

    assert isinstance(found, CompiledEventType)
    assert found.rule == SchemaSource("shop", "numbers", ASKED, "Warn", '{"title":"é","type":"integer"}')
    assert json.loads(found.rule.schema) == schema
    assert found.key == ("shop", ASKED)
    assert found.check(7) is None
    assert found.check("x") == SchemaMismatch(
        "Warn", f"EventType shop/numbers of {ASKED}: data: is a string, not integer"
    )


@pytest.mark.parametrize(
    ("schema", "type_", "message"),
    [
        ({"$ref": "#none"}, ASKED, "spec.schema.$ref: refers to an anchor that does not exist"),
        ({"title": "x" * 70_000}, ASKED, "spec.schema: has 70012 bytes; 65536 are allowed"),
        (
            {},
            names.TASK_COMPLETED,
            f"spec.schema: {names.TASK_COMPLETED} is an event of Heed's own, which is not checked",
        ),
        (
            {},
            "dev.heed.task.other",
            "spec.schema: dev.heed.task.other is an event of Heed's own, which is not checked",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(schema: Any, type_: str, message: str) -> None:
    item = event_type(schema, type_)

    assert compile_type(item) == RefusedEventType(item, message, "Invalid")
    assert compile_schemas([item]) == (NO_SCHEMAS, [RefusedEventType(item, message, "Invalid")])


# ── which count ─────────────────────────────────────────────────────────────────────────────────────────────────────


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def counting(*items: Any) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The names of the types that count, and the refused with their reasons and messages."""
    found, refused = combine_types(map(compile_type, items))
    return [rule.name for rule in found.rules], [
        (each.item.metadata.name, each.reason, each.message) for each in refused
    ]


def named(name: str, created: str | None, schema: Any = NUMBER, **more: Any) -> Any:
    item = event_type(schema, name=name, created=created or EARLY, **more)
    if created is None:  # of a manifest in a file
        metadata = item.metadata.model_copy(update={"creation_timestamp": ""})
        item = item.model_copy(update={"metadata": metadata})
    return item


def conflict(name: str, other: str) -> tuple[str, str, str]:
    return name, "Conflict", f"EventType {other} describes {ASKED} already; the oldest one counts"


@pytest.mark.parametrize(
    ("items", "counts", "refused"),
    [
        ([named("a", LATE), named("b", EARLY)], ["b"], [conflict("a", "b")]),
        ([named("b", EARLY), named("a", EARLY)], ["a"], [conflict("b", "a")]),
        ([named("a", None), named("b", LATE)], ["b"], [conflict("a", "b")]),
        ([named("a", EARLY), named("b", EARLY, namespace="shop")], ["a", "b"], []),
        (
            [named("c", LATE), named("b", LATE), named("a", EARLY, {"$ref": "#none"})],
            ["b"],
            [
                ("a", "Invalid", "spec.schema.$ref: refers to an anchor that does not exist"),
                conflict("c", "b"),
            ],
        ),
    ],
)
def test_the_oldest_that_can_be_used_counts(items: list[Any], counts: list[str], refused: list[Any]) -> None:
    assert counting(*items) == (counts, refused)
    assert counting(*reversed(items)) == (counts, refused)


def test_a_copy_in_another_process_checks_the_same_and_tells_nobody() -> None:
    told: list[str] = []
    found = numbers()
    copy = pickle.loads(pickle.dumps(SchemaRegistry(found.rules, found._checkers, told.append)))

    assert copy == found
    assert copy.check(NAMESPACE, ASKED, "x") == found.check(NAMESPACE, ASKED, "x")
    assert told == []
    assert pickle.loads(pickle.dumps(NO_SCHEMAS)) is NO_SCHEMAS
