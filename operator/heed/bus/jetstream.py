"""The event bus on NATS JetStream: opens readers, publishes events, and pays what an outbox owes, once."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import nats.errors

from heed import names
from heed.api.status import Letter, Owed
from heed.bus.cloudevents import encode
from heed.bus.connection import ApiRefused, Connection
from heed.bus.deadletters import MAX_HEADERS, Original, dead_letter, read_original, size_of
from heed.bus.lookup import MESSAGE_ID, Lookup
from heed.bus.pulling import Pull
from heed.bus.reader import CursorReader
from heed.bus.subjects import disjoint
from heed.core.cloudevents import parse_event
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent, StreamConflict

log = logging.getLogger(__name__)

NO_MESSAGE: Final = 10037
TOO_LARGE: Final = (10054, 10097)  # the stream's limit for messages, JetStream's for headers
CLOCK_SKEW: Final = timedelta(minutes=1)  # between the leaders of two streams
OPENING: Final = 64  # consumers that are made at the same time


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a message stands in its stream; a duplicate was dropped, and stands where the first one does."""

    stream: str
    sequence: int
    duplicate: bool


class JetStreamBus:
    """Implements `ports.EventBus`; one for all Agents of a process."""

    def __init__(
        self, connection: Connection, stream: str = names.STREAM, dead: str = names.DEAD_STREAM
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._dead_stream = dead
        self._lookup = Lookup(connection)
        self._opening = asyncio.Semaphore(OPENING)
        self._asking = asyncio.Lock()
        self._last = 0
        self._last_until = 0.0

    async def open(self, subjects: Sequence[str], after: int, since: str) -> CursorReader:
        """Read `subjects` from sequence `after` + 1; where `after` is 0, from the stream time `since` (RFC 3339) on.

        Raises BusUnavailable, and StreamConflict where the stream ends before `after` (it was made anew).
        """
        filters = disjoint(subjects)
        config = {"filter_subjects": filters, **_start(after, since)}
        async with self._opening:
            pull = await Pull.open(self._connection, self._stream, config)
        if after:
            try:
                await self._check_place(pull, after)
            except BaseException:
                await pull.close()
                raise
        return CursorReader(pull, () if set(filters) <= set(subjects) else subjects)

    async def publish(self, subject: str, event: Event, *, deduplicate: bool = True) -> int:
        """Publish an event and return its stream sequence. Raises BusUnavailable, MalformedEvent.

        An event's id is unique only within its source, and the same event may be sent to several Agents' inboxes:
        the Nats-Msg-Id is a digest of subject, source and id.
        """
        return (await self.send(subject, event, deduplicate=deduplicate)).sequence

    async def send(self, subject: str, event: Event, *, deduplicate: bool = True) -> Stored:
        """Publish an event and return all that the broker says of it. Raises as `publish`."""
        headers, payload = encode(event)
        if deduplicate:
            headers[MESSAGE_ID] = message_id(subject, event)
        return await self._store(subject, headers, payload)

    async def publish_owed(self, id: str, owed: Owed, *, look_first: bool) -> None:
        """Publish a message of an outbox. Raises BusUnavailable, and MalformedEvent for what can never be published."""
        if owed.letter is not None:
            await self._publish_letter(id, owed, owed.letter, look_first)
            return
        event = parse_event((owed.event or "").encode(), f"{id} in the outbox is not JSON")
        start = owed.sequence + 1
        if look_first and await self._lookup.stored(
            self._stream, owed.subject, start, message_id(owed.subject, event)
        ):
            return
        await self.publish(owed.subject, event)

    async def _publish_letter(self, id: str, owed: Owed, letter: Letter, look_first: bool) -> None:
        start = _earlier(owed.at)
        if look_first and await self._lookup.stored(self._dead_stream, owed.subject, start, id):
            return
        original = await self._original(owed.sequence)
        headers, payload = dead_letter(
            owed, letter, original, self._connection.max_payload - len(MESSAGE_ID + id) - 4
        )
        await self._store(owed.subject, {**headers, MESSAGE_ID: id}, payload)

    async def _original(self, sequence: int) -> Original | None:
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", {"seq": sequence})
        except ApiRefused as error:
            if error.err_code == NO_MESSAGE:
                return None
            raise
        return read_original(answer["message"])

    async def _store(self, subject: str, headers: dict[str, str], payload: bytes) -> Stored:
        # A message beyond the limit would make the broker end the connection.
        size, most = size_of(headers), self._connection.max_payload
        if size > MAX_HEADERS or size + len(payload) > most:
            message = (
                f"{size} bytes of attributes and {len(payload)} bytes of data are more than the broker takes"
            )
            raise MalformedEvent(
                f"{message} ({MAX_HEADERS} and {most} in all); send a reference to the data instead"
            )
        try:
            reply = await self._connection.request(subject, payload, headers)
        except BusUnavailable as error:
            if isinstance(error.__cause__, nats.errors.BadSubjectError | nats.errors.BadHeaderError):
                raise MalformedEvent(f"cannot be published on {subject!r}: {error}") from None
            raise
        stored = _stored(subject, reply.data)
        if stored.duplicate and await self._taken(stored, subject):
            log.warning("a message id was taken on another subject", extra={"subject": subject})
            others = {name: value for name, value in headers.items() if name != MESSAGE_ID}
            return await self._store(subject, others, payload)
        return stored

    async def _taken(self, stored: Stored, subject: str) -> bool:
        """Whether the message that is said to be ours is another's: ids count in the whole stream, for everybody."""
        first = await self._connection.api(f"STREAM.MSG.GET.{stored.stream}", {"seq": stored.sequence})
        return bool(first["message"]["subject"] != subject)

    async def _check_place(self, pull: Pull, after: int) -> None:
        """The server takes any start: also one that has expired, and one beyond the end of a stream made anew."""
        if pull.floor > after:
            extra = {"stream": self._stream, "cursor": after, "expired": pull.floor - after}
            log.info("the stream begins after the cursor", extra=extra)
        elif pull.floor < after or not pull.pending:
            if (last := await self._last_sequence(after)) < after:
                raise StreamConflict(
                    f"stream {self._stream} ends at {last}, but {after} was read from it: it was made anew or "
                    "restored; restore the right one, or reset the Agent's status.cursor"
                )
            if pull.floor < after:
                raise BusUnavailable(
                    f"a replica of stream {self._stream} lags behind; trying again will help"
                )

    async def _last_sequence(self, after: int) -> int:
        """The stream's last sequence. All readers ask at once: it may be a second old, but not before `after`."""
        clock = asyncio.get_running_loop().time
        async with self._asking:
            if self._last < after or clock() >= self._last_until:
                self._last_until = clock() + 1
                self._last = int(
                    (await self._connection.api(f"STREAM.INFO.{self._stream}"))["state"]["last_seq"]
                )
            return self._last


def message_id(subject: str, event: Event) -> str:
    """The Nats-Msg-Id of an event on a subject."""
    return names.digest(subject, event.source, event.id)


def _stored(subject: str, answer: bytes) -> Stored:
    try:
        ack: Mapping[str, Any] = json.loads(answer)
    except ValueError:
        raise BusUnavailable(f"no stream confirmed the message on {subject}") from None
    if (error := ack.get("error")) is not None:
        refused = ApiRefused(subject, error)
        if refused.err_code in TOO_LARGE:
            raise MalformedEvent(f"{refused}; send a reference to the data instead")
        raise refused
    return Stored(str(ack["stream"]), int(ack["seq"]), bool(ack.get("duplicate")))


def _start(after: int, since: str) -> dict[str, Any]:
    if after:
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    return {"deliver_policy": "by_start_time", "opt_start_time": since}


def _earlier(time: str) -> str:
    """A while before a stream time, in the stream times' own format."""
    earlier = datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None) - CLOCK_SKEW
    return earlier.isoformat(timespec="microseconds") + "Z"
