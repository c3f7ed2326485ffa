"""CloudEvents as messages in both content modes, for tests of the binding."""

import json
from typing import Any

import pytest

from heed import names
from heed.bus.codec.cloudevents import decode
from heed.core.codec.strict_json import Unreadable
from heed.core.events import Event, MalformedMessage

TYPE = "com.example.order.placed"
SUBJECT = names.event_subject("demo", TYPE)
HEADERS = {"ce-id": "1", "ce-source": "/shop", "ce-type": TYPE, "ce-specversion": "1.0"}
DOCUMENT = {"id": "1", "source": "/shop", "type": TYPE, "specversion": "1.0"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def binary(payload: bytes = b"", **headers: Any) -> Event | MalformedMessage:
    """Decode a message in binary mode with the required headers and these."""
    return decode({**HEADERS, **{f"ce-{name}": value for name, value in headers.items()}}, payload, SUBJECT)


def structured(headers: dict[str, str] | None = None, /, **members: Any) -> Event | MalformedMessage:
    """Decode a message in structured mode with the required members and these."""
    return decode(
        STRUCTURED if headers is None else headers, json.dumps({**DOCUMENT, **members}).encode(), SUBJECT
    )


def event_of(result: Event | MalformedMessage) -> Event:
    """The event, which has to be one."""
    assert isinstance(result, Event), result
    return result


def refusal_of(result: object) -> str:
    """The code of the refusal, which has to be one and has to say something."""
    assert isinstance(result, MalformedMessage), result
    assert len(result.message) > 20
    return result.code


def refused(function: Any, *arguments: Any) -> tuple[str, str]:
    """The code and the message of what is refused."""
    with pytest.raises(Unreadable) as raised:
        function(*arguments)
    return raised.value.code, str(raised.value)
