"""Dead letters: the original message, unchanged, with its cause in headers, to be understood and redriven."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.codec import redrive_headers
from heed.bus.codec.cloudevents import decode_value, encode_value
from heed.core.codec.strict_json import Unreadable
from heed.core.events import Redrive

DEAD_LETTER_PREFIX: Final = "Heed-Dead-"
HEADER_LOST: Final = "Heed-Dead-Lost"
HEADER_DEAD_TASK: Final = "Heed-Dead-Task"
UNPUBLISHABLE: Final = "Unpublishable"
HEADER_TASK_LOST: Final = "Heed-Dead-Task-Lost"
MAX_CAUSE_BYTES: Final = 1024
MAX_HEADERS_BYTES: Final = 65_535  # JetStream's own limit


@dataclass(frozen=True, slots=True)
class OriginalMessage:
    """A message as it was published: subject, headers and payload."""

    subject: str
    headers: dict[str, str]
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as stored in its stream. `id` is its sequence there, `at` (RFC 3339, UTC) when it was stored.

    The payload is empty where only headers were read. What a header should say and does not is None.
    """

    id: int
    at: str
    namespace: str
    agent: str
    headers: Mapping[str, str]
    payload: bytes = b""

    def cause(self, name: str) -> str | None:
        """The decoded value of the header `Heed-Dead-<name>`; None where it is absent."""
        value = self.headers.get(DEAD_LETTER_PREFIX + name)
        try:
            return None if value is None else decode_value(DEAD_LETTER_PREFIX + name, value)
        except Unreadable:
            return value

    def number(self, name: str) -> int | None:
        """The value of the header `Heed-Dead-<name>` as a number; None where it is none."""
        return parse_number(self.headers.get(DEAD_LETTER_PREFIX + name, ""))

    @property
    def attempt(self) -> int:
        """The attempt that failed: 1 for the first delivery, one more per redrive."""
        return self.number("Attempt") or 1

    @property
    def type(self) -> str | None:
        """The event type in the original subject; None where the letter has no usable one."""
        return names.type_of_subject(self.cause("Subject") or "")

    @property
    def key(self) -> str:
        """The id that redrives of this letter derive theirs from."""
        found = self.headers.get("Nats-Msg-Id", "")
        return found if redrive_headers.is_letter_id(found) else names.digest("dead-letter", self.id)

    @property
    def redrive(self) -> Redrive:
        """The redrive that publishes it again."""
        return Redrive(self.key, self.attempt + 1, self.cause("Task"), self.cause("Subject"))

    @property
    def refusal(self) -> str | None:
        """Why it cannot be redriven, with what to do instead; None where it can be."""
        if self.cause("Code") == UNPUBLISHABLE:
            return "the Agent emitted it, and the broker can never take it; publish something smaller, then drop it"
        original = f"{names.STREAM} {self.headers.get(DEAD_LETTER_PREFIX + 'Sequence', '?')} may still hold the event"
        if HEADER_LOST in self.headers:
            return f"not all of the event fitted into the letter; publish it again ({original})"
        if HEADER_TASK_LOST in self.headers:
            return f"the record of the task that it ended did not fit into the letter ({original})"
        if self.type is None or not names.is_type(self.type):
            return "the letter does not say of which type the event was"
        if names.is_reserved(self.type) and self.cause("Code") == "ReservedType":
            # On a redrive subject it would be believed to be what Heed says, which its publisher may not send.
            return "it was published as something that only Heed itself says; drop it"
        return None


def parse_number(text: str) -> int | None:
    """The number in a header's text (decimal, below 10^19), or None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def original_message(letter: DeadLetter) -> OriginalMessage:
    """The message as it was published, as far as the letter holds it."""
    return OriginalMessage(letter.cause("Subject") or "", _theirs(letter.headers), letter.payload)


def redriven_message(letter: DeadLetter) -> OriginalMessage:
    """The message to publish on the Agent's redrive subject; the letter must have no `refusal`."""
    original = original_message(letter)
    subject = names.redrive_subject(letter.namespace, letter.agent, letter.type or "")
    headers = redrive_headers.write_redrive(letter.redrive)
    return OriginalMessage(subject, {**original.headers, **headers}, original.payload)


def read_original(message: Mapping[str, Any]) -> OriginalMessage:
    """The message in a reply to STREAM.MSG.GET (headers and data in base64)."""
    block = base64.b64decode(message.get("hdrs") or b"")
    return OriginalMessage(message["subject"], _headers(block), base64.b64decode(message.get("data") or b""))


def encode_dead_letter(
    owed: OutboxMessage, letter: DeadLetterCause, original: OriginalMessage | None, max_payload: int
) -> tuple[dict[str, str], bytes]:
    """Headers and payload of a dead letter. What does not fit is left out, and a header records that.

    First the payload goes, as the headers tell what the event was; then a task's record; then the original's headers.
    """
    cause, most = _cause(owed, letter, original), min(MAX_HEADERS_BYTES, max_payload)
    if original is None:
        return _fitting({**cause, HEADER_LOST: "true"}, most), b""
    headers = _fitting({**_theirs(original.headers), **cause}, most)
    only_cause = _fitting({**cause, HEADER_LOST: "true"}, most)
    if measure_headers(headers) > most:
        headers = only_cause
    if measure_headers(headers) + len(original.payload) <= max_payload:
        return headers, original.payload
    headers = _fitting({**headers, HEADER_LOST: "true"}, most)
    return (headers if measure_headers(headers) <= most else only_cause), b""


def measure_headers(headers: Mapping[str, str]) -> int:
    """The bytes that headers take on the wire (NATS ADR-4)."""
    return 14 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


def _cause(owed: OutboxMessage, letter: DeadLetterCause, original: OriginalMessage | None) -> dict[str, str]:
    values: dict[str, str | int | None] = {
        "Code": letter.code,
        "Message": _shortened(letter.message),
        "Handler": letter.handler,
        "Generation": letter.generation,
        "Attempt": letter.attempt,
        "Sequence": owed.sequence,
        "Subject": redrive_headers.first_subject(original.subject, original.headers) if original else None,
        "Time": owed.at,
        "Task": letter.task,
    }
    return {
        DEAD_LETTER_PREFIX + name: encode_value(_storable(value))
        for name, value in values.items()
        if value is not None
    }


def _theirs(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not _is_ours(name)}


def _fitting(headers: dict[str, str], most: int) -> dict[str, str]:
    if measure_headers(headers) <= most or HEADER_DEAD_TASK not in headers:
        return headers
    return {
        **{name: value for name, value in headers.items() if name != HEADER_DEAD_TASK},
        HEADER_TASK_LOST: "true",
    }


def _storable(value: str | int) -> str | int:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _shortened(message: str) -> str:
    """At most 1 KiB when written as a header."""
    while len(encode_value(_storable(message))) > MAX_CAUSE_BYTES:
        message = message[: len(message) * 3 // 4] + "…"
    return message


def _is_ours(name: str) -> bool:
    # The broker acts on Nats- headers, and causes and redrives that the sender wrote are none.
    return name.lower().startswith(
        ("nats-", DEAD_LETTER_PREFIX.lower(), redrive_headers.REDRIVE_PREFIX.lower())
    )


def _headers(block: bytes) -> dict[str, str]:
    """The headers of a raw block: `NATS/1.0`, then one a line. Of a repeated name the last counts, as in nats-py."""
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            headers[name.strip().decode(errors="replace")] = value.strip().decode(errors="replace")
    return headers
