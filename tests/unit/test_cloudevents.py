"""The CloudEvents binding: what a sender says arrives as it was said; what it did not say is not made up."""

import json
from typing import Any

import pytest

from heed import names
from heed.bus.codec.cloudevents import decode, encode_value
from heed.core.codec.cloudevents_json import MAX_ATTRIBUTE_CHARS
from heed.core.events import Event, MalformedMessage
from tests.unit.messages import (
    DOCUMENT,
    HEADERS,
    STRUCTURED,
    SUBJECT,
    TYPE,
    binary,
    event_of,
    refusal_of,
    structured,
)

# ── content modes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_binary_mode_takes_attributes_from_headers_and_data_from_the_body() -> None:
    event = event_of(binary(b'{"n": 1}', time="2026-01-31T12:00:00Z", correlationid="flow"))
    assert event == Event(
        "1", "/shop", TYPE, {"n": 1}, time="2026-01-31T12:00:00Z", extensions={"correlationid": "flow"}
    )


def test_header_names_are_case_insensitive_and_other_headers_are_no_attributes() -> None:
    headers = {
        "CE-Id": "1",
        "Ce-SOURCE": "/shop",
        "cE-type": TYPE,
        "ce-SpecVersion": "1.0",
        "Nats-Msg-Id": "x",
    }
    assert event_of(decode(headers, b"", SUBJECT)) == Event("1", "/shop", TYPE)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/cloudevents+json"},
        {"content-type": "Application/CloudEvents+JSON; charset=utf-8"},
        {"CONTENT-TYPE": "application/cloudevents"},
        {},
        {"Nats-Msg-Id": "older senders know no header but structured mode"},
    ],
)
def test_structured_mode_is_told_by_content_type_or_by_the_absence_of_headers(
    headers: dict[str, str],
) -> None:
    assert event_of(structured(headers, data={"n": 1}, heedhops=3)) == Event(
        "1", "/shop", TYPE, {"n": 1}, extensions={"heedhops": 3}
    )


def test_structured_mode_wins_over_ce_headers() -> None:
    event = event_of(structured({**STRUCTURED, "ce-id": "of the header"}))
    assert event.id == "1"


@pytest.mark.parametrize(
    ("headers", "payload", "code"),
    [
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]", "BatchUnsupported"),
        ({"Content-Type": "application/cloudevents+avro"}, b"", "UnsupportedFormat"),
        (STRUCTURED, b"{", "NotAnEvent"),
        (STRUCTURED, b"[]", "NotAnEvent"),
        (STRUCTURED, b"\xff", "NotAnEvent"),
        (None, b"", "NotAnEvent"),
        (None, b"hello", "NotAnEvent"),
        (None, b'["specversion"]', "NotAnEvent"),
        ({"Content-Type": "application/json"}, json.dumps(DOCUMENT).encode(), "NotAnEvent"),
    ],
)
def test_what_is_no_single_event_is_refused(
    headers: dict[str, str] | None, payload: bytes, code: str
) -> None:
    assert refusal_of(decode(headers, payload, SUBJECT)) == code


# ── the media type of the data, unprefixed (as the JavaScript SDK and HTTP have it, and the Go SDK reads it) ─────────


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_an_unprefixed_content_type_counts_where_datacontenttype_is_absent(name: str) -> None:
    event = event_of(decode({**HEADERS, name: "text/plain"}, b'{"a":1}', SUBJECT))
    assert (event.data, event.datacontenttype) == ('{"a":1}', "text/plain")


def test_datacontenttype_wins_over_an_unprefixed_content_type() -> None:
    headers = {**HEADERS, "Content-Type": "text/plain", "ce-datacontenttype": "application/json"}
    event = event_of(decode(headers, b'{"a":1}', SUBJECT))
    assert (event.data, event.datacontenttype) == ({"a": 1}, "application/json")


def test_an_unprefixed_content_type_is_taken_as_it_is() -> None:
    kind = 'text/plain; charset="utf-8"; note=100%25'
    assert event_of(decode({**HEADERS, "content-type": f" {kind} "}, b"x", SUBJECT)).datacontenttype == kind
    assert event_of(decode({**HEADERS, "content-type": ""}, b"1", SUBJECT)).datacontenttype is None


@pytest.mark.parametrize(
    ("headers", "code", "said"),
    [
        (
            {**HEADERS, "Content-Type": "application/json"},
            "BadData",
            "datacontenttype is application/json, but the data are not JSON; name their content type "
            "(it came as Content-Type, which counts where ce-datacontenttype is absent)",
        ),
        (
            {**HEADERS, "Content-Type": "text/plain", "ce-datacontenttype": "application/json"},
            "BadData",
            "(Content-Type 'text/plain' counts where ce-datacontenttype is absent, and here it is there)",
        ),
        ({**HEADERS, "Content-Type": "text/\ufffd"}, "BadEncoding", "send the media type of the data"),
        (
            {"Content-Type": "application/json"},
            "NotAnEvent",
            "Content-Type 'application/json' is that of data; for an event in JSON send application/cloudevents+json",
        ),
    ],
)
def test_what_a_content_type_without_prefix_meant_is_said(
    headers: dict[str, str], code: str, said: str
) -> None:
    refused = decode(headers, b"hello", SUBJECT)
    assert refusal_of(refused) == code
    assert isinstance(refused, MalformedMessage)
    assert said in refused.message


