"""Redriven dead letters: what says so, what it is believed on, and what cannot be redriven."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed import names
from heed.bus.codec.cloudevents import encode_value
from heed.bus.codec.dead_letter import DeadLetter, redriven_message
from heed.bus.codec.redrive_headers import read_redrive, write_redrive
from heed.bus.consumer.reader import decode_message
from heed.core.events import Event, MalformedMessage, Redrive
from tests.unit.messages import HEADERS, SUBJECT, TYPE, refusal_of

REDRIVEN = names.redrive_subject("demo", "researcher", TYPE)
LETTER = names.letter_id("uid", 7)
NOW = "2026-01-31T12:00:00.000000Z"
TASKS = st.dictionaries(st.text(), st.text() | st.integers(-(2**60), 2**60) | st.none())


def letter_of_event(payload: bytes = b'{"n":1}', id: int = 12, **headers: Any) -> DeadLetter:
    """A dead letter of an event that came on SUBJECT."""
    cause = {"Code": "TemplateFailed", "Sequence": "7", "Subject": encode_value(SUBJECT)}
    ours = {
        f"Heed-Dead-{name.replace('_', '-')}": value for name, value in {**cause, **headers}.items() if value
    }
    return DeadLetter(
        id, NOW, "demo", "researcher", {**HEADERS, **ours, "X-Own": "kept", "Nats-Msg-Id": LETTER}, payload
    )


# --- headers ------------------------------------------------------------------------------------------------


@given(attempt=st.integers(2, 10**9 - 1), task=st.none() | TASKS)
def test_what_is_written_is_read_again(attempt: int, task: dict[str, object] | None) -> None:
    record = None if task is None else json.dumps(task, ensure_ascii=False)
    redrive = Redrive(LETTER, attempt, record, SUBJECT)

    headers = write_redrive(redrive)

    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert read_redrive(REDRIVEN, headers) == redrive


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Heed-Redrive-Letter": ""},
        {"Heed-Redrive-Letter": "x" * 129},
        {"Heed-Redrive-Letter": "é"},
        {"Heed-Redrive-Attempt": ""},
        {"Heed-Redrive-Attempt": "1"},
        {"Heed-Redrive-Attempt": "-2"},
        {"Heed-Redrive-Attempt": "٣"},
        {"Heed-Redrive-Attempt": "9" * 5000},
        {"Heed-Redrive-Task": ""},
        {"Heed-Redrive-Task": "[]"},
        {"Heed-Redrive-Task": "%FF"},
        {"Heed-Redrive-Task": "%7B%22a%22:NaN%7D"},
        {"Heed-Redrive-Task": "[" * 60_000},
    ],
)
def test_other_headers_are_refused_with_a_remedy(headers: dict[str, str]) -> None:
    valid = write_redrive(Redrive(LETTER, 2, subject=SUBJECT)) if headers else {}

    refused = read_redrive(REDRIVEN, {**valid, **headers})

    assert refusal_of(refused) == "BadRedrive"
    assert isinstance(refused, MalformedMessage) and "heed dead redrive" in refused.message


def test_headers_of_a_redrive_are_believed_on_redrive_subjects_only() -> None:
    headers = HEADERS | write_redrive(Redrive(LETTER, 2, "{}", SUBJECT))

    again = decode_message(8, NOW, REDRIVEN, headers, b"")
    assert isinstance(again.event, Event)
    assert again.redrive == Redrive(LETTER, 2, "{}", SUBJECT)
    for subject in (SUBJECT, names.inbox_subject("demo", "researcher", TYPE)):
        received = decode_message(8, NOW, subject, headers, b"")
        assert isinstance(received.event, Event)
        assert received.redrive is None


def test_a_redrive_subject_without_its_headers_carries_no_event() -> None:
    received = decode_message(8, NOW, REDRIVEN, HEADERS, b"")

    assert isinstance(received.event, MalformedMessage) and refusal_of(received.event) == "BadRedrive"
    assert received.redrive is None


def test_a_redriven_event_still_has_to_be_of_its_subjects_type() -> None:
    headers = HEADERS | write_redrive(Redrive(LETTER, 2, subject=SUBJECT))

    received = decode_message(8, NOW, names.redrive_subject("demo", "researcher", "a.b"), headers, b"")

    assert isinstance(received.event, MalformedMessage) and refusal_of(received.event) == "TypeMismatch"
    assert received.redrive == Redrive(LETTER, 2)


# --- letters ------------------------------------------------------------------------------------------------


def test_a_redriven_letter_is_the_original_for_its_agent_alone() -> None:
    message = redriven_message(letter_of_event(Task='{"a": "%C3%A9"}'))

    assert message.subject == REDRIVEN
    assert message.payload == b'{"n":1}'
    assert message.headers == {
        **HEADERS,
        "X-Own": "kept",
        "Heed-Redrive-Letter": LETTER,
        "Heed-Redrive-Attempt": "2",
        "Heed-Redrive-Subject": SUBJECT,
        "Heed-Redrive-Task": "{%22a%22:%20%22%C3%A9%22}".replace("{%22a%22:%20", "{%22a%22:%20"),
    }


def test_each_attempt_is_one_more() -> None:
    assert letter_of_event().redrive.attempt == 2
    assert letter_of_event(Attempt="2").redrive.attempt == 3


def test_a_letter_without_a_usable_id_is_known_by_its_place() -> None:
    one, other = (DeadLetter(place, NOW, "demo", "researcher", {"Nats-Msg-Id": "no id"}) for place in (1, 2))

    assert one.key != other.key
    assert isinstance(read_redrive(REDRIVEN, write_redrive(one.redrive)), Redrive)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Lost": "true"}, "HEED 7 may still hold the event"),
        ({"Task_Lost": "true"}, "the record of the task"),
        ({"Subject": ""}, "of which type"),
        ({"Subject": "elsewhere.a.b"}, "of which type"),
        (
            {"Code": "ReservedType", "Subject": names.event_subject("demo", names.TASK_COMPLETED)},
            "that only Heed itself says",
        ),
    ],
)
def test_what_cannot_be_redriven_is_refused_with_the_reason(headers: dict[str, Any], reason: str) -> None:
    assert reason in (letter_of_event(**headers).refusal or "")


def test_what_was_malformed_goes_where_its_subject_says() -> None:
    broken = letter_of_event(b"not json", Code="BadData")

    assert broken.refusal is None
    assert redriven_message(broken).subject == REDRIVEN
    assert redriven_message(broken).payload == b"not json"


def test_a_type_that_its_subject_did_not_allow_is_not_made_good_by_a_redrive() -> None:
    # Given an event that was published on the subject of another type
    forged = letter_of_event(Code="TypeMismatch", Subject=names.event_subject("demo", "com.example.harmless"))

    # When it is redriven
    message = redriven_message(forged)

    # Then it is refused again
    received = decode_message(8, NOW, message.subject, message.headers, message.payload)
    assert isinstance(received.event, MalformedMessage) and received.event.code == "TypeMismatch"
