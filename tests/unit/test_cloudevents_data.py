"""Data of CloudEvents: what the content type makes of them, and what cannot be kept exactly."""

import base64
import json
from typing import Any

import pytest

from heed.bus.codec.cloudevents import decode, encode, event_from_json, event_to_json
from heed.core.codec.cloudevents_json import choose_form
from heed.core.codec.strict_json import MAX_JSON_DEPTH
from heed.core.events import Event, MalformedMessage
from heed.errors import MalformedEvent
from tests.unit.messages import DOCUMENT, STRUCTURED, SUBJECT, TYPE, binary, event_of, refusal_of, structured


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        (None, b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/json", b'"text"', "text"),
        ("application/JSON; charset=utf-8", b"9223372036854775807", 2**63 - 1),
        ("application/vnd.shop+json", b"-9223372036854775808", -(2**63)),
        ("text/json", '"é"'.encode(), "é"),
        ("text/plain", "é".encode(), "é"),
        ('text/plain; charset="UTF-8"', "é".encode(), "é"),
        ("text/plain; charset=latin1", b"\xe9", b"\xe9"),
        ("application/xml", b"<a/>", "<a/>"),
        ("text/xml", "<é/>".encode(), "<é/>"),
        ("image/svg+xml; charset=utf-8", b"<svg/>", "<svg/>"),
        ("application/yaml", b"a: 1", "a: 1"),
        ("application/x-yaml", b"a: 1", "a: 1"),
        ("application/openapi+yaml", b"a: 1", "a: 1"),
        ("application/x-www-form-urlencoded", b"a=1&b=2", "a=1&b=2"),
        ("application/x-ndjson", b"{}\n{}\n", "{}\n{}\n"),
        (
            "application/xml",
            b'<?xml version="1.0" encoding="latin1"?><\xe9/>',
            b'<?xml version="1.0" encoding="latin1"?><\xe9/>',
        ),
        ("application/xml", "<a/>".encode("utf-16"), "<a/>".encode("utf-16")),
        ("application/xml", "<a/>".encode("utf-16-le"), "<a/>".encode("utf-16-le")),
        ("application/xml; charset=utf-16", b"<a/>", b"<a/>"),
        ("application/octet-stream", b"\x00\xff", b"\x00\xff"),
        ("application/json", b"null", None),
        ("application/json", b"", None),
        (None, b"", None),
        ("text/plain", b"", None),
        ("image/png", b"", None),
    ],
)
def test_the_content_type_says_what_data_are_in_either_mode(kind: str | None, body: bytes, data: Any) -> None:
    given = {} if kind is None else {"datacontenttype": kind}
    assert event_of(binary(body, **given)).data == data
    if kind is not None:
        assert event_of(structured(data_base64=base64.b64encode(body).decode(), **given)).data == data


def test_base64_without_a_content_type_is_bytes() -> None:
    assert event_of(structured(data_base64="AP8=")).data == b"\x00\xff"


@pytest.mark.parametrize(
    "kind",
    [
        "application/xml",
        "text/plain",
        "text/plain; charset=latin1",
        "application/json",
        "image/png",
        "nonsense",
    ],
)
def test_text_in_structured_mode_is_text_whatever_its_content_type(kind: str) -> None:
    for text in ("<é/>", '{"a": 1}', ""):
        event = event_of(structured(data=text, datacontenttype=kind))
        assert (event.data, event.datacontenttype) == (text, kind)
        assert event_of(decode(*encode(event), SUBJECT)) == event
        assert event_from_json(event_to_json(event)) == event


def test_text_that_binary_mode_would_make_bytes_of_is_sent_in_structured_mode() -> None:
    for kind, text in (("image/png", "x"), ("text/plain; charset=latin1", "é"), ("text/plain", "")):
        headers, payload = encode(Event("1", "/s", TYPE, text, datacontenttype=kind))
        assert headers == STRUCTURED
        assert json.loads(payload)["data"] == text
    assert encode(Event("1", "/s", TYPE, "<a/>", datacontenttype="application/xml"))[1] == b"<a/>"
    with pytest.raises(MalformedEvent, match="lone surrogate"):
        encode(Event("1", "/s", TYPE, "\ud800", datacontenttype="image/png"))


