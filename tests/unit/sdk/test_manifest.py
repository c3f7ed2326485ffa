"""The manifest that an Agent in Python is: compiled by the operator's own compiler."""

from typing import Any

from pydantic import BaseModel

from heed.api.event_type import parse_event_type
from heed.core.compiler.admission import check_event_type
from heed.core.schema.registry import compile_type
from heed.sdk import (
    Agent,
    AnyEvent,
    Completed,
    Event,
    HoldExpired,
    Reaction,
    SessionExpired,
    State,
    Tick,
    emit,
)
from heed.sdk.in_process import compile_code
from heed.sdk.manifest import build_agent, build_event_types, code_digest


class Item(BaseModel):
    """A thing."""

    sku: str
    title: str | None = None


class Placed(Event, type="com.example.order.placed"):
    """An order.

    It was placed by a customer.
    """

    items: list[Item]


class Packed(Event, type="com.example.order.packed"):  # noqa: D101 (without a description)
    item: Item | None = None


class Unlike(Event, type="com.example.order.placed"):
    """Another view of the same type."""

    other: str = ""


class Wide(Event, type="com.example.stock.*"):
    """Events of several types."""


class Order(State):
    """An order."""

    count: int = 0


def full_agent() -> Agent:
    """An Agent with all kinds of handlers."""
    agent = Agent(
        "packer", state=Order, namespace="shop", key="event.subject", idle_timeout="1h", on_expire="Emit"
    )

    @agent.task(timeout="5m")
    def pack(sku: str) -> str:
        return sku

    @agent.on(Placed, when="event.data.items.size() > 0")
    def begin_it(event: Placed, state: Order) -> Reaction:
        return state, [pack.start(sku="x")] if not state.pending(pack) else []

    @agent.on(pack.completed, when="task.attempt == 1")
    def packed(done: Completed[str]) -> Reaction:
        return emit(Packed())

    @agent.on
    def wide(event: Wide) -> Reaction: ...

    @agent.on("com.example.>")
    def everything(event: AnyEvent) -> Reaction: ...

    @agent.on
    def held(event: HoldExpired) -> Reaction: ...

    @agent.on
    def gone(event: SessionExpired) -> Reaction: ...

    @agent.every("1h")
    def check(tick: Tick) -> Reaction: ...

    return agent


def test_the_whole_manifest() -> None:
    agent = full_agent()

    assert build_agent(agent) == {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "packer", "namespace": "shop"},
        "spec": {
            "subscribe": [
                {"type": "com.example.order.placed"},
                {"type": "com.example.stock.*"},
                {"type": "com.example.>"},
            ],
            "session": {"key": "event.subject", "idleTimeout": "1h", "onExpire": "Emit"},
            "tasks": {"pack": {"timeout": "5m", "function": {"name": "pack"}}},
            "timers": {"check": {"every": "1h"}},
            "worker": {"digest": code_digest(agent)},
            "handlers": [
                {
                    "name": "begin-it",
                    "type": "com.example.order.placed",
                    "when": "event.data.items.size() > 0",
                    "call": {"function": "begin_it", "starts": ["pack"], "pending": True},
                },
                {
                    "name": "packed",
                    "type": "dev.heed.task.completed",
                    "when": "(task.name == 'pack') && (task.attempt == 1)",
                    "call": {"function": "packed", "emits": ["com.example.order.packed"]},
                },
                {"name": "wide", "type": "com.example.stock.*", "call": {"function": "wide"}},
                {"name": "everything", "type": "com.example.>", "call": {"function": "everything"}},
                {"name": "held", "type": "dev.heed.hold.expired", "call": {"function": "held"}},
                {"name": "gone", "type": "dev.heed.session.expired", "call": {"function": "gone"}},
                {
                    "name": "check",
                    "type": "dev.heed.timer.fired",
                    "when": "event.data.timer == 'check'",
                    "call": {"function": "check"},
                },
            ],
        },
    }


def test_the_operator_compiles_it() -> None:
    program = compile_code(full_agent())

    assert (str(program.agent), list(program.tasks), list(program.timers)) == (
        "shop/packer",
        ["pack"],
        ["check"],
    )
    codes = [item.code for item in program.reactions if item.code is not None]
    assert [code.function for code in codes][:2] == ["begin_it", "packed"]
    assert codes[0].reads_pending


def subscriptions(agent: Agent) -> Any:
    """What an Agent's manifest subscribes to."""
    return build_agent(agent)["spec"].get("subscribe")


def test_subscriptions_that_are_written_come_first_and_cover_those_of_handlers() -> None:
    agent = Agent("a")
    agent.subscribe("com.example.order.*", where="event.subject != ''")
    agent.subscribe(Wide, namespace="stock")

    @agent.on(Placed)
    def one(event: Placed) -> Reaction: ...

    @agent.on("com.other.>")
    def two(event: AnyEvent) -> Reaction: ...

    assert subscriptions(agent) == [
        {"type": "com.example.order.*", "where": "event.subject != ''"},
        {"type": "com.example.stock.*", "namespace": "stock"},
        {"type": "com.other.>"},
    ]


def test_event_types_are_what_is_heeded_then_what_is_emitted() -> None:
    placed, packed = build_event_types(full_agent())

    assert placed == {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "EventType",
        "metadata": {"name": "com-example-order-placed", "namespace": "shop"},
        "spec": {
            "type": "com.example.order.placed",
            "description": "An order.",
            "schema": {
                "type": "object",
                "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/Item"}}},
                "required": ["items"],
                "$defs": {
                    "Item": {
                        "type": "object",
                        "description": "A thing.",
                        "properties": {
                            "sku": {"type": "string"},
                            "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                        },
                        "required": ["sku"],
                    }
                },
            },
        },
    }
    assert packed["spec"]["type"] == "com.example.order.packed"
    assert "description" not in packed["spec"]


def test_the_operator_takes_the_event_types() -> None:
    for document in build_event_types(full_agent()):
        assert list(check_event_type(compile_type(parse_event_type(document)))) == []


def test_of_two_views_of_a_type_the_first_counts() -> None:
    agent = Agent("a")

    @agent.on
    def one(event: Placed) -> Reaction: ...

    @agent.on
    def two(event: Unlike) -> Reaction: ...

    (found,) = build_event_types(agent)
    assert list(found["spec"]["schema"]["properties"]) == ["items"]


def test_an_agent_of_timers_alone_subscribes_to_nothing() -> None:
    agent = Agent("a")

    @agent.every("0 3 * * *")
    def nightly(tick: Tick) -> Reaction: ...

    assert subscriptions(agent) is None
    assert compile_code(agent).timers.keys() == {"nightly"}
