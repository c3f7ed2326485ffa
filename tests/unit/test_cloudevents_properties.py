"""Properties of the CloudEvents binding: round trips, no exceptions, and the SDK as the oracle of the JSON format."""

import json
from typing import Any

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st

from heed import names
from heed.bus.codec.cloudevents import decode, encode, event_from_json, event_to_json
from heed.core.events import Event, MalformedMessage
from tests.unit.messages import HEADERS, STRUCTURED, SUBJECT

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
    st.tuples(st.sampled_from(["application/octet-stream", "image/png"]), st.binary(min_size=1) | TEXT),
    st.tuples(st.sampled_from(["application/xml", "image/svg+xml", "application/yaml"]), st.just("") | TEXT),
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
    document = event_to_json(event)
    assert event_from_json(json.loads(json.dumps(document))) == event
    assert decode(STRUCTURED, json.dumps(document).encode(), names.event_subject("demo", event.type)) == event


@given(st.none() | st.dictionaries(st.text(), st.text()), st.binary(), st.text())
@example({"ce-": "x"}, b"", SUBJECT)
@example({"Content-Type": "application/cloudevents"}, b"[" * 2000, SUBJECT)
@example(None, b'{"specversion":' + b"[" * 2000, SUBJECT)
@example({**HEADERS, "ce-time": "٢٠٢٦-01-01T00:00:00Z"}, b"", SUBJECT)
def test_nothing_makes_decoding_raise(headers: dict[str, str] | None, payload: bytes, subject: str) -> None:
    assert isinstance(decode(headers, payload, subject), Event | MalformedMessage)


def sdk_event(event: Event) -> CloudEvent:
    """The same event as the SDK's."""
    document = JSONFormat().read(None, json.dumps(event_to_json(event)))
    assert isinstance(document, CloudEvent)
    return document


@given(events(values=TEXT).filter(lambda event: event.time is None or int(event.time[:4]) > 1000))
def test_the_sdk_reads_the_same_event(event: Event) -> None:
    theirs = sdk_event(Event(**{**_fields(event), "extensions": _sdk_safe(event)}))
    assert (theirs.get_id(), theirs.get_source(), theirs.get_type()) == (event.id, event.source, event.type)
    assert theirs.get_data() == event.data
    assert theirs.get_datacontenttype() == event.datacontenttype
    for name, value in _sdk_safe(event).items():
        assert str(theirs.get_extension(name)) == str(value)


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
