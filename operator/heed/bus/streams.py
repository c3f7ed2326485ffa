"""The two streams: made where they are missing, and checked, never changed, where they exist.

Whoever runs the broker may have made them with other limits, which is fine, or as something that loses events or
refuses what Heed does, which is not.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.bus.connection import ApiRefused, Connection
from heed.bus.subjects import covers
from heed.errors import BusUnavailable, StreamConflict
from heed.settings import StreamSettings

log = logging.getLogger(__name__)

NOT_FOUND: Final = 10059
NAME_IN_USE: Final = 10058
SUBJECTS_OVERLAP: Final = 10065
LOOK_EVERY: Final = 60.0
RETRY: Final = 5.0
_SECOND: Final = 1_000_000_000
# One reader per Agent is one consumer; from nats-server 2.15 on, a stream that says nothing takes no more than 1000.
MAX_CONSUMERS: Final = 100_000
_LIMITS: Final = (
    "max_consumers",
    "max_bytes",
    "max_age",
    "num_replicas",
    "duplicate_window",
    "storage",
    "discard",
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A field that must have one of the values. A field that is not there counts as the first of them."""

    field: str
    allowed: tuple[Any, ...]
    remedy: str


_RULES: Final = (
    _Rule(
        "retention",
        ("limits",),
        "every Agent reads for itself; delete the stream, or give Heed another broker",
    ),
    _Rule("mirror", (None,), "a mirror takes no events; connect Heed to the stream's origin"),
    _Rule("sealed", (False,), "a sealed stream takes no events; delete it"),
    _Rule("no_ack", (False,), "without acknowledgements events get lost; edit the stream"),
    _Rule("max_msgs_per_subject", (-1, 0), "it drops events that were not read yet; edit the stream"),
    _Rule("subject_transform", (None,), "subjects say who an event is for; edit the stream"),
)
# Who may publish anything at all could otherwise delete every event with a header, or have the server publish anywhere.
_NO_POWERS: Final = (
    _Rule("allow_msg_schedules", (False,), "publishers could reach every subject; make the stream anew"),
    _Rule("allow_rollup_hdrs", (False,), "publishers could delete all events; edit the stream"),
)


async def ensure_streams(connection: Connection, settings: StreamSettings) -> None:
    """Make or check both streams. Safe to run in several processes. Raises StreamConflict, BusUnavailable."""
    for wanted, rules in _wanted(settings):
        found = await _ensure(connection, wanted, rules)
        _compare(found or wanted, wanted)


async def keep_streams(connection: Connection, settings: StreamSettings) -> None:
    """Make streams again that went missing, until cancelled: look after every reconnection, and now and then.

    What else is wrong with a stream is logged, and stops nobody who has been able to use it so far.
    """
    changed = asyncio.Event()
    unwatch = connection.watch(changed.set)
    try:
        while True:
            changed.clear()
            kept = connection.is_connected and await _keep(connection, settings)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY if kept else RETRY):
                    await changed.wait()
    finally:
        unwatch()


async def _keep(connection: Connection, settings: StreamSettings) -> bool:
    """Whether it has been found out how the streams are."""
    try:
        for wanted, rules in _wanted(settings):
            if await _ensure(connection, wanted, rules) is None:
                lost = "what it held, and what was published since"
                log.warning(
                    "stream was missing and was made anew", extra={"stream": wanted["name"], "lost": lost}
                )
    except StreamConflict as error:
        log.error("stream cannot be used", extra={"error": str(error)})
    except Exception as error:  # also a mistake of ours: nobody would miss this
        known = isinstance(error, BusUnavailable)
        log.warning("cannot check the streams", extra={"error": str(error)}, exc_info=not known)
        return False
    return True


def _wanted(settings: StreamSettings) -> list[tuple[dict[str, Any], tuple[_Rule, ...]]]:
    return [(_events_stream(settings), (*_RULES, *_NO_POWERS)), (_dead_stream(settings), _RULES)]