# ── attributes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_required_attributes_are_never_made_up(name: str) -> None:
    assert refusal_of(structured(**{name: None})) == "MissingAttribute"
    assert refusal_of(structured(**{name: ""})) == "MissingAttribute"
    empty: dict[str, Any] = {name: ""}
    assert refusal_of(binary(**empty)) == "MissingAttribute"
    headers = {header: value for header, value in HEADERS.items() if header != f"ce-{name}"}
    assert refusal_of(decode(headers, b"", SUBJECT)) == "MissingAttribute"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"specversion": "0.3"}, "BadSpecVersion"),
        ({"id": 1}, "BadAttribute"),
        ({"id": "x" * (MAX_ATTRIBUTE_CHARS + 1)}, "TooLong"),
        ({"source": "x" * (MAX_ATTRIBUTE_CHARS + 1)}, "TooLong"),
        ({"correlationid": "x" * (MAX_ATTRIBUTE_CHARS + 1)}, "TooLong"),
        ({"causationid": "x" * (MAX_ATTRIBUTE_CHARS + 1)}, "TooLong"),
        ({"correlationId": "x"}, "BadAttribute"),
        ({"my_ext": "x"}, "BadAttribute"),
        ({"ext": {}}, "BadAttribute"),
        ({"ext": [1]}, "BadAttribute"),
        ({"ext": 1.5}, "BadAttribute"),
        ({"ext": 2**31}, "BadAttribute"),
        ({"ext": "a\nb"}, "BadAttribute"),
        ({"subject": ""}, "MissingAttribute"),
        ({"subject": True}, "BadAttribute"),
        ({"time": "yesterday"}, "BadTime"),
        ({"time": "2026-02-30T00:00:00Z"}, "BadTime"),
        ({"time": "2026-01-01T00:00:00"}, "BadTime"),
        ({"time": "2026-01-01 00:00:00Z"}, "BadTime"),
        ({"type": "a b"}, "BadType"),
        ({"type": "a..b"}, "BadType"),
        ({"type": "a.*"}, "BadType"),
        ({"type": "com.example.other"}, "TypeMismatch"),
        ({"data": 1, "data_base64": "AA=="}, "BadData"),
    ],
)
def test_attributes_that_break_a_rule_are_refused(members: dict[str, Any], code: str) -> None:
    assert refusal_of(structured(**members)) == code


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.123456789z",
        "2016-12-31T23:59:60Z",
        "2026-01-01T00:00:00-08:00",
    ],
)
def test_every_rfc_3339_time_is_kept_as_it_was_written(time: str) -> None:
    assert event_of(structured(time=time)).time == time


def test_null_attributes_are_absent_and_unknown_extensions_are_kept() -> None:
    event = event_of(structured(subject=None, ext="", flag=True, count=-5))
    assert event.subject is None
    assert event.extensions == {"ext": "", "flag": True, "count": -5}


def test_extensions_are_strings_in_binary_mode() -> None:
    assert event_of(binary(flag="true", count="-5")).extensions == {"flag": "true", "count": "-5"}


@pytest.mark.parametrize(
    "subject",
    ["heed.events.demo.com.example.other", "heed.timers.demo.agent.t", "heed-dead.demo.agent", "else"],
)
def test_an_event_on_a_subject_of_another_type_is_refused(subject: str) -> None:
    assert refusal_of(decode(HEADERS, b"", subject)) == "TypeMismatch"


def test_an_inbox_takes_events_by_the_same_rule() -> None:
    assert event_of(decode(HEADERS, b"", names.inbox_subject("demo", "agent", TYPE))).type == TYPE


# ── header values (binding, section 3.1.3.2) ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ('100% "quoted"', "100%25%20%22quoted%22"),
        ("plain/~!?*", "plain/~!?*"),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
    ],
)
def test_header_values_are_percent_encoded_as_the_binding_says(value: str | int | bool, header: str) -> None:
    assert encode_value(value) == header
    assert event_of(binary(ext=header)).extensions["ext"] == (
        str(value).lower() if not isinstance(value, str) else value
    )


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("%e2%82%ac", "€"),
        ("%41%42", "AB"),
        ("%2541", "%41"),
        ('"a b"', "a b"),
        (r'"a \"b\" \\ c"', r'a "b" \ c'),
        ('"%41"', "A"),
        ("100%", "100%"),
        ("a%zz", "a%zz"),
        ("née", "née"),
    ],
)
def test_older_and_careless_encodings_are_understood(header: str, value: str) -> None:
    assert event_of(binary(ext=header)).extensions["ext"] == value


@pytest.mark.parametrize(
    "header", ["%C0%A0", "%ff", "%ED%A0%80", "not utf-8: \ufffd", '"unbalanced', '"', '"a" b']
)
def test_what_is_not_utf8_or_not_balanced_is_refused(header: str) -> None:
    assert refusal_of(binary(ext=header)) == "BadEncoding"


def test_an_encoded_replacement_character_is_one() -> None:
    assert event_of(binary(ext="%EF%BF%BD")).extensions["ext"] == "\ufffd"
