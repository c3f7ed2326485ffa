"""The CloudEvents binding: what a sender says arrives as it was said; what it did not say is not made up."""

import base64
import json
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st

from heed import names
from heed.bus.cloudevents import decode, encode, encode_value, from_json, to_json
from heed.core.cloudevents import MAX_LENGTH, form_of
from heed.core.events import Event, Malformed
from heed.core.strictjson import MAX_DEPTH
from heed.errors import MalformedEvent

TYPE = "com.example.order.placed"
SUBJECT = names.event_subject("demo", TYPE)
HEADERS = {"ce-id": "1", "ce-source": "/shop", "ce-type": TYPE, "ce-specversion": "1.0"}
DOCUMENT = {"id": "1", "source": "/shop", "type": TYPE, "specversion": "1.0"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}


def binary(payload: bytes = b"", **headers: str) -> Event | Malformed:
    """Decode a message in binary mode with the required headers and these."""
    return decode({**HEADERS, **{f"ce-{name}": value for name, value in headers.items()}}, payload, SUBJECT)


def structured(headers: dict[str, str] | None = None, /, **members: Any) -> Event | Malformed:
    """Decode a message in structured mode with the required members and these."""
    return decode(
        STRUCTURED if headers is None else headers, json.dumps({**DOCUMENT, **members}).encode(), SUBJECT
    )


def event_of(result: Event | Malformed) -> Event:
    """The event, which has to be one."""
    assert isinstance(result, Event), result
    return result


def refusal_of(result: Event | Malformed) -> str:
    """The code of the refusal, which has to be one and has to say something."""
    assert isinstance(result, Malformed), result
    assert len(result.message) > 20
    return result.code


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
        ({"Content-Type": "application/json"}, json.dumps(DOCUMENT).encode(), "MissingAttribute"),
    ],
)
def test_what_is_no_single_event_is_refused(
    headers: dict[str, str] | None, payload: bytes, code: str
) -> None:
    assert refusal_of(decode(headers, payload, SUBJECT)) == code


# ── attributes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_required_attributes_are_never_made_up(name: str) -> None:
    assert refusal_of(structured(**{name: None})) == "MissingAttribute"
    assert refusal_of(structured(**{name: ""})) == "MissingAttribute"
    assert refusal_of(binary(**{name: ""})) == "MissingAttribute"
    headers = {header: value for header, value in HEADERS.items() if header != f"ce-{name}"}
    assert refusal_of(decode(headers, b"", SUBJECT)) == "MissingAttribute"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"specversion": "0.3"}, "BadSpecVersion"),
        ({"id": 1}, "BadAttribute"),
        ({"id": "x" * (MAX_LENGTH + 1)}, "TooLong"),
        ({"source": "x" * (MAX_LENGTH + 1)}, "TooLong"),
        ({"correlationid": "x" * (MAX_LENGTH + 1)}, "TooLong"),
        ({"causationid": "x" * (MAX_LENGTH + 1)}, "TooLong"),
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


# ── data ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        ("application/xml", b"<a/>", b"<a/>"),
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


def test_text_in_structured_mode_is_what_it_would_be_in_binary_mode() -> None:
    assert event_of(structured(data="é", datacontenttype="text/plain")).data == "é"
    assert event_of(structured(data="<é/>", datacontenttype="application/xml")).data == "<é/>".encode()
    assert event_of(structured(data='{"a": 1}', datacontenttype="application/json")).data == '{"a": 1}'


def nested(levels: int) -> bytes:
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
        (nested(MAX_DEPTH + 1), "TooDeep"),
        (nested(100_000), "TooDeep"),
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
    event = event_of(binary(nested(MAX_DEPTH)))
    envelope = json.dumps(to_json(event)).encode()
    assert event_of(decode(STRUCTURED, envelope, SUBJECT)) == from_json(to_json(event)) == event


def test_the_remedy_for_large_numbers_is_named() -> None:
    refused = binary(b'{"a": 9223372036854775808}')
    assert isinstance(refused, Malformed)
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
        to_json(event)


@pytest.mark.parametrize(
    "data", [2**63, float("nan"), {1: "a"}, {"a": {"b": "\ud800"}}, {"a": (1, 2)}, 10**500]
)
def test_from_json_checks_documents_that_no_parser_saw(data: Any) -> None:
    with pytest.raises(MalformedEvent):
        from_json({**DOCUMENT, "data": data})


@pytest.mark.parametrize(
    "document", [{}, {**DOCUMENT, "type": "a b"}, {**DOCUMENT, "data": json.loads(nested(80))}]
)
def test_from_json_raises_for_what_is_no_event(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvent):
        from_json(document)


def test_implied_content_types_are_written_down_in_binary_mode() -> None:
    assert encode(Event("1", "/s", TYPE, {"é": 1}))[1] == '{"é":1}'.encode()
    assert encode(Event("1", "/s", TYPE, {"a": 1}))[0]["ce-datacontenttype"] == "application/json"
    assert encode(Event("1", "/s", TYPE, b"\0"))[0]["ce-datacontenttype"] == "application/octet-stream"
    assert "ce-datacontenttype" not in encode(Event("1", "/s", TYPE))[0]


# ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
TOKEN = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters=".*>"), min_size=1, max_size=10
)
TYPES = st.lists(TOKEN, min_size=1, max_size=4).map(".".join).filter(names.is_type)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=12,
)
CONTENTS = st.one_of(
    st.tuples(st.just("application/json"), JSON),
    st.tuples(st.sampled_from(["text/plain", "text/csv; charset=utf-8"]), TEXT),
    st.tuples(st.sampled_from(["application/octet-stream", "image/png"]), st.binary(min_size=1)),
    st.just((None, None)),
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in ("id", "source", "type", "specversion", "subject", "time", "data", "dataschema")
)
VALUES = TEXT | st.booleans() | st.integers(-(2**31), 2**31 - 1)


@st.composite
def events(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> Event:
    """Events that Heed takes and can send."""
    kind, data = draw(CONTENTS)
    return Event(
        id=draw(TEXT),
        source=draw(TEXT),
        type=draw(TYPES),
        data=data,
        subject=draw(st.none() | TEXT),
        time=draw(
            st.none()
            | st.datetimes(timezones=st.timezones().map(lambda _: None)).map(lambda at: at.isoformat() + "Z")
        ),
        datacontenttype=kind,
        dataschema=draw(st.none() | TEXT),
        extensions=draw(
            st.dictionaries(NAMES.filter(lambda name: name != "datacontenttype"), values, max_size=4)
        ),
    )


@given(events(values=TEXT))
def test_what_is_sent_in_binary_mode_arrives_the_same(event: Event) -> None:
    headers, payload = encode(event)
    assert all(
        value.isascii() and value.isprintable() and value == value.strip() for value in headers.values()
    )
    assert decode(headers, payload, names.event_subject("demo", event.type)) == event


@given(events())
def test_what_is_written_as_json_is_read_the_same(event: Event) -> None:
    document = to_json(event)
    assert from_json(json.loads(json.dumps(document))) == event
    assert decode(STRUCTURED, json.dumps(document).encode(), names.event_subject("demo", event.type)) == event


@given(st.none() | st.dictionaries(st.text(), st.text()), st.binary(), st.text())
@example({"ce-": "x"}, b"", SUBJECT)
@example({"Content-Type": "application/cloudevents"}, b"[" * 2000, SUBJECT)
@example(None, b'{"specversion":' + b"[" * 2000, SUBJECT)
@example({**HEADERS, "ce-time": "٢٠٢٦-01-01T00:00:00Z"}, b"", SUBJECT)
def test_nothing_makes_decoding_raise(headers: dict[str, str] | None, payload: bytes, subject: str) -> None:
    assert isinstance(decode(headers, payload, subject), Event | Malformed)


# ── conformance: the SDK reads what Heed writes, and the other way round ────────────────────────────────────────────


def sdk_event(event: Event) -> CloudEvent:
    """The same event as the SDK's."""
    document = JSONFormat().read(None, json.dumps(to_json(event)))
    assert isinstance(document, CloudEvent)
    return document


@given(events(values=TEXT).filter(lambda event: event.time is None or int(event.time[:4]) > 1000))
def test_the_sdk_reads_the_same_event(event: Event) -> None:
    theirs = sdk_event(Event(**{**_fields(event), "extensions": _sdk_safe(event)}))
    assert (theirs.get_id(), theirs.get_source(), theirs.get_type()) == (event.id, event.source, event.type)
    assert theirs.get_data() == event.data
    assert theirs.get_datacontenttype() == event.datacontenttype
    assert theirs.get_extension("none") is None


@given(events(values=TEXT).filter(lambda event: event.time is None or int(event.time[:4]) > 1000))
def test_heed_reads_what_the_sdk_writes(event: Event) -> None:
    ours = Event(**{**_fields(event), "extensions": _sdk_safe(event), "time": "2026-01-31T12:00:00Z"})
    written = JSONFormat().write(sdk_event(ours))
    assert decode(STRUCTURED, written, names.event_subject("demo", event.type)) == ours


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__dataclass_fields__}


def _sdk_safe(event: Event) -> dict[str, Any]:
    # The SDK makes the SHOULD of 20 characters and its own reserved names a MUST; numbers alone it takes as they are.
    return {name: value for name, value in event.extensions.items() if len(name) <= 20}


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (None, "json"),
        ("application/json", "json"),
        ("application/cloudevents+json", "json"),
        ("application/json-seq", "binary"),
        ("application/notjson", "binary"),
        ("TEXT/HTML", "text"),
        ("text/plain;charset=utf-16", "binary"),
        ("nonsense", "binary"),
    ],
)
def test_content_types_have_one_of_three_forms(kind: str | None, form: str) -> None:
    assert form_of(kind) == form
