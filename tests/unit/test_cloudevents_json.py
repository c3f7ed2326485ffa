"""CloudEvents in the JSON format: each attribute there and back, and what is refused, word by word."""

from typing import Any

import pytest

from heed.core.codec.cloudevents_json import (
    MAX_ATTRIBUTE_CHARS,
    build_event,
    event_from_json,
    event_to_json,
    parse_event,
)
from heed.core.codec.strict_json import MAX_JSON_DEPTH
from heed.core.events import Event
from tests.builders.values import nested_lists
from tests.unit.messages import refused

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.x"}
FULL = {
    **REQUIRED,
    "subject": "s",
    "time": "2026-01-31T12:00:00Z",
    "datacontenttype": "application/json",
    "dataschema": "https://x/y",
    "a": True,
    "b": 7,
    "correlationid": "c",
    "data": {"n": [1, None]},
}
EVENT = Event(
    "1",
    "/shop",
    "com.example.x",
    {"n": [1, None]},
    "s",
    "2026-01-31T12:00:00Z",
    "application/json",
    "https://x/y",
    {"a": True, "b": 7, "correlationid": "c"},
)


# ── there and back ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_attribute_is_written_in_a_fixed_order_and_read_again() -> None:
    assert event_to_json(EVENT) == FULL
    assert list(event_to_json(EVENT)) == list(FULL)
    assert event_from_json(FULL) == EVENT


def test_what_is_not_said_is_not_made_up() -> None:
    bare = Event("1", "/shop", "com.example.x")

    assert event_to_json(bare) == REQUIRED
    assert event_from_json(REQUIRED) == bare
    assert event_from_json({**REQUIRED, "subject": None, "data": None, "x": None}) == bare


def test_bytes_are_base64() -> None:
    raw = Event("1", "/shop", "com.example.x", b"\x00\xff", datacontenttype="application/octet-stream")
    document = {**REQUIRED, "datacontenttype": "application/octet-stream", "data_base64": "AP8="}

    assert event_to_json(raw) == document
    assert event_from_json(document) == raw


@pytest.mark.parametrize(
    ("more", "data"),
    [
        ({"data_base64": "eyJhIjoxfQ==", "datacontenttype": "application/json"}, {"a": 1}),
        ({"data_base64": "eyJhIjoxfQ==", "datacontenttype": "text/plain"}, '{"a":1}'),
        ({"data_base64": "eyJhIjoxfQ=="}, b'{"a":1}'),
        ({"data_base64": ""}, None),
        ({"data_base64": "", "datacontenttype": "application/json"}, None),
        ({"data": "text", "datacontenttype": "text/plain"}, "text"),
        ({"data": "text", "datacontenttype": "application/json"}, "text"),
        ({"data": "text"}, "text"),
        ({"data": 0}, 0),
        ({"data": False, "datacontenttype": "application/x+json"}, False),
    ],
)
def test_data_are_what_their_content_type_makes_of_them(more: dict[str, Any], data: Any) -> None:
    assert event_from_json({**REQUIRED, **more}).data == data


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────

RFC = "is not RFC 3339; write it like 2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"id": None}, "MissingAttribute", "attribute id is missing or empty; the sender has to set it"),
        (
            {"source": ""},
            "MissingAttribute",
            "attribute source is missing or empty; the sender has to set it",
        ),
        ({"type": None}, "MissingAttribute", "attribute type is missing or empty; the sender has to set it"),
        (
            {"specversion": None},
            "MissingAttribute",
            "attribute specversion is missing or empty; the sender has to set it",
        ),
        ({"specversion": "0.3"}, "BadSpecVersion", "specversion is '0.3'; send CloudEvents 1.0"),
        (
            {"type": "a b"},
            "BadType",
            "type 'a b' cannot be a subject; use dot-separated tokens without spaces, * and >, at most 255 characters",
        ),
        ({"time": "now"}, "BadTime", f"time 'now' {RFC}"),
        ({"subject": ""}, "MissingAttribute", "attribute subject is empty; set it or leave it out"),
        ({"dataschema": ""}, "MissingAttribute", "attribute dataschema is empty; set it or leave it out"),
        ({"id": "x" * 1025}, "TooLong", "attribute id has 1025 characters; 1024 are allowed"),
        ({"source": "x" * 1025}, "TooLong", "attribute source has 1025 characters; 1024 are allowed"),
        (
            {"correlationid": "x" * 1025},
            "TooLong",
            "attribute correlationid has 1025 characters; 1024 are allowed",
        ),
        (
            {"causationid": "x" * 1025},
            "TooLong",
            "attribute causationid has 1025 characters; 1024 are allowed",
        ),
        (
            {"subject": "a\nb"},
            "BadAttribute",
            "attribute subject holds control characters or lone surrogates; drop them",
        ),
        (
            {"x": "a\x7f"},
            "BadAttribute",
            "attribute x holds control characters or lone surrogates; drop them",
        ),
        ({"id": 1}, "BadAttribute", "attribute id is 1; send it as a string"),
        ({"subject": True}, "BadAttribute", "attribute subject is True; send it as a string"),
        ({"x": 1.5}, "BadAttribute", "attribute x is 1.5; send it as a string"),
        ({"x": [1]}, "BadAttribute", "attribute x is list; send it as a string"),
        ({"x": 2**31}, "BadAttribute", "attribute x does not fit 32 bits; send it as a string"),
        ({"x": -(2**31) - 1}, "BadAttribute", "attribute x does not fit 32 bits; send it as a string"),
        ({"Bad": "x"}, "BadAttribute", "attribute name 'Bad' is not allowed; use only a-z and 0-9"),
        ({"a-b": "x"}, "BadAttribute", "attribute name 'a-b' is not allowed; use only a-z and 0-9"),
        ({"": "x"}, "BadAttribute", "attribute name '' is not allowed; use only a-z and 0-9"),
        ({7: "x"}, "BadAttribute", "attribute name 7 is not allowed; use only a-z and 0-9"),
        ({"data": 1, "data_base64": ""}, "BadData", "both data and data_base64 are given; send one of them"),
        (
            {"data_base64": "%"},
            "BadData",
            "data_base64 is not base64; encode the bytes by RFC 4648, section 4",
        ),
        ({"data_base64": 7}, "BadData", "data_base64 is not base64; encode the bytes by RFC 4648, section 4"),
        (
            {"data_base64": "AP8=", "datacontenttype": "application/json"},
            "BadData",
            "datacontenttype is application/json, but the data are not JSON; name their content type",
        ),
        (
            {"data_base64": "/w==", "datacontenttype": "text/plain"},
            "BadData",
            "data of text/plain are not UTF-8; name their content type",
        ),
        (
            {"data": {"a": 1}, "datacontenttype": "text/plain"},
            "BadData",
            "data of text/plain cannot be dict; send a string, or application/json",
        ),
        ({"data": nested_lists(65)}, "TooDeep", "data nests deeper than 64 levels; flatten them"),
        ({"data": "\ud800"}, "BadData", "data hold a lone surrogate, which is no Unicode text; drop it"),
    ],
)
def test_what_is_no_event_is_refused_with_what_to_do(more: dict[Any, Any], code: str, message: str) -> None:
    assert refused(event_from_json, {**REQUIRED, **more}) == (code, message)


