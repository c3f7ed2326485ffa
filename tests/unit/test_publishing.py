"""What the bus publishes and under which id, and what it says of what was not stored."""

from __future__ import annotations

from typing import Any

import nats.errors
import pytest

from heed import names
from heed.bus.client.connection import ApiRefused, NotPermitted
from heed.bus.jetstream import JetStreamBus, PubAck, message_id
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent
from tests.unit.wire import Sent, Wire, refusal

SUBJECT = "heed.events.demo.a.b"
EVENT = Event("1", "/s", "a.b", {"n": 1}, datacontenttype="application/json")
HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/s",
    "ce-type": "a.b",
    "ce-datacontenttype": "application/json",
}


def storing(answer: Any = None) -> Wire:
    """A broker that answers so to what is published."""
    return Wire({"heed": {"stream": "HEED", "seq": 7} if answer is None else answer})


async def test_an_event_is_published_under_an_id_of_its_subject_source_and_id() -> None:
    wire = storing()

    assert await JetStreamBus(wire).publish(SUBJECT, EVENT) == 7

    id_ = names.digest(SUBJECT, "/s", "1")
    assert message_id(SUBJECT, EVENT) == id_
    assert wire.sent == [Sent(SUBJECT, {"n": 1}, {**HEADERS, "Nats-Msg-Id": id_})]


async def test_duplicates_are_stored_where_they_are_wanted() -> None:
    wire = storing()

    assert await JetStreamBus(wire).publish(SUBJECT, EVENT, deduplicate=False) == 7
    await JetStreamBus(wire).send(SUBJECT, EVENT, deduplicate=False)

    assert wire.sent == [Sent(SUBJECT, {"n": 1}, HEADERS)] * 2


@pytest.mark.parametrize("subject", [SUBJECT, "heed.events.demo.other"])
async def test_a_duplicate_is_the_message_that_is_there_if_it_is_on_that_subject(subject: str) -> None:
    answers = [{"stream": "HEED", "seq": 5, "duplicate": True}, {"stream": "HEED", "seq": 9}]
    wire = storing(lambda _: answers.pop(0))
    wire.answers["STREAM.MSG.GET"] = {"message": {"subject": subject}}

    found = await JetStreamBus(wire).send(SUBJECT, EVENT)

    assert wire.sent[1] == Sent("$JS.API.STREAM.MSG.GET.HEED", {"seq": 5})
    if subject == SUBJECT:
        assert (found, wire.sent[2:]) == (PubAck("HEED", 5, duplicate=True), [])
    else:
        assert (found, wire.sent[2:]) == (
            PubAck("HEED", 9, duplicate=False),
            [Sent(SUBJECT, {"n": 1}, HEADERS)],
        )


async def test_who_may_not_see_what_is_there_believes_that_it_is_a_duplicate() -> None:
    wire = storing({"stream": "HEED", "seq": 5, "duplicate": True})
    wire.answers["STREAM.MSG.GET"] = NotPermitted("no")

    assert await JetStreamBus(wire).send(SUBJECT, EVENT) == PubAck("HEED", 5, duplicate=True)


@pytest.mark.parametrize(
    ("answer", "error", "words", "refused"),
    [
        (refusal(10077, 503, "limit"), ApiRefused, f"the broker refused {SUBJECT}: limit", 2),
        (
            refusal(10054, 400, "message size exceeds maximum allowed"),
            MalformedEvent,
            f"the broker refused {SUBJECT}: message size exceeds maximum allowed; send a reference to the data instead",
            0,
        ),
        (
            refusal(10097, 400, "headers"),
            MalformedEvent,
            f"the broker refused {SUBJECT}: headers; send a reference to the data instead",
            0,
        ),
        (lambda _: b"+OK", BusUnavailable, f"no stream confirmed the message on {SUBJECT}", 0),
        (
            nats.errors.BadSubjectError(),
            MalformedEvent,
            f"cannot be published on '{SUBJECT}': nats://broker:4222 could not be asked for {SUBJECT}: "
            "BadSubjectError()",
            0,
        ),
        (
            nats.errors.ConnectionClosedError(),
            BusUnavailable,
            f"nats://broker:4222 could not be asked for {SUBJECT}: ConnectionClosedError()",
            0,
        ),
    ],
)
async def test_what_was_not_stored_is_malformed_or_may_be_tried_again(
    answer: Any, error: type[Exception], words: str, refused: int
) -> None:
    wire = storing(answer)

    for _ in range(2):
        with pytest.raises(error) as raised:
            await JetStreamBus(wire).publish(SUBJECT, EVENT)
        assert type(raised.value) is error
        assert str(raised.value) == words

    assert wire.errors["refused"] == refused


@pytest.mark.parametrize(
    ("headers", "takes", "payload", "is_taken"),
    [
        ({}, 1000, 986, True),
        ({}, 1000, 987, False),
        ({"x": "ü"}, 1000, 979, True),
        ({"x": "ü"}, 1000, 980, False),
        ({"x": "x" * 65_516}, 100_000, 34_465, True),
        ({"x": "x" * 65_516}, 100_000, 34_466, False),
        ({"x": "x" * 65_517}, 100_000, 0, False),
    ],
)
async def test_no_more_is_sent_than_the_broker_takes(
    headers: dict[str, str], takes: int, payload: int, is_taken: bool
) -> None:
    wire = storing()
    wire.takes(takes)
    storing_it = JetStreamBus(wire).store(SUBJECT, headers, b"x" * payload)

    if is_taken:
        assert await storing_it == PubAck("HEED", 7, duplicate=False)
    else:
        with pytest.raises(MalformedEvent) as raised:
            await storing_it
        size = 14 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
        assert str(raised.value) == (
            f"{size} bytes of attributes and {payload} bytes of data are more than the broker takes "
            f"(65535 and {takes} in all); send a reference to the data instead"
        )
    assert len(wire.sent) == is_taken
