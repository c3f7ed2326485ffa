"""What a dead letter has in it: the cause, the original, and what is left out first where not all of it fits."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.codec.dead_letter import (
    DeadLetter,
    OriginalMessage,
    encode_dead_letter,
    measure_headers,
    original_message,
    parse_number,
    read_original,
)
from heed.bus.codec.redrive_headers import write_redrive
from heed.core.events import Redrive
from tests.unit.messages import SUBJECT, TYPE

AT = "2026-01-31T12:00:00.000000Z"
LETTER = DeadLetterCause("TemplateFailed", "no such key: é", "begin", 3, 2, task='{"id":"t"}')
OWED = OutboxMessage(7, 0, "heed-dead.demo.researcher", AT, letter=LETTER)
CAUSE = {
    "Heed-Dead-Code": "TemplateFailed",
    "Heed-Dead-Message": "no%20such%20key:%20%C3%A9",
    "Heed-Dead-Handler": "begin",
    "Heed-Dead-Generation": "3",
    "Heed-Dead-Attempt": "2",
    "Heed-Dead-Sequence": "7",
    "Heed-Dead-Subject": SUBJECT,
    "Heed-Dead-Time": AT,
    "Heed-Dead-Task": "{%22id%22:%22t%22}",
}
LOST, TASK_LOST = {"Heed-Dead-Lost": "true"}, {"Heed-Dead-Task-Lost": "true"}
PLENTY = 1_000_000
WITHOUT_TASK = {name: value for name, value in CAUSE.items() if name != "Heed-Dead-Task"}


def original(headers: dict[str, str] | None = None, payload: bytes = b"data") -> OriginalMessage:
    return OriginalMessage(SUBJECT, {"ce-id": "1"} if headers is None else headers, payload)


def test_a_letter_has_the_cause_and_the_original_as_it_was() -> None:
    assert encode_dead_letter(OWED, LETTER, original(), PLENTY) == ({"ce-id": "1", **CAUSE}, b"data")


def test_what_is_not_known_is_not_there() -> None:
    short = DeadLetterCause("BadEvent", "no")

    headers, payload = encode_dead_letter(
        OutboxMessage(7, 0, "s", AT, letter=short), short, original({}, b""), PLENTY
    )

    names = ("Code", "Message", "Generation", "Attempt", "Sequence", "Subject", "Time")
    assert set(headers) == {f"Heed-Dead-{name}" for name in names}
    assert (headers["Heed-Dead-Code"], headers["Heed-Dead-Message"], payload) == ("BadEvent", "no", b"")


def test_of_an_original_that_is_gone_the_cause_is_left() -> None:
    headers, payload = encode_dead_letter(OWED, LETTER, None, PLENTY)

    known = {name: value for name, value in CAUSE.items() if name != "Heed-Dead-Subject"}
    assert (headers, payload) == ({**known, **LOST}, b"")


@pytest.mark.parametrize(
    "name",
    ["Nats-Msg-Id", "nats-anything", "Heed-Dead-Code", "HEED-DEAD-X", "Heed-Redrive-Letter", "heed-redrive-"],
)
def test_headers_that_mean_something_to_the_broker_or_heed_are_not_taken_over(name: str) -> None:
    sent = original({name: "x", "Heed-Other": "y", "X-Nats-": "z"})

    headers, _ = encode_dead_letter(OWED, LETTER, sent, PLENTY)

    assert headers == {"Heed-Other": "y", "X-Nats-": "z", **CAUSE}


def test_of_a_redriven_event_the_letter_says_where_it_came_first() -> None:
    again = OriginalMessage(
        f"heed.redrive.demo.researcher.{TYPE}", write_redrive(Redrive("x", 2, None, SUBJECT)), b""
    )

    headers, _ = encode_dead_letter(OWED, LETTER, again, PLENTY)

    assert headers["Heed-Dead-Subject"] == SUBJECT


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 768 + "%E2%80%A6"),
        ("é" * 171, "%C3%A9" * 128 + "%E2%80%A6"),
        ("a\ud800b", "a?b"),
    ],
)
def test_a_message_is_cut_where_it_is_longer_than_a_kibibyte_as_a_header(message: str, written: str) -> None:
    headers, _ = encode_dead_letter(OWED, DeadLetterCause("BadEvent", message), original(), PLENTY)

    assert headers["Heed-Dead-Message"] == written


# ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────────

ALL = {"ce-id": "1", **CAUSE}
NO_DATA = {**ALL, **LOST}
NO_TASK = {"ce-id": "1", **WITHOUT_TASK, **LOST, **TASK_LOST}
NO_ORIGINAL = {**CAUSE, **LOST}


@pytest.mark.parametrize(
    ("most", "headers", "payload"),
    [
        (measure_headers(ALL) + 100, ALL, b"x" * 100),
        (measure_headers(ALL) + 99, NO_DATA, b""),
        (measure_headers(NO_DATA), NO_DATA, b""),
        (measure_headers(NO_DATA) - 1, NO_TASK, b""),
        (measure_headers(NO_TASK), NO_TASK, b""),
        (measure_headers(NO_TASK) - 1, NO_ORIGINAL, b""),
    ],
)
def test_first_the_data_go_then_the_record_of_a_task_and_then_the_headers_of_the_original(
    most: int, headers: dict[str, str], payload: bytes
) -> None:
    assert encode_dead_letter(OWED, LETTER, original(payload=b"x" * 100), most) == (headers, payload)


@pytest.mark.parametrize("more", [0, 1])
def test_headers_of_the_original_go_where_they_leave_no_room(more: int) -> None:
    rest = 65_535 - measure_headers({"ce-x": "", **WITHOUT_TASK, **TASK_LOST})
    sent = original({"ce-x": "x" * (rest + more)})

    headers, payload = encode_dead_letter(OWED, LETTER, sent, PLENTY)

    if more:
        assert (headers, payload) == ({**CAUSE, **LOST}, b"data")
    else:
        assert (headers, payload) == ({**sent.headers, **WITHOUT_TASK, **TASK_LOST}, b"data")


def test_the_size_of_headers_is_that_on_the_wire_and_a_little_more() -> None:
    assert measure_headers({}) == 14
    assert measure_headers({"a": "é", "bc": ""}) == 14 + (1 + 2 + 4) + (2 + 0 + 4)


# ── read again ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_that_is_read_again_says_all_of_it() -> None:
    headers, payload = encode_dead_letter(OWED, LETTER, original(), PLENTY)
    letter = DeadLetter(1, AT, "demo", "researcher", headers, payload)

    assert letter.cause("Message") == "no such key: é"
    assert letter.cause("Task") == '{"id":"t"}'
    assert letter.cause("Nothing") is None
    assert (letter.number("Sequence"), letter.number("Code"), letter.attempt) == (7, None, 2)
    assert letter.type == TYPE
    assert original_message(letter) == original()


def test_a_cause_that_cannot_be_decoded_is_shown_as_it_is() -> None:
    assert DeadLetter(1, AT, "n", "a", {"Heed-Dead-Code": "%FF"}).cause("Code") == "%FF"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0),
        ("12", 12),
        ("9" * 19, int("9" * 19)),
        ("9" * 20, None),
        ("", None),
        ("-1", None),
        ("٣", None),
    ],
)
def test_a_number_is_of_plain_digits(text: str, found: int | None) -> None:
    assert parse_number(text) == found


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"", {}),
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0 503 No\r\nA: 1\r\nB:2\r\n\r\n", {"A": "1", "B": "2"}),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n : 3\r\nnone\r\nC: a: b\r\n\r\n", {"A": "2", "C": "a: b"}),
        (b"NATS/1.0\r\nA: \xff\r\n\xff: 1\r\n\r\n", {"A": "\ufffd", "\ufffd": "1"}),
    ],
)
def test_an_original_is_read_from_the_brokers_answer(block: bytes, headers: dict[str, str]) -> None:
    answer: dict[str, Any] = {"subject": "s", "hdrs": base64.b64encode(block).decode(), "data": "AP8="}

    assert read_original(answer) == OriginalMessage("s", headers, b"\x00\xff")
    assert read_original({"subject": "s"}) == OriginalMessage("s", {}, b"")
