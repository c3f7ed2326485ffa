"""What an outbox owes: what is looked for before it is published again, where, and what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.jetstream import JetStreamBus, PubAck, message_id
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent
from tests.builders.events import owed_event
from tests.unit.wire import Sent, Shelf, refusal, stored_message

AT = "2026-01-31T12:00:00.000000Z"
A_MINUTE_EARLIER = "2026-01-31T11:59:00.000000Z"
SUBJECT = names.event_subject("demo", "a.b")
GRAVE = names.dead_subject("demo", "it")
EVENT = Event("1", names.agent_source("demo", "it"), "a.b", {"n": 1}, datacontenttype="application/json")
LARGE = replace(EVENT, data={"n": "x" * 9000})
LETTER = OutboxMessage(7, 0, GRAVE, AT, letter=DeadLetterCause("BadEvent", "what was wrong"))


def original(request: dict[str, Any]) -> dict[str, Any]:
    """The stream's message at a place."""
    return stored_message(SUBJECT, b"their data", {"ce-id": "theirs"}, sequence=request["seq"], time=AT)


@pytest.fixture
def shelf() -> Shelf:
    """A broker whose streams are empty, and whose messages are no larger than 8 KiB."""
    shelf = Shelf()
    shelf.answers |= {"heed.": {"stream": "HEED", "seq": 9}, "heed-dead.": {"stream": "HEED_DEAD", "seq": 4}}
    shelf.answers["STREAM.MSG.GET.HEED"] = original
    shelf.takes(8192)
    return shelf


def stored(shelf: Shelf) -> list[Sent]:
    """What was published."""
    return [item for item in shelf.sent if item.subject.startswith("heed")]


def looked(shelf: Shelf) -> list[tuple[str, dict[str, Any]]]:
    """In which streams something was looked for, and with what consumer."""
    streams = [item.subject.rpartition(".")[2] for item in shelf.asked("CONSUMER.CREATE")]
    ours = ("filter_subjects", "deliver_policy", "opt_start_seq", "opt_start_time")
    return [
        (stream, {name: value for name, value in made.items() if name in ours})
        for stream, made in zip(streams, shelf.made, strict=True)
    ]


def from_cause() -> dict[str, Any]:
    """A look at the subject, behind the event that caused it."""
    return {"filter_subjects": [SUBJECT], "deliver_policy": "by_start_sequence", "opt_start_seq": 8}


def from_a_minute_earlier() -> dict[str, Any]:
    """A look at the Agent's letters, as the clocks of two streams may differ."""
    return {"filter_subjects": [GRAVE], "deliver_policy": "by_start_time", "opt_start_time": A_MINUTE_EARLIER}


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("look_first", [False, True])
async def test_an_event_that_is_not_there_is_published_under_its_own_id(
    shelf: Shelf, look_first: bool
) -> None:
    shelf.messages = [(8, SUBJECT, {"Nats-Msg-Id": "another"})]

    await JetStreamBus(shelf).publish_owed("id", owed_event(EVENT, SUBJECT, 7), look_first=look_first)

    [message] = stored(shelf)
    assert (message.subject, message.body) == (SUBJECT, {"n": 1})
    assert (message.headers or {})["Nats-Msg-Id"] == message_id(SUBJECT, EVENT)
    assert looked(shelf) == ([("HEED", from_cause())] if look_first else [])


async def test_an_event_that_is_there_is_not_published_again(shelf: Shelf) -> None:
    shelf.messages = [(8, SUBJECT, {"Nats-Msg-Id": message_id(SUBJECT, EVENT)})]

    await JetStreamBus(shelf).publish_owed("id", owed_event(EVENT, SUBJECT, 7), look_first=True)

    assert stored(shelf) == []


@pytest.mark.parametrize("text", ["{", None])
async def test_what_is_no_event_is_malformed(shelf: Shelf, text: str | None) -> None:
    with pytest.raises(MalformedEvent, match=r"^id in the outbox is not JSON"):
        await JetStreamBus(shelf).publish_owed(
            "id", replace(owed_event(EVENT, SUBJECT, 7), event=text), look_first=True
        )
    assert shelf.sent == []


async def test_a_broker_that_refuses_is_no_reason_for_a_letter(shelf: Shelf) -> None:
    shelf.answers["heed."] = refusal(10077, 503)

    with pytest.raises(BusUnavailable):
        await JetStreamBus(shelf).publish_owed("id", owed_event(EVENT, SUBJECT, 7), look_first=False)

    assert [item.subject for item in stored(shelf)] == [SUBJECT]


# ── letters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("look_first", [False, True])
async def test_a_letter_holds_the_message_that_the_decision_was_about(shelf: Shelf, look_first: bool) -> None:
    shelf.messages = [(3, GRAVE, {"Nats-Msg-Id": "another"})]

    await JetStreamBus(shelf).publish_owed("id", LETTER, look_first=look_first)

    [message] = stored(shelf)
    headers = message.headers or {}
    assert (message.subject, message.body) == (GRAVE, b"their data")
    assert (headers["Nats-Msg-Id"], headers["ce-id"], headers["Heed-Dead-Code"]) == (
        "id",
        "theirs",
        "BadEvent",
    )
    assert looked(shelf) == ([("HEED_DEAD", from_a_minute_earlier())] if look_first else [])


