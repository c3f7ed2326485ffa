"""The HTTP protocol binding of CloudEvents (1.0.2), in: the events of a request, in all three content modes.

As strict as the binding to NATS, with which it shares the rules for attributes and data: what is not said is never
made up, and what could not be kept is refused. Written by hand, since the SDK for Python makes up missing ids.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from heed.bus.codec.cloudevents import ATTRIBUTE_PREFIX, decode_value
from heed.core.codec.cloudevents_json import build_event, event_from_json, parse_event, read_data
from heed.core.codec.strict_json import MAX_JSON_DEPTH, Unreadable, parse_json, shorten_json
from heed.core.events import Event
from heed.gateway.refusals import RequestRefused

MAX_BATCH_EVENTS: Final = 1000
STRUCTURED: Final = "application/cloudevents"
BATCHED: Final = "application/cloudevents-batch"
CONTENT_TYPE: Final = "content-type"
KIND_ATTRIBUTE: Final = "datacontenttype"
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_UTF8: Final = ("utf-8", "utf8", "us-ascii")
_MAX_SHOWN_CHARS: Final = 100

Headers = Iterable[tuple[str, str]]  # also of one name several times


def read_events(headers: Headers, body: bytes) -> Sequence[Event]:
    """The events of a request: one, or those of a batch.

    Raises RequestRefused: 400, with the name of the attribute and the index in a batch; 413 and 415.
    """
    content_type, attributes = _split(headers)
    media = content_type.partition(";")[0].strip().lower()
    if not media.startswith(STRUCTURED):
        with _refusing():
            return [_read_binary(content_type, attributes, body)]
    _check_format(media, content_type)
    if media.startswith(BATCHED):
        return _read_batch(body)
    message = "the body is not JSON in UTF-8, which its Content-Type says; send one CloudEvent as JSON"
    with _refusing():
        return [parse_event(body, message)]


def _split(headers: Headers) -> tuple[str, dict[str, str]]:
    """The Content-Type, and the attributes as they are in the headers."""
    content_type: str | None = None
    attributes: dict[str, str] = {}
    for header, value in headers:
        name = header.lower()
        if name == CONTENT_TYPE:
            if content_type is not None:
                raise RequestRefused(400, "BadHeaders", "there are two headers Content-Type; send one")
            content_type = value.strip()
        elif name.startswith(ATTRIBUTE_PREFIX):
            attribute = name[len(ATTRIBUTE_PREFIX) :]
            if attribute in attributes:
                message = f"there are two headers {name}; send one"
                raise RequestRefused(400, "BadHeaders", message, members=_named(attribute))
            attributes[attribute] = value
    return content_type or "", attributes


def _check_format(media: str, content_type: str) -> None:
    """Raise RequestRefused for an event format that is not read."""
    if media not in (STRUCTURED, f"{STRUCTURED}+json", BATCHED, f"{BATCHED}+json"):
        message = f"{shorten_json(media)} is not read; send {STRUCTURED}+json, {BATCHED}+json or binary mode"
        raise RequestRefused(415, "UnsupportedFormat", message)
    charset = _CHARSET.search(content_type)
    if charset is not None and charset[1].lower() not in _UTF8:
        message = f"charset {shorten_json(charset[1])} is not read; CloudEvents in JSON are UTF-8"
        raise RequestRefused(415, "UnsupportedCharset", message)


def _read_binary(content_type: str, attributes: Mapping[str, str], body: bytes) -> Event:
    """The event of headers and body. Raises Unreadable."""
    if not attributes:
        message = (
            "there are no ce- headers, and the Content-Type is none of CloudEvents; send ce-id, ce-source, ce-type and "
            f"ce-specversion, or {STRUCTURED}+json"
        )
        raise Unreadable("NotAnEvent", message)
    decoded = {name: decode_value(ATTRIBUTE_PREFIX + name, value) for name, value in attributes.items()}
    if decoded.get(KIND_ATTRIBUTE, content_type) != content_type:
        message = "over HTTP the header Content-Type is the datacontenttype; drop ce-datacontenttype"
        raise Unreadable("BadAttribute", message, KIND_ATTRIBUTE)
    if content_type:
        decoded[KIND_ATTRIBUTE] = content_type
    # Attributes first: who sends a wrong one is not to be told of the data, which may be right.
    event = build_event(decoded, None)
    event.data = read_data(body, decoded.get(KIND_ATTRIBUTE))
    return event


def _read_batch(body: bytes) -> Sequence[Event]:
    """The events of a batch. Raises RequestRefused with the index of the first that cannot be read."""
    message = "the body is not JSON in UTF-8, which its Content-Type says; send an array of CloudEvents"
    with _refusing():
        documents = parse_json(body, "NotAnEvent", message, MAX_JSON_DEPTH + 2)
    if not isinstance(documents, list):
        raise RequestRefused(400, "NotABatch", "the JSON is no array; send an array of CloudEvents")
    if len(documents) > MAX_BATCH_EVENTS:
        message = f"the batch holds {len(documents)} events; send at most {MAX_BATCH_EVENTS} at a time"
        raise RequestRefused(413, "TooManyEvents", message, members={"maxEvents": MAX_BATCH_EVENTS})
    events = []
    for index, document in enumerate(documents):
        with _refusing(index):
            events.append(_read_item(document))
    return events


def _read_item(document: object) -> Event:
    if not isinstance(document, Mapping):
        raise Unreadable(
            "NotAnEvent", "an item of the batch is not an object; send CloudEvents as JSON objects"
        )
    return event_from_json(document)


@contextmanager
def _refusing(index: int | None = None) -> Iterator[None]:
    """Turn what cannot be read into a refusal; `index` is that of the event in a batch."""
    try:
        yield
    except Unreadable as error:
        place = {} if index is None else {"index": index}
        members = _named(error.attribute) | place
        raise RequestRefused(400, error.code, str(error), members=members) from None


def _named(attribute: str | None) -> dict[str, Any]:
    """The member of a problem document that names an attribute, which may be anything that a sender made up."""
    return {} if attribute is None else {"attribute": attribute[:_MAX_SHOWN_CHARS]}
