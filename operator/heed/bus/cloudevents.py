"""The NATS protocol binding of CloudEvents (1.0.3-wip): both content modes in, binary mode out.

Written by hand because no SDK has this binding, and the SDK for Python makes up ids where they are missing.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from heed import names
from heed.core.cloudevents import (
    OPTIONAL,
    SPECVERSION,
    build,
    from_json,
    parse_event,
    read_data,
    to_json,
    write_data,
)
from heed.core.events import Event, Extension, Malformed
from heed.core.strictjson import Unreadable

__all__ = ["decode", "encode", "encode_value", "from_json", "to_json"]

PREFIX: Final = "ce-"
_STRUCTURED: Final = "application/cloudevents"
_PLAIN = re.compile(r"[!#$&-~]*")
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_RAW = re.compile(r'[^"%\ufffd]*')  # stands for itself
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def decode(headers: Mapping[str, str] | None, payload: bytes, subject: str) -> Event | Malformed:
    """The event in a message, or why there is none. Its type has to be what the subject says. Never raises."""
    try:
        event = _read(headers or {}, payload)
    except Unreadable as error:
        return Malformed(error.code, str(error))
    expected = names.type_of_subject(subject)
    if event.type == expected:
        return event
    # Who may publish what is a matter of subjects; a type that is not its subject's would walk around that.
    where = f"of type {expected}" if expected else "that carries no events"
    message = f"type {event.type} came on subject {subject} {where}; publish it on the subject of its type"
    return Malformed("TypeMismatch", message)


def encode(event: Event) -> tuple[dict[str, str], bytes]:
    """Headers and payload of a message in binary mode. Raises MalformedEvent where the event cannot be written."""
    payload = write_data(event)
    attributes: dict[str, Extension] = {"specversion": SPECVERSION}
    attributes |= {"id": event.id, "source": event.source, "type": event.type}
    attributes |= {name: value for name in OPTIONAL if (value := getattr(event, name)) is not None}
    if payload and event.datacontenttype is None:
        # What the JSON format implies has to be said in another one (JSON format, section 3.1.2).
        binary = isinstance(event.data, bytes)
        attributes["datacontenttype"] = "application/octet-stream" if binary else "application/json"
    attributes.update(sorted(event.extensions.items()))
    return {PREFIX + name: encode_value(value) for name, value in attributes.items()}, payload


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
            raise Unreadable("BadEncoding", f"header {name} has unbalanced quotes; percent-encode its value")
        value = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    # The client puts U+FFFD where a header was not UTF-8; a real one arrives percent-encoded.
    if "\ufffd" not in value:
        if "%" not in value:
            return value
        try:
            return unquote_to_bytes(value).decode()
        except UnicodeError:
            pass
    raise Unreadable(
        "BadEncoding", f"header {name} is not UTF-8; percent-encode the UTF-8 bytes of its value"
    )


def _read(headers: Mapping[str, str], payload: bytes) -> Event:
    attributes: dict[str, str] = {}
    content_type = ""
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(PREFIX):
            attributes.setdefault(name[len(PREFIX) :], value)
        elif name == "content-type":
            content_type = content_type or value.strip().lower()
    if content_type.startswith(_STRUCTURED):
        _check_format(content_type)
        message = "the payload is not JSON in UTF-8, which its Content-Type says; send one CloudEvent as JSON"
        return parse_event(payload, message)
    if not attributes and not content_type:
        return _read_bare(payload)
    decoded = {
        name: value if _RAW.fullmatch(value) else decode_value(PREFIX + name, value)
        for name, value in attributes.items()
    }
    return build(decoded, read_data(payload, decoded.get("datacontenttype")))


def _check_format(content_type: str) -> None:
    if content_type.startswith(_STRUCTURED + "-batch"):
        raise Unreadable(
            "BatchUnsupported", "a batch is not one event; send each event in a message of its own"
        )
    media = content_type.partition(";")[0].strip()
    if media not in (_STRUCTURED, _STRUCTURED + "+json"):
        raise Unreadable("UnsupportedFormat", f"{media} is not supported; send application/cloudevents+json")


def _read_bare(payload: bytes) -> Event:
    """Older senders know structured mode only, and say so with no header at all."""
    message = "there are neither ce- headers nor a CloudEvent in JSON; send ce-id, ce-source, ce-type, ce-specversion"
    if b'"specversion"' not in payload:
        raise Unreadable("NotAnEvent", message)
    return parse_event(payload, message)
