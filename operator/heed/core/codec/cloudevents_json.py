"""The JSON format of CloudEvents 1.0.2, strict: what is not said is never made up, what cannot be kept is refused.

It is in the core because the ledger's outbox holds events in this form. The binding to NATS messages, which shares
the rules for attributes and data, is in `heed.bus.codec.cloudevents`.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn

from heed import names
from heed.core.codec.strict_json import (
    MAX_JSON_DEPTH,
    Unreadable,
    check_value,
    measure_depth,
    parse_json,
    shorten_json,
)
from heed.core.events import Event, Extension, Json

SPECVERSION: Final = "1.0"
REQUIRED_ATTRIBUTES: Final = ("id", "source", "type", "specversion")
OPTIONAL_ATTRIBUTES: Final = ("subject", "time", "datacontenttype", "dataschema")
MAX_ATTRIBUTE_CHARS: Final = 1024
INT32_RANGE: Final = (-(2**31), 2**31 - 1)

_CORE: Final = frozenset((*REQUIRED_ATTRIBUTES, *OPTIONAL_ATTRIBUTES))
_KNOWN: Final = _CORE | {"correlationid", "causationid", "heedhops", "traceparent", "tracestate"}
_CAPPED: Final = frozenset(("id", "source", "correlationid", "causationid"))
_NAME = re.compile(r"[a-z0-9]+")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:)(\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_JSON_TYPE = re.compile(r"[^/]+/(?:[^/]+\+)?json")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)

# Text by nature and yet not always UTF-8: a document of these may name another encoding within itself.
_DOCUMENT = re.compile(
    r"[^/]+/(?:[^/]+\+)?(?:xml|(?:x-)?yaml)"
    r"|application/(?:xml-dtd|x-www-form-urlencoded|(?:x-)?(?:javascript|ndjson|toml|sh)|ecmascript|graphql|jsonl|sql)"
)

DataForm = Literal["json", "text", "document", "binary"]


def event_to_json(event: Event) -> dict[str, Any]:
    """The event in the JSON format, with members in a fixed order. Raises MalformedEvent where data do not suit."""
    optional = {name: value for name in OPTIONAL_ATTRIBUTES if (value := getattr(event, name)) is not None}
    document = {
        "specversion": SPECVERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **optional,
    }
    document.update(sorted(event.extensions.items()))
    if isinstance(event.data, bytes):
        document["data_base64"] = base64.b64encode(event.data).decode()
    elif event.data is not None:
        if choose_form(event.datacontenttype) != "json" and not isinstance(event.data, str):
            _refuse_data(event.datacontenttype, event.data)
        document["data"] = event.data
    return document


def event_from_json(document: Mapping[str, Any]) -> Event:
    """The event that a JSON object is, wherever the object came from. Raises MalformedEvent."""
    data = document.get("data")
    if measure_depth(data) > MAX_JSON_DEPTH:
        raise Unreadable("TooDeep", f"data nests deeper than {MAX_JSON_DEPTH} levels; flatten them")
    check_value(data)
    return _read(document)


def parse_event(text: bytes, message: str) -> Event:
    """The event in a JSON text; `message` is for what is no JSON. Raises MalformedEvent."""
    return _read(parse_json(text, "NotAnEvent", message, MAX_JSON_DEPTH + 1))


def _read(document: object) -> Event:
    if not isinstance(document, Mapping):
        raise Unreadable("NotAnEvent", "the JSON is not an object; send one CloudEvent as one JSON object")
    attributes = {name: value for name, value in document.items() if value is not None}
    data, encoded = attributes.pop("data", None), attributes.pop("data_base64", None)
    if data is not None and encoded is not None:
        raise Unreadable("BadData", "both data and data_base64 are given; send one of them", "data")
    kind = attributes.get("datacontenttype")
    if encoded is not None:
        body = _decode_base64(encoded)
        return build_event(attributes, read_data(body, kind) if isinstance(kind, str) else body or None)
    if isinstance(kind, str) and not isinstance(data, str | None) and choose_form(kind) != "json":
        _refuse_data(kind, data)
    return build_event(attributes, data)


def build_event(attributes: Mapping[str, Any], data: Json | bytes) -> Event:
    """An event from attributes by name, each of them checked. Raises MalformedEvent."""
    for name, value in attributes.items():
        if not (name in _KNOWN and isinstance(value, str) and _is_harmless(value)):
            _check_attribute(name, value)
    _check_required(attributes)
    extensions: dict[str, Extension] = {
        name: value for name, value in attributes.items() if name not in _CORE
    }
    return Event(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        data=data,
        subject=attributes.get("subject"),
        time=attributes.get("time"),
        datacontenttype=attributes.get("datacontenttype"),
        dataschema=attributes.get("dataschema"),
        extensions=extensions,
    )


def _is_harmless(value: str) -> bool:
    """What nearly all attributes are, and need no closer look."""
    return 0 < len(value) <= MAX_ATTRIBUTE_CHARS and value.isascii() and value.isprintable()


def _check_required(attributes: Mapping[str, Any]) -> None:
    for name in REQUIRED_ATTRIBUTES:
        if not attributes.get(name):
            raise Unreadable(
                "MissingAttribute", f"attribute {name} is missing or empty; the sender has to set it", name
            )
    if (version := attributes["specversion"]) != SPECVERSION:
        raise Unreadable(
            "BadSpecVersion", f"specversion is {version!r}; send CloudEvents {SPECVERSION}", "specversion"
        )
    if not names.is_type(attributes["type"]):
        remedy = (
            f"use dot-separated tokens without spaces, * and >, at most {names.MAX_TYPE_CHARS} characters"
        )
        raise Unreadable(
            "BadType", f"type {shorten_json(attributes['type'])} cannot be a subject; {remedy}", "type"
        )
    time = attributes.get("time")
    if time is not None and not _is_time(time):
        raise Unreadable(
            "BadTime",
            f"time {shorten_json(time)} is not RFC 3339; write it like 2026-01-31T12:00:00Z",
            "time",
        )


def _check_attribute(name: object, value: object) -> None:
    if name not in _CORE and (not isinstance(name, str) or name == "data" or not _NAME.fullmatch(name)):
        raise Unreadable(
            "BadAttribute",
            f"attribute name {shorten_json(name)} is not allowed; use only a-z and 0-9",
            str(name),
        )
    if isinstance(value, str):
        if name in _CAPPED and len(value) > MAX_ATTRIBUTE_CHARS:
            raise Unreadable(
                "TooLong",
                f"attribute {name} has {len(value)} characters; {MAX_ATTRIBUTE_CHARS} are allowed",
                name,
            )
        if _FORBIDDEN.search(value):
            raise Unreadable(
                "BadAttribute",
                f"attribute {name} holds control characters or lone surrogates; drop them",
                name,
            )
        if not value and name in OPTIONAL_ATTRIBUTES:
            raise Unreadable("MissingAttribute", f"attribute {name} is empty; set it or leave it out", name)
    elif name in _CORE or not isinstance(value, int):
        raise Unreadable(
            "BadAttribute", f"attribute {name} is {shorten_json(value)}; send it as a string", name
        )
    elif not INT32_RANGE[0] <= value <= INT32_RANGE[1]:
        raise Unreadable("BadAttribute", f"attribute {name} does not fit 32 bits; send it as a string", name)


def _is_time(value: str) -> bool:
    found = _TIME.fullmatch(value)
    if found is None or not value.isascii():
        return False
    start, second, zone = found.groups()
    try:
        # A leap second is RFC 3339 but nothing that datetime knows.
        datetime.fromisoformat(start.upper() + ("59" if second == "60" else second) + zone.upper())
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def choose_form(datacontenttype: str | None) -> DataForm:
    """What a content type makes of bytes.

    JSON (also where none is given), text in UTF-8, a document (text where it is UTF-8, else bytes), or bytes.
    """
    if datacontenttype is None:
        return "json"
    media = datacontenttype.partition(";")[0].strip().lower()
    if _JSON_TYPE.fullmatch(media):
        return "json"
    charset = _CHARSET.search(datacontenttype)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return "binary"
    if _DOCUMENT.fullmatch(media):
        return "document"
    return "text" if media.startswith("text/") else "binary"


def read_data(body: bytes, datacontenttype: str | None) -> Json | bytes:
    """Data from their bytes; None for none. Raises MalformedEvent."""
    if not body:
        return None
    form = choose_form(datacontenttype)
    if form == "binary":
        return body
    if form == "json":
        kind = f"datacontenttype is {datacontenttype}" if datacontenttype else "there is no datacontenttype"
        return parse_json(body, "BadData", f"{kind}, but the data are not JSON; name their content type")
    if form == "document" and b"\0" in body:  # of UTF-16, which without a mark can look like UTF-8
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        if form == "document":
            return body
        raise Unreadable(
            "BadData", f"data of {datacontenttype} are not UTF-8; name their content type"
        ) from None


def write_data(event: Event) -> bytes:
    """The bytes of an event's data. Raises MalformedEvent where they do not suit its content type."""
    if event.data is None:
        return b""
    if isinstance(event.data, bytes):
        return event.data
    try:
        if choose_form(event.datacontenttype) == "json":
            return json.dumps(event.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        if not isinstance(event.data, str):
            _refuse_data(event.datacontenttype, event.data)
        return event.data.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(
            "BadData", f"data cannot be written as {event.datacontenttype or 'JSON'}: {error}"
        ) from None


def _refuse_data(datacontenttype: str | None, data: object) -> NoReturn:
    remedy = "send a string, or application/json"
    raise Unreadable("BadData", f"data of {datacontenttype} cannot be {type(data).__name__}; {remedy}")


def _decode_base64(text: object) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Unreadable("BadData", "data_base64 is not base64; encode the bytes by RFC 4648, section 4")
