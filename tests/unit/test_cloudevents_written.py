"""Events as messages: in which mode, with which headers, in which bytes; and what cannot be written."""

from typing import Any

import pytest

from heed.bus.codec.cloudevents import STRUCTURED_HEADERS, decode, decode_value, encode, encode_value
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event
from tests.unit.messages import SUBJECT, TYPE, refused

REQUIRED = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": TYPE}


def small_event(data: Any = None, **more: Any) -> Event:
    return Event("1", "/s", TYPE, data, **more)


@pytest.mark.parametrize(
    ("written", "more", "payload"),
    [
        (small_event(), {}, b""),
        (small_event([1, "é"]), {"ce-datacontenttype": "application/json"}, '[1,"é"]'.encode()),
        (small_event(b"\xff"), {"ce-datacontenttype": "application/octet-stream"}, b"\xff"),
        (small_event(b""), {}, b""),
        (small_event("a", datacontenttype="text/plain"), {"ce-datacontenttype": "text/plain"}, b"a"),
        (
            small_event(
                None,
                subject="one",
                time="2026-01-31T12:00:00Z",
                datacontenttype="image/png",
                dataschema="https://a.b/c",
                extensions={"z": True, "a": 7, "m": "é"},
            ),
            {
                "ce-subject": "one",
                "ce-time": "2026-01-31T12:00:00Z",
                "ce-datacontenttype": "image/png",
                "ce-dataschema": "https://a.b/c",
                "ce-a": "7",
                "ce-m": "%C3%A9",
                "ce-z": "true",
            },
            b"",
        ),
    ],
)
def test_binary_mode_has_the_attributes_in_one_order_and_the_data_as_they_are(
    written: Event, more: dict[str, str], payload: bytes
) -> None:
    headers, body = encode(written)

    assert list(headers.items()) == list({**REQUIRED, **more}.items())
    assert body == payload


@pytest.mark.parametrize(
    ("text", "kind", "structured"),
    [
        ("a", None, False),
        ("", None, False),
        ("", "application/json", False),
        ("a\0b", "application/json", False),
        ("a", "text/plain", False),
        ("a\0b", "text/plain", False),
        ("", "text/plain", True),
        ("<a/>", "application/xml", False),
        ("<a>\0</a>", "application/xml", True),  # would be taken for UTF-16
        ("", "application/xml", True),
        ("a", "text/plain; charset=latin1", True),
        ("a", "image/png", True),
    ],
)
def test_text_is_in_structured_mode_where_its_bytes_would_be_read_as_something_else(
    text: str, kind: str | None, structured: bool
) -> None:
    written = small_event(text, datacontenttype=kind)
    headers, payload = encode(written)

    assert (headers == STRUCTURED_HEADERS) is structured
    found = decode(headers, payload, SUBJECT)
    assert isinstance(found, Event) and found.data == text


def test_structured_mode_is_json_without_blanks_in_utf_8() -> None:
    written = small_event("é", datacontenttype="image/png", extensions={"a": 7})

    assert encode(written) == (
        {"Content-Type": "application/cloudevents+json"},
        f'{{"specversion":"1.0","id":"1","source":"/s","type":"{TYPE}","datacontenttype":"image/png",'
        '"a":7,"data":"é"}'.encode(),
    )
    headers, _ = encode(written)
    headers["Nats-Msg-Id"] = "x"
    assert encode(written)[0] == STRUCTURED_HEADERS == {"Content-Type": "application/cloudevents+json"}


@pytest.mark.parametrize(
    ("written", "code", "message"),
    [
        (
            small_event("\ud800", datacontenttype="image/png"),
            "BadData",
            "the event holds a lone surrogate, which is no Unicode text; drop it",
        ),
        (small_event(subject="\udfff"), "BadAttribute", "an attribute holds a lone surrogate; drop it"),
        (
            small_event(extensions={"a": "x \ud800"}),
            "BadAttribute",
            "an attribute holds a lone surrogate; drop it",
        ),
    ],
)
def test_what_is_no_unicode_text_is_not_written(written: Event, code: str, message: str) -> None:
    assert refused(encode, written) == (code, message)


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        ("", ""),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ("a b", "a%20b"),
        ('"', "%22"),
        ("100%", "100%25"),
        ("é\n", "%C3%A9%0A"),
        ("\x7f", "%7F"),
    ],
)
def test_a_value_is_percent_encoded_where_it_is_not_plain(value: Any, header: str) -> None:
    assert encode_value(value) == header
    if isinstance(value, str):
        assert decode_value("ce-x", header) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"a', "header ce-x has unbalanced quotes; percent-encode its value"),
        ('"a"b"', "header ce-x has unbalanced quotes; percent-encode its value"),
        ("\ufffd", "header ce-x is not UTF-8; percent-encode the UTF-8 bytes of its value"),
        ("%FF", "header ce-x is not UTF-8; percent-encode the UTF-8 bytes of its value"),
        ('"%FF"', "header ce-x is not UTF-8; percent-encode the UTF-8 bytes of its value"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_header(value: str, message: str) -> None:
    assert refused(decode_value, "ce-x", value) == ("BadEncoding", message)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ('"a b"', "a b"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('""', ""),
        ('"%41"', "A"),
        ("%EF%BF%BD", "\ufffd"),
        ("100%", "100%"),
    ],
)
def test_quotes_are_taken_off_before_percents_are_decoded(header: str, value: str) -> None:
    assert decode_value("ce-x", header) == value


def test_what_structured_mode_holds_is_the_event_in_json() -> None:
    assert event_to_json(small_event(b"\xff", extensions={"b": 1, "a": True})) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": TYPE,
        "a": True,
        "b": 1,
        "data_base64": "/w==",
    }
