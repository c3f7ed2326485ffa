"""Events that an Agent emits: each field of them, what keeps one from leaving, and how much one decision may make."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.event_type import parse_event_type
from heed.api.status import OutboxMessage, PendingTask, Session, TaskCause
from heed.core.codec.canonical_json import dump_compact
from heed.core.compiler.program import Program
from heed.core.decision import outputs
from heed.core.decision.model import EmitRequest, HandlerResult, StartRequest
from heed.core.decision.outputs import MAX_EMITTED_BYTES, Outputs
from heed.core.decision.requests import MAX_DECISION_BYTES
from heed.core.decision.step import Step
from heed.core.effects import Publish
from heed.core.events import MAX_HOPS, Event
from heed.core.ledger.ledger import Ledger
from heed.core.schema.registry import compile_schemas
from tests.builders.agents import AGENT, NAMESPACE, UID, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, event, received
from tests.builders.manifests import document
from tests.builders.policies import allowed_by, policy, restricted
from tests.builders.values import json_refusal
from tests.unit.steps import handled, routed

AGENT_ = program({})
ORIGIN = names.origin(UID, None)


def step(agent: Program, cause: Event, reacted: HandlerResult) -> Step:
    """What handlers did on an event at place 5 of a stream, in a session of the flow `c1`."""
    ledger = Ledger(sessions={"s1": Session(at(0), at(0), "c1")})
    return handled(routed(agent, replace(received(5), event=cause), ledger), reacted)


def rendered(
    *wanted: dict[str, Any], cause: Event | None = None, agent: Program = AGENT_
) -> dict[str, OutboxMessage]:
    """The messages of events that the handler `h` wants emitted, on an event at place 5 of a stream."""
    reacted = HandlerResult({}, emits=[EmitRequest("h", item) for item in wanted])
    return outputs.render_events(step(agent, cause or event(), reacted))


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_is_emitted_says_where_it_comes_from() -> None:
    cause = event(1, correlationid="c5", heedhops=3, traceparent="00-1", tracestate="a=b", other="x")

    found = rendered(
        {"type": "x.y", "data": {"n": 1}, "subject": "s"}, {"type": "x.z", "to": "clerk"}, cause=cause
    )

    keys = [names.event_id(ORIGIN, 5, index) for index in (0, 1)]
    bodies = [json.loads(item.event or "") for item in found.values()]
    source = names.agent_source(NAMESPACE, AGENT)
    flow = {
        "correlationid": "c1",
        "causationid": "e5",
        "heedhops": 4,
        "traceparent": "00-1",
        "tracestate": "a=b",
    }
    common = {"specversion": "1.0", "source": source, "time": at(5), **flow}
    kind = {"datacontenttype": "application/json", "data": {"n": 1}}
    assert bodies == [
        {**common, "id": keys[0], "type": "x.y", "subject": "s", **kind},
        {**common, "id": keys[1], "type": "x.z"},
    ]
    assert [replace(item, event=None) for item in found.values()] == [
        OutboxMessage(5, 0, "heed.events.demo.x.y", at(5)),
        OutboxMessage(5, 1, "heed.inbox.demo.clerk.x.z", at(5)),
    ]
    assert list(found) == keys
    assert Outputs({}, {}, found).effects == tuple(Publish(key, item) for key, item in found.items())


@pytest.mark.parametrize(
    ("data", "kind"), [(0, "application/json"), (False, "application/json"), (None, None)]
)
def test_only_data_have_a_content_type(data: Any, kind: str | None) -> None:
    (owed,) = rendered({"type": "x.y", "data": data}).values()

    assert json.loads(owed.event or "").get("datacontenttype") == kind


def test_an_event_is_not_emitted_too_far_from_its_origin() -> None:
    (owed,) = rendered({"type": "x.y"}, cause=event(heedhops=MAX_HOPS - 1)).values()

    assert json.loads(owed.event or "")["heedhops"] == MAX_HOPS
    assert failure_of(rendered, {"type": "x.y"}, cause=event(heedhops=MAX_HOPS)) == (
        "HopLimit",
        "the event is 64 decisions from its origin; Agents may be in a loop",
        "h",
    )
    assert rendered(cause=event(heedhops=MAX_HOPS)) == {}


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        ({"data": 1}, "BadType", "null cannot be emitted; use dot-separated tokens, not dev.heed.*"),
        (
            {"type": "x y"},
            "BadType",
            '"x y" cannot be emitted; use dot-separated tokens, not dev.heed.*',
        ),
        (
            {"type": "dev.heed.task.x"},
            "BadType",
            '"dev.heed.task.x" cannot be emitted; use dot-separated tokens, not dev.heed.*',
        ),
        (
            {"type": "x", "subject": ""},
            "BadSubject",
            "the subject of an emitted event must be a non-empty string",
        ),
        (
            {"type": "x", "subject": 1},
            "BadSubject",
            "the subject of an emitted event must be a non-empty string",
        ),
        ({"type": "x", "to": ["a"]}, "BadReceiver", '`to` is ["a"], not the name of an Agent'),
        ({"type": "x", "to": "A"}, "BadReceiver", '`to` is "A", not the name of an Agent'),
        (
            {"type": "x", "data": 2**63},
            "BadEvent",
            "x cannot be emitted: number 9223372036854775808 does not fit 64 bits; send it as a string",
        ),
        (
            {"type": "x", "data": float("nan")},
            "BadEvent",
            f"x cannot be emitted: {json_refusal(float('nan'))}",
        ),
    ],
)
def test_what_cannot_be_an_event_is_not_emitted(wanted: dict[str, Any], code: str, message: str) -> None:
    assert failure_of(rendered, {"type": "x.fine"}, wanted) == (code, message, "h")


def test_a_policy_limits_what_is_emitted() -> None:
    agent = restricted(allowed_by(policy(emissions=[{"type": "x.*"}])), {})

    assert len(rendered({"type": "x.y"}, agent=agent)) == 1
    assert failure_of(rendered, {"type": "y.x"}, agent=agent) == (
        "PolicyViolation",
        "AgentPolicy demo/strict allows no emission of y.x; allowed: x.*",
        "h",
    )


def test_an_event_may_be_so_large_and_no_larger() -> None:
    (empty,) = rendered({"type": "x.y", "data": ""}).values()
    room = MAX_EMITTED_BYTES - len(empty.event or "")
    most = "é" * (room // 2) + "x" * (room % 2)

    assert len(rendered({"type": "x.y", "data": most})) == 1
    assert failure_of(rendered, {"type": "x.y", "data": most + "x"}) == (
        "EventTooLarge",
        "x.y would exceed 196608 bytes; send a reference (dataref) instead",
        "h",
    )


def test_more_events_than_fit_are_not_made_to_their_end() -> None:
    code, message, handler = failure_of(rendered, *[{"type": "x.y", "data": "x" * 100_000}] * 9)

    assert (code, handler) == ("DecisionTooLarge", None)
    assert message.startswith("0 tasks and 4 events of one decision would take 40")


def test_events_that_do_not_fit_a_type_that_only_warns_are_counted() -> None:
    values: list[Any] = [1, {}, "x"]
    spec = {"type": "x.y", "schema": {"type": "object"}, "mode": "Warn"}
    schemas, _ = compile_schemas([parse_event_type(document(names.EVENT_TYPE, spec))])
    reacted = HandlerResult(
        {}, emits=[EmitRequest("h", {"type": "x.y", "data": data}) for data in values], schema_warnings=2
    )

    outputs.render_events(step(replace(AGENT_, schemas=schemas), event(), reacted))

    assert reacted.schema_warnings == 4


# ── one decision ────────────────────────────────────────────────────────────────────────────────────────────────────


TASK = PendingTask("work", "s1", "job", at(0), TaskCause("e0", 0, "c0"), input="é", owed="ü" * 100)


def test_so_many_things_may_be_wanted_and_no_more() -> None:
    wish, wanted, most = StartRequest("h", "work", None), EmitRequest("h", {}), MAX_DECISION_BYTES // 512

    outputs.check_count(HandlerResult({}, starts=[wish] * (most - 1), emits=[wanted]))
    assert failure_of(
        outputs.check_count, HandlerResult({}, starts=[wish] * (most - 1), emits=[wanted] * 2)
    ) == (
        "DecisionTooLarge",
        f"{most - 1} tasks and 2 events are more than one decision can hold; let several events do it",
        None,
    )


def test_what_is_started_and_emitted_takes_so_much_room_and_no_more() -> None:
    small = {"t": TASK, "u": replace(TASK, owed=None, input=None)}
    room = MAX_DECISION_BYTES - 3 * 512 - 200 - len(dump_compact("é").encode()) - len("null")
    sent = OutboxMessage(5, 0, "s", at(5), event="é" * (room // 2) + "x" * (room % 2))

    outputs.check_size(small, {"m": sent})
    assert failure_of(outputs.check_size, small, {"m": replace(sent, event=f"{sent.event}x")}) == (
        "DecisionTooLarge",
        "2 tasks and 1 events of one decision would take 393217 bytes, more than 393216; "
        "pass references, or let several events do it",
        None,
    )
