"""What makes a message a redriven dead letter: headers that are believed on redrive subjects, and nowhere else.

Anybody can write headers. Who may publish on `heed.redrive.>` is a matter of subject permissions.
"""

import re
from collections.abc import Mapping
from typing import Final

from heed import names
from heed.bus.codec.cloudevents import decode_value, encode_value
from heed.core.codec.strict_json import Unreadable, parse_json
from heed.core.events import MalformedMessage, Redrive

REDRIVE_PREFIX: Final = "Heed-Redrive-"
HEADER_LETTER: Final = "Heed-Redrive-Letter"
HEADER_ATTEMPT: Final = "Heed-Redrive-Attempt"
HEADER_SUBJECT: Final = "Heed-Redrive-Subject"
HEADER_REDRIVEN_TASK: Final = "Heed-Redrive-Task"

_LETTER = re.compile(r"[!-~]{1,128}")
_MAX_RECORD_DEPTH: Final = 1000  # it was decided from before
_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


def write_redrive(redrive: Redrive) -> dict[str, str]:
    """The headers of a redriven message."""
    headers = {HEADER_LETTER: redrive.letter, HEADER_ATTEMPT: str(redrive.attempt)}
    if redrive.subject is not None:
        headers[HEADER_SUBJECT] = encode_value(redrive.subject)
    return headers if redrive.task is None else {**headers, HEADER_REDRIVEN_TASK: encode_value(redrive.task)}


def read_redrive(subject: str, headers: Mapping[str, str]) -> Redrive | MalformedMessage:
    """What the headers of a message on a redrive subject say. Never raises."""
    letter, attempt, task = (
        headers.get(HEADER_LETTER, ""),
        headers.get(HEADER_ATTEMPT, ""),
        headers.get(HEADER_REDRIVEN_TASK),
    )
    if not is_letter_id(letter):
        return _malformed(f"{HEADER_LETTER} has to name a dead letter")
    if not _ATTEMPT.fullmatch(attempt) or int(attempt) < 2:
        return _malformed(f"{HEADER_ATTEMPT} has to be a number from 2 on")
    try:
        task = None if task is None else decode_value(HEADER_REDRIVEN_TASK, task)
        record = (
            {} if task is None else parse_json(task.encode(), "BadRedrive", "not JSON", _MAX_RECORD_DEPTH)
        )
    except (Unreadable, UnicodeError, RecursionError):
        return _malformed(f"{HEADER_REDRIVEN_TASK} cannot be read")
    if not isinstance(record, dict):
        return _malformed(f"{HEADER_REDRIVEN_TASK} is not the record of a task")
    first = first_subject(subject, headers)
    return Redrive(letter, int(attempt), task, None if first == subject else first)


def is_letter_id(text: str) -> bool:
    """Whether a text can stand for a dead letter in a header."""
    return _LETTER.fullmatch(text) is not None


def first_subject(subject: str, headers: Mapping[str, str]) -> str:
    """Where an event came first: of a redriven one, what its headers say, if that is a subject of the same type."""
    if not names.is_redrive(subject):
        return subject
    try:
        first = decode_value(HEADER_SUBJECT, headers.get(HEADER_SUBJECT, ""))
    except Unreadable:
        return subject
    return first if names.type_of_subject(first) == names.type_of_subject(subject) else subject


def _malformed(reason: str) -> MalformedMessage:
    message = f"{reason}; dead letters are sent again with `heed dead redrive`"
    return MalformedMessage("BadRedrive", message)
