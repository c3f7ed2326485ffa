"""Events as typed values."""

from typing import Any

import pytest

from heed.sdk import AnyEvent, DeclarationError, Event, HoldExpired, SessionExpired, Tick
from heed.sdk.errors import CodeError


class Asked(Event, type="com.example.question.asked"):
    """A question."""

    topic: str
    depth: int | None = None


def cloud_event(data: Any = None, **attributes: Any) -> dict[str, Any]:
    """An event in the JSON format of CloudEvents."""
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t.t", "data": data, **attributes}


def test_the_data_are_the_fields_and_the_attributes_are_beside_them() -> None:
    event = cloud_event(
        {"topic": "tides"},
        correlationid="q",
        causationid="0",
        subject="s",
        time="2026-01-01T00:00:00Z",
        heedhops=3,
    )

    asked = Asked.parse(event)

    assert asked == Asked(topic="tides")
    assert asked.meta.model_dump() == {
        "id": "1",
        "source": "/s",
        "type": "t.t",
        "subject": "s",
        "time": "2026-01-01T00:00:00Z",
        "correlationid": "q",
        "causationid": "0",
        "traceparent": None,
        "tracestate": None,
        "extensions": {"heedhops": 3},
    }


def test_a_trace_is_an_attribute_and_no_extension() -> None:
    meta = Asked.parse(
        cloud_event({"topic": "x"}, traceparent="00-1", tracestate="a=b", datacontenttype="x/y")
    ).meta

    assert (meta.traceparent, meta.tracestate, meta.extensions) == ("00-1", "a=b", {})


def test_an_event_that_is_made_has_no_attributes_until_a_test_gives_it_some() -> None:
    asked = Asked(topic="tides")

    given = asked.with_meta(id="7", correlationid="q")

    assert (asked.meta.id, asked.meta.correlationid) == ("", "")
    assert (given.meta.id, given.meta.correlationid, given.topic) == ("7", "q", "tides")


def test_events_are_equal_where_their_data_are() -> None:
    class Other(Asked):
        """The same fields."""

    one = Asked.parse(cloud_event({"topic": "x"}))

    assert one == Asked(topic="x")
    assert hash(one) == hash(Asked(topic="x"))
    assert one != Asked(topic="y")
    assert one != Other(topic="x")
    assert one != {"topic": "x"}


def test_other_members_of_the_data_are_passed_over() -> None:
    assert Asked.parse(cloud_event({"topic": "tides", "new": 1})).dump() == {"topic": "tides"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "t.t is no Asked: topic: field required"),
        (None, "t.t is no Asked: topic: field required"),
        ({"topic": 3}, "t.t is no Asked: topic: input should be a valid string"),
        ({"topic": 3, "depth": "x"}, "(and 1 more)"),
        ("text", "t.t is no Asked: input should be a valid dictionary"),
        ([1], "t.t is no Asked: input should be a valid dictionary"),
    ],
)
def test_data_that_do_not_fit_are_bad_data(data: Any, message: str) -> None:
    with pytest.raises(CodeError) as caught:
        Asked.parse(cloud_event(data))

    assert caught.value.code == "BadData"
    assert message in caught.value.message


def test_none_is_left_out_of_what_is_emitted() -> None:
    assert Asked(topic="x").dump() == {"topic": "x"}
    assert Asked(topic="x", depth=0).dump() == {"topic": "x", "depth": 0}


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Asked(topic="x").topic = "y"  # type: ignore[misc]


@pytest.mark.parametrize("type_", ["", "com..x", "com.example.", "com.>.x", "a b"])
def test_a_type_is_dot_separated_tokens(type_: str) -> None:
    with pytest.raises(DeclarationError, match="is not an event type; use dot-separated tokens"):
        type("Wrong", (Event,), {"__module__": __name__}, type=type_)


def test_a_subclass_without_a_type_has_that_of_its_base() -> None:
    class Deeper(Asked):
        depth: int | None = 3

    assert Deeper.event_type == "com.example.question.asked"


@pytest.mark.parametrize("data", [{"a": 1}, [1], "text", 3, None])
def test_any_event_has_its_data_as_they_are(data: Any) -> None:
    found = AnyEvent.parse(cloud_event(data))

    assert (found.data, found.meta.type) == (data, "t.t")


def test_what_heed_says_has_names_as_python_writes_them() -> None:
    tick = Tick.parse(cloud_event({"timer": "nightly", "scheduledAt": "2026-01-01T03:00:00Z", "missed": 2}))
    expired = SessionExpired.parse(
        cloud_event({"key": "k", "reason": "Idle", "startedAt": "a", "lastEventAt": "b", "state": {"n": 1}})
    )
    held = HoldExpired.parse(
        cloud_event({"event": {"id": "1"}, "handler": "h", "heldSince": "a", "heldUntil": "b"})
    )

    assert tick == Tick(timer="nightly", scheduled_at="2026-01-01T03:00:00Z", previous_at=None, missed=2)
    assert (expired.key, expired.started_at, expired.last_event_at, expired.state) == (
        "k",
        "a",
        "b",
        {"n": 1},
    )
    assert (held.event, held.held_since, held.held_until) == ({"id": "1"}, "a", "b")