async def _ensure(
    connection: Connection, wanted: dict[str, Any], rules: tuple[_Rule, ...]
) -> dict[str, Any] | None:
    """The configuration that was found, or None where the stream had to be made. Raises StreamConflict."""
    name = wanted["name"]
    found = await _config(connection, name)
    if found is None and (found := await _create(connection, wanted)) is None:
        return None
    _check(name, wanted, found, rules)
    return found


async def _config(connection: Connection, name: str) -> dict[str, Any] | None:
    try:
        info = await connection.api(f"STREAM.INFO.{name}")
    except ApiRefused as error:
        if error.err_code == NOT_FOUND:
            return None
        raise
    return dict(info["config"])


async def _create(connection: Connection, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Make a stream. Where someone was quicker, what they made."""
    name = wanted["name"]
    try:
        await connection.api(f"STREAM.CREATE.{name}", wanted)
    except ApiRefused as error:
        if error.err_code == SUBJECTS_OVERLAP:
            remedy = (
                "another stream takes some of them; see nats stream ls --subjects, and change or delete it"
            )
            subjects = json.dumps(wanted["subjects"])
            raise StreamConflict(f"stream {name}: subjects {subjects} overlap: {remedy}") from None
        if "consumers" in error.description and wanted["max_consumers"] > 0:
            return await _create(connection, {**wanted, "max_consumers": -1})  # the account allows fewer
        # Someone with other settings was quicker: theirs is as good as any that was there before.
        if error.err_code != NAME_IN_USE or (found := await _config(connection, name)) is None:
            raise
        return found
    log.info("stream created", extra={"stream": name})
    return None


def _check(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any], rules: tuple[_Rule, ...]) -> None:
    problems = [_problem(name, rule, found.get(rule.field, _absent(rule))) for rule in rules]
    subjects = found.get("subjects") or []
    for subject in wanted["subjects"]:
        if not any(covers(item, subject) for item in subjects):
            problem = (
                f"stream {name}: subjects are {json.dumps(subjects)}, wanted {subject}; add it to the stream"
            )
            problems.append(problem)
    if any(problems):
        raise StreamConflict("\n".join(filter(None, problems)))


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for field in _LIMITS:
        if found.get(field) != wanted[field]:
            extra = {
                "stream": wanted["name"],
                "field": field,
                "found": found.get(field),
                "wanted": wanted[field],
            }
            log.warning("stream has another limit, which is kept", extra=extra)


def _absent(rule: _Rule) -> Any:
    """The server leaves out fields that are false."""
    return False if rule.allowed == (True,) else rule.allowed[0]


def _problem(name: str, rule: _Rule, found: Any) -> str | None:
    if found in rule.allowed:
        return None
    return f"stream {name}: {rule.field} is {json.dumps(found)}, wanted {json.dumps(rule.allowed[0])}; {rule.remedy}"


def _events_stream(settings: StreamSettings) -> dict[str, Any]:
    stream = _stream(names.STREAM, names.STREAM_SUBJECTS, settings.max_bytes, settings.max_age, settings)
    return {**stream, "description": "Events of Heed's Agents"}


def _dead_stream(settings: StreamSettings) -> dict[str, Any]:
    limits = (settings.dead_max_bytes, settings.dead_max_age)
    stream = _stream(names.DEAD_STREAM, names.DEAD_STREAM_SUBJECTS, *limits, settings)
    return {**stream, "description": "Events that Heed's Agents could not decide"}


def _stream(
    name: str, subjects: tuple[str, ...], max_bytes: int, max_age: int, settings: StreamSettings
) -> dict[str, Any]:
    window = min(settings.duplicate_window, max_age) if max_age else settings.duplicate_window
    return {
        "name": name,
        "subjects": list(subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_consumers": MAX_CONSUMERS,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_bytes": max_bytes or -1,
        "max_age": max_age * _SECOND,
        "num_replicas": settings.replicas,
        "duplicate_window": window * _SECOND,
        "allow_direct": True,
    }
