"""AsyncAPI of Agents in Python, against the schema that the AsyncAPI initiative publishes."""

import json
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from heed.sdk import Agent, AnyEvent, Event, Reaction, SessionExpired, Tick, emit
from heed.sdk.asyncapi import build_asyncapi
from heed.sdk.loading import load_agents
from tests.markdown import ROOT
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import asyncapi_schema


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft7Validator:
    """Of AsyncAPI 3.0 documents."""
    with skipping_unavailable():
        schema = json.loads(asyncapi_schema().read_text())
    return jsonschema_rs.Draft7Validator(schema)


class Item(BaseModel):
    """A thing."""

    sku: str


class Placed(Event, type="com.example.order.placed"):
    """An order.

    It was placed by a customer.
    """

    items: list[Item]


class Packed(Event, type="com.example.order.packed"):  # noqa: D101 (without a description)
    item: Item | None = None


def packer() -> Agent:
    """An Agent that heeds and emits."""
    made = Agent("packer", namespace="shop")
    made.subscribe("com.example.*.news.>", namespace="press")

    @made.on(Placed)
    def begin(event: Placed) -> Reaction:
        return emit(Packed())

    @made.on("com.example.stock.>")
    def look(event: AnyEvent) -> Reaction: ...

    @made.every("1h")
    def check(tick: Tick) -> Reaction: ...

    @made.on(SessionExpired)
    def forget(event: SessionExpired) -> Reaction: ...

    return made


def test_channels_are_the_subjects_of_what_is_heeded_and_emitted() -> None:
    document = build_asyncapi([packer()])

    assert {key: item["address"] for key, item in document["channels"].items()} == {
        "press.com.example.any.news.rest": "heed.events.press.com.example.{token3}.news.{rest}",
        "shop.com.example.order.placed": "heed.events.shop.com.example.order.placed",
        "shop.com.example.stock.rest": "heed.events.shop.com.example.stock.{rest}",
        "shop.com.example.order.packed": "heed.events.shop.com.example.order.packed",
    }
    assert list(document["channels"]["press.com.example.any.news.rest"]["parameters"]) == ["token3", "rest"]
    assert {key: item["action"] for key, item in document["operations"].items()} == {
        "packer.receive.press.com.example.any.news.rest": "receive",
        "packer.receive.shop.com.example.order.placed": "receive",
        "packer.receive.shop.com.example.stock.rest": "receive",
        "packer.send.shop.com.example.order.packed": "send",
    }


def test_messages_have_the_schemas_of_the_data() -> None:
    components = build_asyncapi([packer()])["components"]

    placed = components["messages"]["com.example.order.placed"]
    assert placed["summary"] == "An order."
    assert placed["headers"]["properties"]["ce-type"] == {
        "type": "string",
        "const": "com.example.order.placed",
    }
    assert placed["payload"] == {"$ref": "#/components/schemas/Placed"}
    assert components["schemas"]["Placed"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/Item"
    }
    assert "summary" not in components["messages"]["com.example.order.packed"]
    pattern = components["messages"]["com.example.stock.rest"]
    assert "payload" not in pattern
    assert pattern["headers"]["properties"]["ce-type"] == {"type": "string"}


def references(value: Any) -> list[str]:
    """All references in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [item for inner in value.values() for item in references(inner)]
    return [item for inner in value for item in references(inner)] if isinstance(value, list) else []


def resolve(document: Any, reference: str) -> Any:
    """What a reference within the document names."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def documents() -> dict[str, dict[str, Any]]:
    """Documents of examples, of a module with two Agents, and of an Agent without events."""
    examples = {
        name: build_asyncapi(load_agents(str(ROOT / "examples" / name / "agent.py")))
        for name in ("research", "orders", "join")
    }
    silent = Agent("silent")
    other = Agent("other", namespace="shop")

    @other.on(Packed)
    def begin(event: Packed) -> Reaction: ...

    return {
        **examples,
        "own": build_asyncapi([packer()]),
        "two": build_asyncapi([packer(), other]),
        "silent": build_asyncapi([silent]),
    }


@pytest.mark.parametrize("name", ["research", "orders", "join", "own", "two", "silent"])
def test_documents_are_valid_asyncapi(name: str, validator: jsonschema_rs.Draft7Validator) -> None:
    document = documents()[name]

    assert [str(error) for error in validator.iter_errors(document)] == []
    for reference in references(document):
        assert resolve(document, reference)


def test_the_schema_would_notice(validator: jsonschema_rs.Draft7Validator) -> None:
    document = build_asyncapi([packer()])
    document["operations"]["packer.send.shop.com.example.order.packed"]["action"] = "emit"

    assert not validator.is_valid(document)


def test_agents_that_meet_share_a_channel() -> None:
    document = documents()["two"]

    assert "shop.com.example.order.packed" in document["channels"]
    assert {
        "packer.send.shop.com.example.order.packed",
        "other.receive.shop.com.example.order.packed",
    } <= set(document["operations"])
    assert document["info"]["title"] == "packer, other"
