"""Renders dead letters: as table rows, in full, and as data."""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from heed import names
from heed.bus.codec.cloudevents import decode, event_to_json
from heed.bus.codec.dead_letter import HEADER_LOST, OriginalMessage, original_message
from heed.bus.dead_letters import DeadLetterEntry
from heed.cli.output import paint
from heed.cli.prog_name import program_name
from heed.core.events import Event, MalformedMessage
from heed.util.terminal import visible

TABLE_HEADERS: Final = ("ID", "AGE", "AGENT", "TYPE", "CODE", "HANDLER", "ATTEMPT", "REDRIVEN")
MAX_SHOWN_CHARS: Final = 10_000  # characters of one event's data in front of people
_WIDTH: Final = 16


def letter_row(found: DeadLetterEntry, now: datetime) -> list[str]:
    """The cells of a letter in a table."""
    letter, mark = found.letter, found.mark
    cells = (
        str(letter.id),
        format_age(letter.at, now),
        f"{letter.namespace}/{letter.agent}",
        letter.type or "?",
        letter.cause("Code") or "?",
        letter.cause("Handler") or "-",
        str(letter.attempt),
        f"{format_age(mark.at, now)} ago" if mark else "-",
    )
    return [one_line(cell) for cell in cells]


def summarize_letter(found: DeadLetterEntry) -> dict[str, Any]:
    """A letter as data, without its event."""
    letter, mark = found.letter, found.mark
    return {
        "id": letter.id,
        "time": letter.at,
        "namespace": letter.namespace,
        "agent": letter.agent,
        "type": letter.type,
        "code": letter.cause("Code"),
        "message": letter.cause("Message"),
        "handler": letter.cause("Handler"),
        "generation": letter.number("Generation"),
        "attempt": letter.attempt,
        "sequence": letter.number("Sequence"),
        "subject": letter.cause("Subject"),
        "eventTime": letter.cause("Time"),
        "redriven": {"sequence": mark.sequence, "time": mark.at} if mark else None,
        "refusal": letter.refusal,
    }


def describe_letter(found: DeadLetterEntry) -> dict[str, Any]:
    """A letter as data, in full. What cannot be read as an event is included raw."""
    event, original = _read(found)
    document: dict[str, Any] = {
        **summarize_letter(found),
        "task": _task(found),
        "event": None,
        "malformed": None,
    }
    if isinstance(event, Event):
        return {**document, "event": event_to_json(event)}
    document["malformed"] = {"code": event.code, "message": event.message}
    document["headers"] = original.headers
    document["payload_base64"] = base64.b64encode(original.payload).decode()
    return document


def show_letter(found: DeadLetterEntry, now: datetime) -> None:
    """Print a letter in full as text."""
    letter, (event, original) = found.letter, _read(found)
    click.echo(
        paint(f"Dead letter {letter.id} of {one_line(f'{letter.namespace}/{letter.agent}')}", bold=True)
    )
    _section("Cause", _cause(found, now))
    if isinstance(event, Event):
        attributes = {
            name: value for name, value in event_to_json(event).items() if not name.startswith("data")
        }
        kind = {"datacontenttype": event.datacontenttype} if event.datacontenttype else {}
        _section("Event", (attributes | kind).items())
        _block("Data", _lost if HEADER_LOST in letter.headers else _data(event.data))
    else:
        _section("Headers", original.headers.items())
        _block("Payload", _lost if HEADER_LOST in letter.headers else _data(original.payload))
    if (task := _task(found)) is not None:
        _block("Task", _data(task))
    click.echo(f"\n{_next(found)}")


def format_age(time: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in its largest unit; `?` where it is none."""
    try:
        seconds = int((now - datetime.fromisoformat(time).astimezone(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return "?"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def one_line(text: str) -> str:
    """A text from outside, escaped for use within one line."""
    return visible(text).replace("\t", "\\t").replace("\n", "\\n")


def _read(found: DeadLetterEntry) -> tuple[Event | MalformedMessage, OriginalMessage]:
    original = original_message(found.letter)
    return decode(original.headers, original.payload, original.subject), original


def _task(found: DeadLetterEntry) -> Any:
    text = found.letter.cause("Task")
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _cause(found: DeadLetterEntry, now: datetime) -> Iterator[tuple[str, Any]]:
    letter, mark = found.letter, found.mark
    for name in ("Code", "Message", "Handler", "Generation"):
        yield name.lower(), letter.cause(name)
    yield "attempt", letter.attempt
    yield "event", f"{names.STREAM} {letter.cause('Sequence')} on {letter.cause('Subject')}"
    yield "time", letter.cause("Time")
    yield "letter", f"{letter.at} ({format_age(letter.at, now)} ago)"
    yield "redriven", f"as {names.STREAM} {mark.sequence} at {mark.at}" if mark else "no"


def _section(title: str, pairs: Iterable[tuple[str, Any]]) -> None:
    click.echo(f"\n{paint(title, bold=True)}")
    for name, value in pairs:
        if value is not None:
            click.echo(f"  {one_line(name):<{_WIDTH}}  {one_line(str(value))}")


def _block(title: str, text: str) -> None:
    click.echo(f"\n{paint(title, bold=True)}")
    rest = len(text) - MAX_SHOWN_CHARS
    for part in visible(text[:MAX_SHOWN_CHARS]).split("\n"):
        click.echo(f"  {part}".rstrip())
    if rest > 0:
        click.echo(f"  … {rest} more characters; -o json shows all")


_lost: Final = "not kept: it did not fit into the letter"


def _data(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode() or "none"
        except UnicodeDecodeError:
            return f"{len(value)} bytes: {value[:MAX_SHOWN_CHARS].hex(' ')}"
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _next(found: DeadLetterEntry) -> str:
    letter = found.letter
    if found.mark is not None:
        return f"It was redriven already. {program_name()} dead drop --id {letter.id} removes it."
    if letter.refusal is not None:
        return f"It cannot be redriven: {letter.refusal}."
    return f"When its cause is mended: {program_name()} dead redrive --id {letter.id}"
