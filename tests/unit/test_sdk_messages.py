"""Messages that the SDKs of CloudEvents really sent (tests/sdks): what was meant is what is read."""

import base64
import json
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.v1.event import CloudEvent

from heed.bus.codec.cloudevents import decode
from heed.core.events import Event, MalformedMessage
from tests.sdks.sending import EVENTS, HERE, SOURCE, TYPE, Message, subject
from tests.unit.messages import event_of

MESSAGES = [Message(**item) for item in json.loads((HERE / "messages.json").read_text())]
BY_ID = {item["id"]: item for item in EVENTS}
# Header values that are not percent-encoded, and yet look as if they were: nothing tells these senders apart.
RAW_HEADERS = (
    "go-nats_jetstream-binary",
    "javascript-binary",
    "python-1-binary",
)


def meant(item: dict[str, Any], *, binary: bool) -> dict[str, Any]:
    """What an event that was handed to an SDK has to come out as. Binary mode knows attributes as text only."""
    extensions = item.get("extensions", {})
    if binary:
        extensions = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in extensions.items()
        }
    data = base64.b64decode(item["bytes"]) if "bytes" in item else item.get("text")
    if item.get("datacontenttype") == "application/json":
        data = json.loads(item["text"])
    return {
        "id": item["id"],
        "source": SOURCE,
        "type": TYPE,
        "subject": item.get("subject"),
        "data": data,
        "extensions": extensions,
    }


def read(message: Message) -> Event:
    """The event in a message that an SDK sent."""
    return event_of(decode(message.headers, message.body, subject()))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda item: f"{item.sender}-{item.event}")
def test_what_an_sdk_sent_is_read_as_it_was_meant(message: Message) -> None:
    item, event = BY_ID[message.event], read(message)
    expected = meant(item, binary=message.sender.endswith("-binary"))
    if message.event == "escapes" and message.sender in RAW_HEADERS:
        expected["subject"] = "a b"
    if message.event in ("text", "xml") and message.sender == "python-1-binary":
        expected["data"] = json.dumps(expected["data"])  # it writes all data as JSON
    if "urgent" in expected["extensions"] and message.sender.startswith("python"):
        expected["extensions"]["urgent"] = "True" if message.sender.endswith("-binary") else True
    assert {name: getattr(event, name) for name in expected} == expected
    if "datacontenttype" in item:
        assert event.datacontenttype == item["datacontenttype"]
    if "time" in item:
        assert event.time is not None
        assert datetime.fromisoformat(event.time) == datetime.fromisoformat(item["time"])


@pytest.mark.parametrize(("text", "wanted"), [("12345", 12345), ('{"a": 1}', {"a": 1}), ("hello", "BadData")])
def test_a_bare_text_that_python_2_sends_as_json_is_not_that_text(text: str, wanted: Any) -> None:
    attributes = {"id": "1", "source": SOURCE, "type": TYPE, "specversion": "1.0"}
    sent = to_binary_event(CloudEvent({**attributes, "datacontenttype": "application/json"}, text))

    found = decode(sent.headers, sent.body, subject())

    assert (found.code if isinstance(found, MalformedMessage) else found.data) == wanted


def test_every_sender_is_there_with_every_event() -> None:
    from tests.sdks.sending import SENDERS

    assert {(item.sender, item.event) for item in MESSAGES} == {
        (str(sender), item["id"]) for sender in SENDERS for item in EVENTS
    }
