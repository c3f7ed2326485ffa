"""The HTTP binding of CloudEvents: examples of the specification and the conformance suite, and what is refused."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from heed.core.events import Event
from heed.gateway.http_binding import MAX_BATCH_EVENTS, read_events
from heed.gateway.refusals import RequestRefused

REQUIRED = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
}
MINIMAL = {f"ce-{name}": value for name, value in REQUIRED.items()}
TIME = "2018-04-05T03:56:24Z"
HELLO = b'{\n    "message": "Hello World!"\n}'
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def read(headers: dict[str, str], body: bytes = b"") -> Event:
    """The one event of a request."""
    (event,) = read_events(headers.items(), body)
    return event


def structured(document: Any, content_type: str = STRUCTURED) -> Event:
    """That of a document."""
    return read({"Content-Type": content_type}, json.dumps(document).encode())


def refused(headers: Any, body: bytes = b"") -> RequestRefused:
    """Why a request is refused."""
    with pytest.raises(RequestRefused) as caught:
        read_events(headers.items() if isinstance(headers, dict) else headers, body)
    return caught.value


# --- what the specification and the conformance suite show ---------------------------------------------------------


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_binary_mode_is_headers_and_a_body(content_type: str) -> None:
    event = read({**MINIMAL, "ce-time": TIME, "Content-Type": content_type}, HELLO)

    assert event == Event(
        "1234-1234-1234",
        "/mycontext/subcontext",
        "com.example.someevent",
        {"message": "Hello World!"},
        time=TIME,
        datacontenttype=content_type,
    )


@pytest.mark.parametrize(
    "content_type",
    [
        STRUCTURED,
        f"{STRUCTURED}; charset=utf-8",
        f"{STRUCTURED};charset=UTF-8",
        f'{STRUCTURED}; charset="utf-8"',
        "Application/CloudEvents+JSON",
        "application/cloudevents",
    ],
)
def test_structured_mode_is_one_document(content_type: str) -> None:
    document = {
        **REQUIRED,
        "time": TIME,
        "datacontenttype": "application/json",
        "data": {"message": "Hello World!"},
    }

    event = structured(document, content_type)

    assert (event.id, event.time, event.data) == ("1234-1234-1234", TIME, {"message": "Hello World!"})
    assert event.datacontenttype == "application/json"


def test_batched_mode_is_an_array_of_documents() -> None:
    first = {
        **REQUIRED,
        "id": "B234-1234-1234",
        "comexampleextension1": "value",
        "comexampleothervalue": 5,
        "datacontenttype": "application/vnd.apache.thrift.binary",
        "data_base64": base64.b64encode(b"\0\1").decode(),
    }
    second = {**REQUIRED, "id": "C234-1234-1234", "data": {"appinfoC": True}}

    events = read_events([("Content-Type", BATCH)], json.dumps([first, second]).encode())

    assert [(event.id, event.data) for event in events] == [
        ("B234-1234-1234", b"\0\1"),
        ("C234-1234-1234", {"appinfoC": True}),
    ]
    assert events[0].extensions == {"comexampleextension1": "value", "comexampleothervalue": 5}


def test_a_batch_may_be_empty() -> None:
    assert read_events([("Content-Type", BATCH)], b"[]") == []


@pytest.mark.parametrize(
    ("content_type", "text", "data"),
    [
        ("text/plain; charset=us-ascii", "Hello, World!\n", "Hello, World!\n"),
        ("text/plain; charset=utf-8", "Hello, 🌎!\n", "Hello, 🌎!\n"),
        ("application/json; charset=utf-8", '"Hello, 🌎!"\n', "Hello, 🌎!"),
        ("application/json; charset=utf-8", '{"msg":"Hello, 🌎!"}\n', {"msg": "Hello, 🌎!"}),
        ("application/json; charset=utf-8", '["Hello","🌎!"]\n', ["Hello", "🌎!"]),
        ("application/xml; charset=utf-8", "<msg>Hello, 🌎!</msg>\n", "<msg>Hello, 🌎!</msg>\n"),
    ],
)
def test_the_data_are_what_their_content_type_says(content_type: str, text: str, data: Any) -> None:
    event = read({**MINIMAL, "Content-Type": content_type}, text.encode())

    assert (event.datacontenttype, event.data) == (content_type, data)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro%20%e2%82%ac%20%f0%9f%98%80", "Euro € 😀"),
        ("%41bc", "Abc"),
        ('"two words"', "two words"),
        (r'"say \"now\""', 'say "now"'),
        ('"50%25"', "50%"),
        ("a%2520b", "a%20b"),
    ],
)
def test_a_value_is_unquoted_and_then_percent_decoded_once(value: str, expected: str) -> None:
    assert read({**MINIMAL, "ce-note": value}).extensions["note"] == expected


@pytest.mark.parametrize("value", ["%C0%A0", "%ff", '"open'])
def test_a_value_that_is_not_utf8_or_not_closed_is_refused(value: str) -> None:
    error = refused({**MINIMAL, "ce-note": value})

    assert (error.status, error.code, error.members) == (400, "BadEncoding", {"attribute": "note"})


def test_names_of_headers_are_of_any_case() -> None:
    assert read({name.upper(): value for name, value in MINIMAL.items()}).id == REQUIRED["id"]


def test_a_structured_event_may_have_the_headers_too() -> None:
    headers = {**MINIMAL, "ce-id": "other", "Content-Type": STRUCTURED}

    assert read(headers, json.dumps(REQUIRED).encode()).id == REQUIRED["id"]


# --- there and back by the SDK --------------------------------------------------------------------------------------

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"), min_size=1, max_size=20
)


@given(id=TEXTS, subject=TEXTS, note=TEXTS, data=st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9)))
def test_what_the_sdk_writes_is_read(id: str, subject: str, note: str, data: dict[str, Any]) -> None:
    attributes = {
        **REQUIRED,
        "id": id,
        "subject": subject,
        "note": note,
        "datacontenttype": "application/json",
    }
    made = CloudEvent(attributes, data)
    for write in (to_binary_event, to_structured_event):
        message = write(made)
        headers = {
            name: quote(str(value), safe="") if name.lower().startswith("ce-") else str(value)
            for name, value in message.headers.items()
        }
        if write is to_binary_event:  # what it leaves bare is for the tests with real requests
            headers |= {
                f"ce-{name}": quote(value, safe="")
                for name, value in (("id", id), ("subject", subject), ("note", note))
            }
            headers |= {f"ce-{name}": REQUIRED[name] for name in ("source", "type", "specversion")}
        event = read(headers, message.body or b"")
        assert (event.id, event.subject, event.extensions["note"], event.data) == (id, subject, note, data)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_what_is_required_is_never_made_up(missing: str) -> None:
    rest = {name: value for name, value in REQUIRED.items() if name != missing}

    for error in (
        refused({f"ce-{name}": value for name, value in rest.items()}),
        refused({"Content-Type": STRUCTURED}, json.dumps(rest).encode()),
        refused({"Content-Type": STRUCTURED}, json.dumps({**rest, missing: ""}).encode()),
    ):
        assert (error.status, error.code, error.members) == (400, "MissingAttribute", {"attribute": missing})
        assert missing in error.detail


@pytest.mark.parametrize(
    ("attribute", "value", "code"),
    [
        ("specversion", "0.3", "BadSpecVersion"),
        ("time", "yesterday", "BadTime"),
        ("type", "two words", "BadType"),
        ("type", "com.example.*", "BadType"),
        ("id", "x" * 1025, "TooLong"),
        ("my-name", "x", "BadAttribute"),
        ("data", "x", "BadAttribute"),
        ("subject", "%00", "BadAttribute"),
        ("subject", "", "MissingAttribute"),
    ],
)
def test_a_wrong_attribute_is_named(attribute: str, value: str, code: str) -> None:
    error = refused({**MINIMAL, f"ce-{attribute}": quote(value, safe="%*")})

    assert (error.status, error.code, error.members) == (400, code, {"attribute": attribute})


def test_a_name_that_was_made_up_is_shown_in_part() -> None:
    error = refused({**MINIMAL, "ce-" + "-" * 5000: "x"})

    assert error.members == {"attribute": "-" * 100}
    assert len(error.detail) < 300


def test_a_header_that_is_there_twice_is_refused() -> None:
    error = refused([*MINIMAL.items(), ("CE-ID", "other")])
    assert (error.status, error.code, error.members) == (400, "BadHeaders", {"attribute": "id"})

    error = refused([*MINIMAL.items(), ("Content-Type", "text/plain"), ("content-type", STRUCTURED)])
    assert (error.status, error.code, error.members) == (400, "BadHeaders", {})


def test_the_kind_of_the_data_is_the_content_type() -> None:
    error = refused({**MINIMAL, "Content-Type": "text/plain", "ce-datacontenttype": "text/html"}, b"x")
    assert (error.code, error.members) == ("BadAttribute", {"attribute": "datacontenttype"})

    error = refused({**MINIMAL, "ce-datacontenttype": "text/html"}, b"x")
    assert (error.code, error.members) == ("BadAttribute", {"attribute": "datacontenttype"})

    same = {**MINIMAL, "Content-Type": "text/plain", "ce-datacontenttype": "text/plain"}
    assert read(same, b"x").data == "x"


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("application/cloudevents+avro", "UnsupportedFormat"),
        ("application/cloudevents+xml; charset=utf-8", "UnsupportedFormat"),
        ("application/cloudevents-batch+avro", "UnsupportedFormat"),
        ("application/cloudevents2", "UnsupportedFormat"),
        (f"{STRUCTURED}; charset=utf-16", "UnsupportedCharset"),
        (f"{BATCH}; charset=latin1", "UnsupportedCharset"),
    ],
)
def test_formats_that_are_not_read_are_refused(content_type: str, code: str) -> None:
    error = refused({"Content-Type": content_type}, b"{}")

    assert (error.status, error.code) == (415, code)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b"", "NotAnEvent"),
        ({"Content-Type": "application/json"}, json.dumps(REQUIRED).encode(), "NotAnEvent"),
        ({"Content-Type": STRUCTURED}, b"", "NotAnEvent"),
        ({"Content-Type": STRUCTURED}, b"{", "NotAnEvent"),
        ({"Content-Type": STRUCTURED}, b"[]", "NotAnEvent"),
        ({"Content-Type": STRUCTURED}, b'"\xff"', "NotAnEvent"),
        ({**MINIMAL, "Content-Type": "application/json"}, b"{", "BadData"),
        ({**MINIMAL, "Content-Type": "text/plain"}, b"\xff", "BadData"),
        ({**MINIMAL}, b"no json", "BadData"),
        ({"Content-Type": BATCH}, b"{}", "NotABatch"),
    ],
)
def test_what_is_no_event_is_refused(headers: dict[str, str], body: bytes, code: str) -> None:
    error = refused(headers, body)

    assert (error.status, error.code) == (400, code)


@pytest.mark.parametrize(
    ("headers", "body", "detail"),
    [
        (
            {},
            b"",
            "there are no ce- headers, and the Content-Type is none of CloudEvents; send ce-id, ce-source, ce-type and "
            "ce-specversion, or application/cloudevents+json",
        ),
        (
            {**MINIMAL, "ce-datacontenttype": "text/html"},
            b"",
            "over HTTP the header Content-Type is the datacontenttype; drop ce-datacontenttype",
        ),
        (
            {"Content-Type": STRUCTURED},
            b"{",
            "the body is not JSON in UTF-8, which its Content-Type says; send one CloudEvent as JSON",
        ),
        (
            {"Content-Type": BATCH},
            b"{",
            "the body is not JSON in UTF-8, which its Content-Type says; send an array of CloudEvents",
        ),
        ({"Content-Type": BATCH}, b"{}", "the JSON is no array; send an array of CloudEvents"),
        (
            {"Content-Type": BATCH},
            b"[7]",
            "an item of the batch is not an object; send CloudEvents as JSON objects",
        ),
        (
            {"Content-Type": BATCH},
            json.dumps([REQUIRED] * (MAX_BATCH_EVENTS + 1)).encode(),
            f"the batch holds {MAX_BATCH_EVENTS + 1} events; send at most {MAX_BATCH_EVENTS} at a time",
        ),
        (
            {"Content-Type": "Application/CloudEvents+Avro"},
            b"",
            "'application/cloudevents+avro' is not read; send application/cloudevents+json, "
            "application/cloudevents-batch+json or binary mode",
        ),
        (
            {"Content-Type": f"{STRUCTURED}; charset=UTF-16"},
            b"",
            "charset 'UTF-16' is not read; CloudEvents in JSON are UTF-8",
        ),
    ],
)
def test_a_sender_is_told_what_to_send(headers: dict[str, str], body: bytes, detail: str) -> None:
    assert refused(headers, body).detail == detail


def test_a_sender_is_told_which_header_is_there_twice() -> None:
    error = refused([*MINIMAL.items(), ("CE-ID", "other")])
    assert error.detail == "there are two headers ce-id; send one"

    error = refused([*MINIMAL.items(), ("Content-Type", "text/plain"), ("content-type", STRUCTURED)])
    assert error.detail == "there are two headers Content-Type; send one"


def test_of_a_batch_the_first_wrong_event_is_named() -> None:
    batch = [REQUIRED, {**REQUIRED, "type": None}, 7]
    error = refused({"Content-Type": BATCH}, json.dumps(batch).encode())
    assert (error.status, error.code, error.members) == (
        400,
        "MissingAttribute",
        {"attribute": "type", "index": 1},
    )

    error = refused({"Content-Type": BATCH}, json.dumps([REQUIRED, 7]).encode())
    assert (error.code, error.members) == ("NotAnEvent", {"index": 1})


def test_a_batch_has_a_bound() -> None:
    whole = [REQUIRED] * MAX_BATCH_EVENTS

    assert len(read_events([("Content-Type", BATCH)], json.dumps(whole).encode())) == MAX_BATCH_EVENTS

    error = refused({"Content-Type": BATCH}, json.dumps([*whole, REQUIRED]).encode())
    assert (error.status, error.code, error.members) == (
        413,
        "TooManyEvents",
        {"maxEvents": MAX_BATCH_EVENTS},
    )


def test_deep_data_are_refused_in_every_mode() -> None:
    deep = "[" * 65 + "]" * 65
    document = json.dumps(REQUIRED)[:-1] + f', "data": {deep}}}'

    assert refused({**MINIMAL, "Content-Type": "application/json"}, deep.encode()).code == "TooDeep"
    assert refused({"Content-Type": STRUCTURED}, document.encode()).code == "TooDeep"
    assert refused({"Content-Type": BATCH}, f"[{document}]".encode()).code == "TooDeep"
    one_less = document.replace(deep, deep[1:-1])
    assert read_events([("Content-Type", BATCH)], f"[{one_less}]".encode())[0].data is not None
