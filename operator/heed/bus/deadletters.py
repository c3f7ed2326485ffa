"""Dead letters: the original message, unchanged, with its cause in headers, to be understood and redriven."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.status import Letter, Owed
from heed.bus.cloudevents import encode_value

PREFIX: Final = "Heed-Dead-"
LOST: Final = "Heed-Dead-Lost"
TASK: Final = "Heed-Dead-Task"
TASK_LOST: Final = "Heed-Dead-Task-Lost"
MAX_MESSAGE: Final = 1024
MAX_HEADERS: Final = 65_535  # JetStream's own limit


@dataclass(frozen=True, slots=True)
class Original:
    """A message as its stream holds it."""

    subject: str
    headers: dict[str, str]
    payload: bytes


def read_original(message: Mapping[str, Any]) -> Original:
    """The message in an answer of STREAM.MSG.GET."""
    block = base64.b64decode(message.get("hdrs") or b"")
    return Original(message["subject"], _headers(block), base64.b64decode(message.get("data") or b""))


def dead_letter(
    owed: Owed, letter: Letter, original: Original | None, max_payload: int
) -> tuple[dict[str, str], bytes]:
    """Headers and payload of the letter. What does not fit is left out, and a header says so.

    First the payload goes, as the headers tell what the event was; then a task's record; then the original's headers.
    """
    cause = _cause(owed, letter, original)
    if original is None:
        return _fitting({**cause, LOST: "true"}), b""
    theirs = {name: value for name, value in original.headers.items() if not _is_ours(name)}
    headers = _fitting({**theirs, **cause})
    if size_of(headers) > MAX_HEADERS:
        headers = {**_fitting(cause), LOST: "true"}
    if size_of(headers) + len(original.payload) > max_payload:
        return _fitting({**headers, LOST: "true"}), b""
    return headers, original.payload


def size_of(headers: Mapping[str, str]) -> int:
    """The bytes that headers take on the wire (ADR-4)."""
    return 14 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


def _cause(owed: Owed, letter: Letter, original: Original | None) -> dict[str, str]:
    values: dict[str, str | int | None] = {
        "Code": letter.code,
        "Message": _shortened(letter.message),
        "Handler": letter.handler,
        "Generation": letter.generation,
        "Sequence": owed.sequence,
        "Subject": original.subject if original else None,
        "Time": owed.at,
        "Task": letter.task,
    }
    return {
        PREFIX + name: encode_value(_storable(value)) for name, value in values.items() if value is not None
    }


def _fitting(headers: dict[str, str]) -> dict[str, str]:
    if size_of(headers) <= MAX_HEADERS or TASK not in headers:
        return headers
    return {**{name: value for name, value in headers.items() if name != TASK}, TASK_LOST: "true"}


def _storable(value: str | int) -> str | int:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _shortened(message: str) -> str:
    """At most 1 KiB when written as a header."""
    while len(encode_value(_storable(message))) > MAX_MESSAGE:
        message = message[: len(message) * 3 // 4] + "…"
    return message


def _is_ours(name: str) -> bool:
    # The broker acts on Nats- headers, and causes that the sender wrote are none.
    return name.lower().startswith(("nats-", PREFIX.lower()))


def _headers(block: bytes) -> dict[str, str]:
    """`NATS/1.0`, then one header a line. Of a name that comes twice the client knows only one, so it is with us."""
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            headers[name.strip().decode(errors="replace")] = value.strip().decode(errors="replace")
    return headers
