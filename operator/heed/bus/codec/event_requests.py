"""The HTTP protocol binding of CloudEvents (1.0.2), out: an event as the headers and the body of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heed.bus.codec.cloudevents import ATTRIBUTE_PREFIX, STRUCTURED_HEADERS, encode
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event

CONTENT_TYPE: Final = "Content-Type"
_KIND: Final = f"{ATTRIBUTE_PREFIX}datacontenttype"


@dataclass(frozen=True, slots=True)
class EventRequest:
    """An event as it is sent."""

    headers: Mapping[str, str]
    body: bytes


def write_request(event: Event, mode: str) -> EventRequest:
    """An event as a request, in `Binary` or `Structured` mode; structured where only that keeps its data.

    Raises MalformedEvent.
    """
    if mode == "Structured":
        return _structured(event)
    headers, payload = encode(event)
    if CONTENT_TYPE in headers:
        return EventRequest(headers, payload)
    headers.pop(_KIND, None)
    if payload or event.datacontenttype is not None:
        kind = event.datacontenttype or (
            "application/octet-stream" if isinstance(event.data, bytes) else "application/json"
        )
        if not (kind.isascii() and kind.isprintable()):  # no header that HTTP knows
            return _structured(event)
        headers[CONTENT_TYPE] = kind
    return EventRequest(headers, payload)


def _structured(event: Event) -> EventRequest:
    return EventRequest(STRUCTURED_HEADERS, dump_compact(event_to_json(event)).encode())