def nested_json(levels: int) -> bytes:
    """JSON that nests as deep."""
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not json", "BadData"),
        (b"\xff", "BadData"),
        (b"\xef\xbb\xbf{}", "BadData"),
        (b"NaN", "BadData"),
        (b"[-Infinity]", "BadData"),
        (b"[1e999]", "NumberOutOfRange"),
        (b'{"a": 9223372036854775808}', "NumberOutOfRange"),
        (b"-9223372036854775809", "NumberOutOfRange"),
        (b"1" * 5000, "NumberOutOfRange"),
        (rb'"\ud800"', "BadData"),
        (rb'{"\udfff": 1}', "BadData"),
        (nested_json(MAX_JSON_DEPTH + 1), "TooDeep"),
        (nested_json(100_000), "TooDeep"),
    ],
)
def test_json_that_cannot_be_kept_exactly_is_refused(body: bytes, code: str) -> None:
    assert refusal_of(binary(body)) == code
    envelope = json.dumps(DOCUMENT)[:-1].encode() + b', "data": ' + body + b"}"
    expected = (
        "NotAnEvent" if body in (b"not json", b"\xff", b"\xef\xbb\xbf{}", b"NaN", b"[-Infinity]") else code
    )
    assert refusal_of(decode(STRUCTURED, envelope, SUBJECT)) == expected


def test_the_deepest_json_allowed_passes_every_form() -> None:
    event = event_of(binary(nested_json(MAX_JSON_DEPTH)))
    envelope = json.dumps(event_to_json(event)).encode()
    assert event_of(decode(STRUCTURED, envelope, SUBJECT)) == event_from_json(event_to_json(event)) == event


def test_the_remedy_for_large_numbers_is_named() -> None:
    refused = binary(b'{"a": 9223372036854775808}')
    assert isinstance(refused, MalformedMessage)
    assert "9223372036854775808" in refused.message
    assert "send it as a string" in refused.message


def test_escaped_pairs_are_characters() -> None:
    assert event_of(binary(rb'"\ud83d\ude00"')).data == "😀"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("text/plain", b"\xff", "BadData"),
        ("application/json", b"{", "BadData"),
        ("x/y+json", b"{", "BadData"),
    ],
)
def test_data_that_belie_their_content_type_are_refused(kind: str, body: bytes, code: str) -> None:
    assert refusal_of(binary(body, datacontenttype=kind)) == code
    assert refusal_of(structured(data_base64=base64.b64encode(body).decode(), datacontenttype=kind)) == code


@pytest.mark.parametrize("text", ["AP8", "A P8=", "é", 5, {}])
def test_bad_base64_is_refused(text: object) -> None:
    assert refusal_of(structured(data_base64=text)) == "BadData"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml"])
def test_data_that_are_no_text_cannot_be_of_a_textual_content_type(kind: str) -> None:
    event = Event("1", "/shop", TYPE, {"a": 1}, datacontenttype=kind)
    assert refusal_of(structured(data={"a": 1}, datacontenttype=kind)) == "BadData"
    with pytest.raises(MalformedEvent, match="send a string"):
        encode(event)
    with pytest.raises(MalformedEvent, match="send a string"):
        event_to_json(event)


@pytest.mark.parametrize(
    "data", [2**63, float("nan"), {1: "a"}, {"a": {"b": "\ud800"}}, {"a": (1, 2)}, 10**500]
)
def test_from_json_checks_documents_that_no_parser_saw(data: Any) -> None:
    with pytest.raises(MalformedEvent):
        event_from_json({**DOCUMENT, "data": data})


@pytest.mark.parametrize(
    "document", [{}, {**DOCUMENT, "type": "a b"}, {**DOCUMENT, "data": json.loads(nested_json(80))}]
)
def test_from_json_raises_for_what_is_no_event(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvent):
        event_from_json(document)


def test_implied_content_types_are_written_down_in_binary_mode() -> None:
    assert encode(Event("1", "/s", TYPE, {"é": 1}))[1] == '{"é":1}'.encode()
    assert encode(Event("1", "/s", TYPE, {"a": 1}))[0]["ce-datacontenttype"] == "application/json"
    assert encode(Event("1", "/s", TYPE, b"\0"))[0]["ce-datacontenttype"] == "application/octet-stream"
    assert "ce-datacontenttype" not in encode(Event("1", "/s", TYPE))[0]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (None, "json"),
        ("application/json", "json"),
        ("application/cloudevents+json", "json"),
        ("application/json-seq", "binary"),
        ("application/notjson", "binary"),
        ("TEXT/HTML", "text"),
        ("text/xml", "document"),
        ("application/atom+XML;charset=UTF-8", "document"),
        ("application/xmlish", "binary"),
        ("application/xml;charset=utf-16", "binary"),
        ("text/plain;charset=utf-16", "binary"),
        ("nonsense", "binary"),
    ],
)
def test_content_types_have_one_of_four_forms(kind: str | None, form: str) -> None:
    assert choose_form(kind) == form