async def test_a_letter_that_is_there_is_not_stored_again(shelf: Shelf) -> None:
    shelf.messages = [(3, GRAVE, {"Nats-Msg-Id": "id"})]

    await JetStreamBus(shelf).publish_owed("id", LETTER, look_first=True)

    assert stored(shelf) == []


async def test_a_letter_about_what_the_stream_dropped_says_so(shelf: Shelf) -> None:
    shelf.answers["STREAM.MSG.GET.HEED"] = refusal(10037, 404)

    await JetStreamBus(shelf).publish_owed("id", LETTER, look_first=False)

    [message] = stored(shelf)
    assert message.body is None
    assert (message.headers or {})["Heed-Dead-Lost"] == "true"


async def test_a_letter_fits_with_its_id_to_the_last_byte(shelf: Shelf) -> None:
    """Of all sizes around the broker's limit, none is refused and none is cut for nothing."""
    sizes = []
    for size in range(7800, 8192):
        shelf.answers["STREAM.MSG.GET.HEED"] = stored_message(SUBJECT, b"x" * size, time=AT)
        await JetStreamBus(shelf).publish_owed("id", LETTER, look_first=False)
        message = stored(shelf)[-1]
        headers = sum(len(f"{name}: {value}\r\n") for name, value in (message.headers or {}).items())
        sizes.append(len("NATS/1.0\r\n\r\n") + headers + len(message.body or b""))

    assert len(stored(shelf)) == len(sizes)
    assert 8180 <= max(sizes) <= 8192


# ── what can never be published ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("look_first", [False, True])
async def test_an_event_that_is_too_large_is_a_letter_of_who_emitted_it(
    shelf: Shelf, look_first: bool
) -> None:
    await JetStreamBus(shelf).publish_owed("id", owed_event(LARGE, SUBJECT, 7), look_first=look_first)

    [message] = stored(shelf)
    headers = message.headers or {}
    assert message.subject == GRAVE
    assert headers["Nats-Msg-Id"] == names.digest("unpublishable", "id")
    assert (headers["Heed-Dead-Code"], headers["Heed-Dead-Sequence"]) == ("Unpublishable", "7")
    assert headers["Heed-Dead-Subject"] == SUBJECT
    letters = [("HEED_DEAD", from_a_minute_earlier())]
    assert looked(shelf) == ([("HEED", from_cause()), *letters] if look_first else [])


async def test_its_letter_holds_the_event_where_it_fits(shelf: Shelf) -> None:
    shelf.answers["heed."] = refusal(10054)  # larger than this stream takes

    await JetStreamBus(shelf).publish_owed("id", owed_event(EVENT, SUBJECT, 7), look_first=False)

    assert stored(shelf)[-1].subject == GRAVE
    assert stored(shelf)[-1].body == event_to_json(EVENT)


async def test_its_letter_is_stored_once(shelf: Shelf) -> None:
    shelf.messages = [(3, GRAVE, {"Nats-Msg-Id": names.digest("unpublishable", "id")})]

    await JetStreamBus(shelf).publish_owed("id", owed_event(LARGE, SUBJECT, 7), look_first=True)

    assert stored(shelf) == []


@pytest.mark.parametrize(
    ("source", "subject"),
    [("/shop", SUBJECT), (LARGE.source, names.event_subject("other", "a.b"))],
    ids=["of no Agent", "in another's namespace"],
)
async def test_nobody_gets_a_letter_about_what_is_not_theirs(shelf: Shelf, source: str, subject: str) -> None:
    with pytest.raises(MalformedEvent, match="more than the broker takes"):
        await JetStreamBus(shelf).publish_owed(
            "id", owed_event(replace(LARGE, source=source), subject, 7), look_first=False
        )
    assert stored(shelf) == []


# ── what the broker says of a message ───────────────────────────────────────────────────────────────────────────────


async def test_a_duplicate_stands_where_the_first_one_does(shelf: Shelf) -> None:
    shelf.answers["heed."] = {"stream": "HEED", "seq": 4, "duplicate": True}

    assert await JetStreamBus(shelf).send(SUBJECT, EVENT) == PubAck("HEED", 4, True)

    assert len(stored(shelf)) == 1
    assert shelf.asked("STREAM.MSG.GET") == [Sent("$JS.API.STREAM.MSG.GET.HEED", {"seq": 4})]


async def test_an_answer_that_is_none_is_no_confirmation(shelf: Shelf) -> None:
    shelf.answers["heed."] = lambda _: b"pong"

    with pytest.raises(BusUnavailable) as raised:
        await JetStreamBus(shelf).publish(SUBJECT, EVENT)
    assert str(raised.value) == f"no stream confirmed the message on {SUBJECT}"
