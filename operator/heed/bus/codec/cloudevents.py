"""The NATS protocol binding of CloudEvents (1.0.3-wip): events from messages, and messages from events.

Both content modes are read. Binary mode is written, and structured mode for what binary mode cannot say.

Written by hand because the SDK for Python has no such binding, and makes up ids where they are missing. The Go SDK's
binding, and the HTTP headers of other SDKs that people put on NATS messages, name the media type of the data in an
unprefixed `content-type`: that counts where `ce-datacontenttype` is absent.
"""

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from heed import names
from heed.core.codec.cloudevents_json import (
    OPTIONAL_ATTRIBUTES,
    SPECVERSION,
    build_event,
    choose_form,
    event_from_json,
    event_to_json,
    parse_event,
    read_data,
    write_data,
)
from heed.core.codec.strict_json import Unreadable, shorten_json
from heed.core.events import Event, Extension, MalformedMessage

__all__ = ["STRUCTURED_HEADERS", "decode", "encode", "encode_value", "event_from_json", "event_to_json"]

ATTRIBUTE_PREFIX: Final = "ce-"
_STRUCTURED: Final = "application/cloudevents"
STRUCTURED_HEADERS: Final = {"Content-Type": "application/cloudevents+json"}
_PLAIN = re.compile(r"[!#$&-~]*")
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_RAW = re.compile(r'[^"%\ufffd]*')  # stands for itself
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def decode(headers: Mapping[str, str] | None, payload: bytes, subject: str) -> Event | MalformedMessage:
    """The event in a message, or why it is malformed. Its type must agree with the subject. Never raises."""
    try:
        event = _read(headers or {}, payload)
    except Unreadable as error:
        return MalformedMessage(error.code, str(error))
    expected = names.type_of_subject(subject)
    if event.type == expected:
        return event
    # Who may publish what is a matter of subjects; a type that is not its subject's would walk around that.
    where = f"of type {expected}" if expected else "that carries no events"
    message = f"type {event.type} came on subject {subject} {where}; publish it on the subject of its type"
    return MalformedMessage("TypeMismatch", message)


def encode(event: Event) -> tuple[dict[str, str], bytes]:
    """Headers and payload, in binary mode, or structured where only that keeps the data. Raises MalformedEvent.

    In binary mode, except for text that would come back from it as bytes, or as no data at all.
    """
    if isinstance(event.data, str) and not _is_text_of_its_bytes(event.data, event.datacontenttype):
        return dict(STRUCTURED_HEADERS), _json(event_to_json(event))
    payload = write_data(event)
    attributes: dict[str, Extension] = {"specversion": SPECVERSION}
    attributes |= {"id": event.id, "source": event.source, "type": event.type}
    attributes |= {name: value for name in OPTIONAL_ATTRIBUTES if (value := getattr(event, name)) is not None}
    if payload and event.datacontenttype is None:
        # What the JSON format implies has to be written out in another one (JSON format, section 3.1.2).
        binary = isinstance(event.data, bytes)
        attributes["datacontenttype"] = "application/octet-stream" if binary else "application/json"
    attributes.update(sorted(event.extensions.items()))
    return {ATTRIBUTE_PREFIX + name: encode_value(value) for name, value in attributes.items()}, payload


def _is_text_of_its_bytes(text: str, datacontenttype: str | None) -> bool:
    """Whether text of a content type is read from its UTF-8 bytes as the same text."""
    form = choose_form(datacontenttype)
    return form == "json" or (text != "" and (form == "text" or (form == "document" and "\0" not in text)))


