"""What a content type makes of bytes, and the bytes of data: there and back, and what is refused."""

from math import inf
from typing import Any

import pytest

from heed.core.codec.cloudevents_json import (
    choose_form,
    event_to_json,
    read_data,
    write_data,
)
from heed.core.events import Event
from tests.builders.values import json_refusal
from tests.unit.messages import refused


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (None, "json"),
        ("application/json", "json"),
        (" Application/JSON ; charset=utf-16", "json"),
        ("application/cloudevents+json", "json"),
        ("text/json", "json"),
        ("json", "binary"),
        ("text/plain", "text"),
        ("text/plain; charset=utf-8", "text"),
        ('text/plain; CHARSET="UTF8"', "text"),
        ("text/plain; charset=us-ascii", "text"),
        ("text/plain; charset=latin-1", "binary"),
        ("application/xml", "document"),
        ("image/svg+xml", "document"),
        ("text/xml", "document"),
        ("application/x-yaml", "document"),
        ("application/toml", "document"),
        ("application/xml; charset=utf-16", "binary"),
        ("application/octet-stream", "binary"),
        ("", "binary"),
    ],
)
def test_a_content_type_says_what_bytes_are(kind: str | None, form: str) -> None:
    assert choose_form(kind) == form


@pytest.mark.parametrize(
    ("body", "kind", "data"),
    [
        (b"", "application/json", None),
        (b"[1]", None, [1]),
        (b"[1]", "application/octet-stream", b"[1]"),
        ("é".encode(), "text/plain", "é"),
        ("<é/>".encode(), "application/xml", "<é/>"),
        (b"\xff<a/>", "application/xml", b"\xff<a/>"),
        (b"<\0a\0", "application/xml", b"<\0a\0"),
        (b"a\0", "text/plain", "a\0"),
    ],
)
def test_bytes_are_read_by_their_content_type(body: bytes, kind: str | None, data: Any) -> None:
    assert read_data(body, kind) == data


def test_bytes_that_are_not_json_are_refused() -> None:
    assert refused(read_data, b"{", None) == (
        "BadData",
        "there is no datacontenttype, but the data are not JSON; name their content type",
    )


@pytest.mark.parametrize(
    ("data", "kind", "body"),
    [
        (None, "application/json", b""),
        (b"\xff", "application/json", b"\xff"),
        ({"b": "é", "a": [1, 1.5]}, None, '{"b":"é","a":[1,1.5]}'.encode()),
        ("é", "application/json", '"é"'.encode()),
        ("é", "text/plain", "é".encode()),
    ],
)
def test_data_are_written_by_their_content_type(data: Any, kind: str | None, body: bytes) -> None:
    assert write_data(Event("1", "/", "x", data, datacontenttype=kind)) == body


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ([1], "text/plain", "data of text/plain cannot be list; send a string, or application/json"),
        (
            inf,
            None,
            f"data cannot be written as JSON: {json_refusal(inf)}",
        ),
        (
            inf,
            "application/x+json",
            f"data cannot be written as application/x+json: {json_refusal(inf)}",
        ),
    ],
)
def test_data_that_do_not_suit_their_content_type_are_not_written(
    data: Any, kind: str | None, message: str
) -> None:
    assert refused(write_data, Event("1", "/", "x", data, datacontenttype=kind)) == ("BadData", message)
    if isinstance(data, list):
        assert refused(event_to_json, Event("1", "/", "x", data, datacontenttype=kind)) == (
            "BadData",
            message,
        )