@pytest.mark.parametrize(
    "more",
    [
        {"id": "é" * MAX_ATTRIBUTE_CHARS, "source": "x" * MAX_ATTRIBUTE_CHARS},
        {"correlationid": "é" * MAX_ATTRIBUTE_CHARS, "causationid": "x" * MAX_ATTRIBUTE_CHARS},
        {"subject": "é" * 5000, "traceparent": "x" * 5000, "other": "x" * 5000},
        {"x": 2**31 - 1, "y": -(2**31), "z": False},
        {"other": "", "correlationid": ""},
        {"a0": "\u2028\xa0"},
        {"data": nested_lists(MAX_JSON_DEPTH)},
    ],
)
def test_what_is_an_event_is_read(more: dict[str, Any]) -> None:
    assert event_to_json(event_from_json({**REQUIRED, **more})) == {**REQUIRED, **more}


@pytest.mark.parametrize(
    ("time", "is_time"),
    [
        ("2026-01-31T12:00:00Z", True),
        ("2026-01-31t12:00:00.123456789z", True),
        ("2026-01-31T12:00:00+02:00", True),
        ("2026-06-30T23:59:60Z", True),
        ("2026-01-31T12:00:61Z", False),
        ("2026-02-30T12:00:00Z", False),
        ("2026-01-31T24:00:00Z", False),
        ("2026-01-31T12:00:00", False),
        ("2026-01-31 12:00:00Z", False),
        ("2026-01-31T12:00:00.Z", False),
        ("2026-01-31T12:00:00+25:00", False),
        ("\u0662026-01-31T12:00:00Z", False),
    ],
)
def test_a_time_is_that_of_rfc_3339(time: str, is_time: bool) -> None:
    document = {**REQUIRED, "time": time}

    if is_time:
        assert event_from_json(document).time == time
    else:
        assert refused(event_from_json, document)[0] == "BadTime"


def test_attributes_are_all_that_an_event_is_built_of() -> None:
    assert build_event({**REQUIRED, "subject": "s", "x": 1}, b"raw") == Event(
        "1", "/shop", "com.example.x", b"raw", "s", extensions={"x": 1}
    )
    assert refused(build_event, {**REQUIRED, "data": "x"}, None) == (
        "BadAttribute",
        "attribute name 'data' is not allowed; use only a-z and 0-9",
    )


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (b"{", "NotAnEvent", "no event here"),
        (b"[]", "NotAnEvent", "the JSON is not an object; send one CloudEvent as one JSON object"),
        (b'"x"', "NotAnEvent", "the JSON is not an object; send one CloudEvent as one JSON object"),
    ],
)
def test_a_text_is_one_json_object(text: bytes, code: str, message: str) -> None:
    assert refused(parse_event, text, "no event here") == (code, message)


def test_data_in_a_text_nest_as_deep_as_elsewhere() -> None:
    def text(depth: int) -> bytes:
        data = "[" * depth + "]" * depth
        return f'{{"specversion":"1.0","id":"1","source":"/","type":"x","data":{data}}}'.encode()

    assert parse_event(text(MAX_JSON_DEPTH), "no event").id == "1"
    assert refused(parse_event, text(MAX_JSON_DEPTH + 1), "no event")[0] == "TooDeep"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN"])
def test_who_reads_an_event_says_what_it_was_to_be(text: bytes) -> None:
    assert refused(parse_event, text, "the event in the outbox is not JSON") == (
        "NotAnEvent",
        "the event in the outbox is not JSON",
    )
