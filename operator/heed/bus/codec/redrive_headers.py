"""The headers of a redriven dead letter. They are trusted on redrive subjects only.

Every publisher can write headers; subject permissions decide who may publish on `heed.redrive.>`.
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
    """The redrive that a message on a redrive subject describes, or why it is malformed. Never raises."""
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
    """Whether a text is a valid dead letter id for a header: 1 to 128 visible ASCII characters."""
    return _LETTER.fullmatch(text) is not None


def first_subject(subject: str, headers: Mapping[str, str]) -> str:
    """The subject an event was first published on: for a redriven one the header's, if it is of the same type."""
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