def _json(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise Unreadable(
            "BadData", "the event holds a lone surrogate, which is no Unicode text; drop it"
        ) from None


def encode_value(value: Extension) -> str:
    """A header's value: percent-encoded (binding, section 3.1.3.2). Raises MalformedEvent."""
    if not isinstance(value, str):
        return str(value).lower()
    if _PLAIN.fullmatch(value):
        return value
    try:
        return quote(value, safe=_SAFE)
    except UnicodeEncodeError:
        raise Unreadable("BadAttribute", "an attribute holds a lone surrogate; drop it") from None


def decode_value(name: str, value: str) -> str:
    """The value in a header: first out of its quotes, then one round of percent-decoding. Raises MalformedEvent."""
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            raise Unreadable(
                "BadEncoding",
                f"header {name} has unbalanced quotes; percent-encode its value",
                name.removeprefix(ATTRIBUTE_PREFIX),
            )
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    # The client puts U+FFFD where a header was not UTF-8; a real one arrives percent-encoded.
    if "\ufffd" not in value:
        if "%" not in value:
            return value
        try:
            return unquote_to_bytes(value).decode()
        except UnicodeError:
            pass
    raise Unreadable(
        "BadEncoding",
        f"header {name} is not UTF-8; percent-encode the UTF-8 bytes of its value",
        name.removeprefix(ATTRIBUTE_PREFIX),
    )


def _read(headers: Mapping[str, str], payload: bytes) -> Event:
    attributes: dict[str, str] = {}
    content_type = ""
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(ATTRIBUTE_PREFIX):
            attributes.setdefault(name[len(ATTRIBUTE_PREFIX) :], value)
        elif name == "content-type":
            content_type = content_type or value.strip()
    if content_type and content_type.lower().startswith(_STRUCTURED):
        _check_format(content_type.lower())
        message = "the payload is not JSON in UTF-8, which its Content-Type says; send one CloudEvent as JSON"
        return parse_event(payload, message)
    if not attributes:
        return _read_bare(payload, content_type)
    decoded = {
        name: value if _RAW.fullmatch(value) else decode_value(ATTRIBUTE_PREFIX + name, value)
        for name, value in attributes.items()
    }
    if content_type:
        return _read_typed(decoded, payload, content_type)
    return build_event(decoded, read_data(payload, decoded.get("datacontenttype")))


def _read_typed(attributes: dict[str, str], payload: bytes, content_type: str) -> Event:
    """The event of a message in binary mode with a Content-Type of its data."""
    if "\ufffd" in content_type:
        raise Unreadable("BadEncoding", "header Content-Type is not UTF-8; send the media type of the data")
    given = attributes.setdefault("datacontenttype", content_type)
    try:
        data = read_data(payload, given)
    except Unreadable as error:
        if error.code != "BadData":
            raise
        counts = "counts where ce-datacontenttype is absent"
        if given == content_type:
            raise Unreadable(error.code, f"{error} (it came as Content-Type, which {counts})") from None
        message = f"{error} (Content-Type {shorten_json(content_type)} {counts}, and here it is there)"
        raise Unreadable(error.code, message) from None
    return build_event(attributes, data)


def _check_format(content_type: str) -> None:
    if content_type.startswith(_STRUCTURED + "-batch"):
        raise Unreadable(
            "BatchUnsupported", "a batch is not one event; send each event in a message of its own"
        )
    media = content_type.partition(";")[0].strip()
    if media not in (_STRUCTURED, _STRUCTURED + "+json"):
        raise Unreadable("UnsupportedFormat", f"{media} is not supported; send application/cloudevents+json")


def _read_bare(payload: bytes, content_type: str) -> Event:
    """Older senders, and the Go SDK, know structured mode without any header."""
    message = "there are neither ce- headers nor a CloudEvent in JSON; send ce-id, ce-source, ce-type, ce-specversion"
    if content_type:
        message = (
            f"there are no ce- headers, and Content-Type {shorten_json(content_type)} is that of data; for an event "
            "in JSON send application/cloudevents+json, else ce-id, ce-source, ce-type, ce-specversion"
        )
    if content_type or b'"specversion"' not in payload:
        raise Unreadable("NotAnEvent", message)
    return parse_event(payload, message)
