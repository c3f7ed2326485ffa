"""The streams of events and dead letters: created where missing; checked, never changed, where they exist.

An administrator may have created them with other limits, which is fine, or with a configuration that loses events
or refuses what Heed does, which is not.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from heed import names
from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.client.stream_rules import (
    PUBLISHER_RULES,
    STREAM_RULES,
    StreamFlaw,
    StreamRule,
    find_flaws,
    find_refusals,
)
from heed.errors import BusUnavailable, StreamConflict
from heed.settings import StreamSettings

log = logging.getLogger(__name__)

ERR_STREAM_NOT_FOUND: Final = 10059
ERR_STREAM_NAME_IN_USE: Final = 10058
ERR_SUBJECTS_OVERLAP: Final = 10065
CHECK_INTERVAL_S: Final = 15.0
RETRY_DELAY_S: Final = 5.0
MIN_SERVER_VERSION: Final = (2, 14)
MIN_PAYLOAD_BYTES: Final = 8192  # bytes; less holds no dead letter's cause beside the headers of an event
RECOMMENDED_PAYLOAD_BYTES: Final = 256 * 1024  # bytes; an emitted event may have 192 KiB
_SECOND_NS: Final = 1_000_000_000
# One reader per Agent is one consumer; from nats-server 2.15 on, a stream that says nothing takes no more than 1000.
MAX_CONSUMERS: Final = 100_000
_COMPARED_FIELDS: Final = (
    "max_consumers",
    "max_bytes",
    "max_age",
    "num_replicas",
    "duplicate_window",
    "storage",
    "discard",
)


async def ensure_streams(connection: Connection, settings: StreamSettings) -> None:
    """Create or check both streams. Idempotent across processes. Raises StreamConflict, BusUnavailable."""
    check_broker(connection)
    for wanted, rules in _wanted(settings):
        info = await _ensure(connection, wanted)
        config = wanted if info is None else info["config"]
        if found := find_flaws(wanted, config, rules):
            raise StreamConflict("\n".join(map(str, found)))
        _compare(config, wanted)


def check_broker(connection: Connection) -> None:
    """Warn of an old version and of a small max_payload; raise StreamConflict for a max_payload that is too small."""
    version, most = connection.server_version, connection.max_payload
    extra: dict[str, Any] = {"url": connection.url}
    if version and version < MIN_SERVER_VERSION:
        older = {
            "version": ".".join(map(str, version)),
            "wanted": ".".join(map(str, MIN_SERVER_VERSION)) + " or newer",
        }
        log.warning("nats-server is older than Heed is tested with; upgrade it", extra={**extra, **older})
    if most < MIN_PAYLOAD_BYTES:
        raise StreamConflict(
            f"the broker takes messages of {most} bytes at most, and Heed needs {MIN_PAYLOAD_BYTES}; "
            "raise its max_payload"
        )
    if most < RECOMMENDED_PAYLOAD_BYTES:
        sizes = {"max_payload": most, "wanted": RECOMMENDED_PAYLOAD_BYTES}
        log.warning(
            "the broker takes less than Agents may emit; raise its max_payload", extra={**extra, **sizes}
        )


async def keep_streams(
    connection: Connection, settings: StreamSettings, found: Callable[[Sequence[StreamFlaw]], None]
) -> None:
    """Recreate streams that go missing, until cancelled: checks after every reconnect and every CHECK_INTERVAL_S.

    `found` is called after every check with the flaws of existing ones, which stop no running Agent.
    """
    changed = asyncio.Event()
    unwatch = connection.watch(changed.set)
    try:
        while True:
            changed.clear()
            kept = connection.is_connected and await _keep(connection, settings, found)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_S if kept else RETRY_DELAY_S):
                    await changed.wait()
    finally:
        unwatch()


async def _keep(
    connection: Connection, settings: StreamSettings, found: Callable[[Sequence[StreamFlaw]], None]
) -> bool:
    """Check once. Returns whether the check could be made."""
    try:
        wrong: list[StreamFlaw] = []
        for wanted, rules in _wanted(settings):
            wrong += await _look(connection, wanted, rules)
        found(wrong)
    except StreamConflict as error:  # a stream that is missing cannot be made
        log.error("stream cannot be made", extra={"error": str(error)})
    except Exception as error:  # a bug, too: the task would end unnoticed
        known = isinstance(error, BusUnavailable)
        log.warning("cannot check the streams", extra={"error": str(error)}, exc_info=not known)
        return False
    return True


async def _look(
    connection: Connection, wanted: Mapping[str, Any], rules: Sequence[StreamRule]
) -> Sequence[StreamFlaw]:
    """What is wrong with a stream, which is made where it is missing. Raises StreamConflict, BusUnavailable."""
    name = wanted["name"]
    if (info := await _ensure(connection, wanted)) is None:
        lost = "what it held, and what was published since"
        log.warning("stream was missing and was created again", extra={"stream": name, "lost": lost})
        return ()
    wrong = (*find_flaws(wanted, info["config"], rules), *find_refusals(name, info["config"], info["state"]))
    for flaw in wrong:
        log.error("stream loses or refuses events", extra={"error": str(flaw)})
    return wrong


def _wanted(settings: StreamSettings) -> list[tuple[dict[str, Any], tuple[StreamRule, ...]]]:
    return [
        (_events_stream(settings), (*STREAM_RULES, *PUBLISHER_RULES)),
        (_dead_stream(settings), STREAM_RULES),
    ]


async def _ensure(connection: Connection, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """A stream's info, or None where it had to be created. Raises StreamConflict, BusUnavailable."""
    found = await _info(connection, wanted["name"])
    return await _create(connection, wanted) if found is None else found


async def _info(connection: Connection, name: str) -> dict[str, Any] | None:
    try:
        return await connection.api(f"STREAM.INFO.{name}")
    except ApiRefused as error:
        if error.err_code == ERR_STREAM_NOT_FOUND:
            return None
        raise


async def _create(connection: Connection, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Create a stream. Returns the existing one's info where another process was quicker, else None."""
    name = wanted["name"]
    try:
        await connection.api(f"STREAM.CREATE.{name}", wanted)
    except ApiRefused as error:
        if error.err_code == ERR_SUBJECTS_OVERLAP:
            remedy = (
                "another stream takes some of them; see nats stream ls --subjects, and change or delete it"
            )
            subjects = json.dumps(wanted["subjects"])
            raise StreamConflict(f"stream {name}: subjects {subjects} overlap: {remedy}") from None
        if "consumers" in error.description and wanted["max_consumers"] > 0:
            return await _create(connection, {**wanted, "max_consumers": -1})  # the account allows fewer
        # A process with other settings was quicker: its stream is as good as one that existed before.
        if error.err_code != ERR_STREAM_NAME_IN_USE or (found := await _info(connection, name)) is None:
            raise
        return found
    log.info("stream created", extra={"stream": name})
    return None


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for field in _COMPARED_FIELDS:
        if found.get(field) != wanted[field]:
            extra = {
                "stream": wanted["name"],
                "field": field,
                "found": found.get(field),
                "wanted": wanted[field],
            }
            log.warning("stream has another limit, which is kept", extra=extra)


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
        "max_age": max_age * _SECOND_NS,
        "num_replicas": settings.replicas,
        "duplicate_window": window * _SECOND_NS,
        "allow_direct": True,
    }
