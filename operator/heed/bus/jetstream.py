"""The event bus on NATS JetStream: opens readers, publishes events, and publishes outbox messages once."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import nats.errors

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.client.connection import ApiRefused, Connection, NotPermitted
from heed.bus.client.stored_messages import ERR_NO_MESSAGE, StoredMessages
from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache, check_cursor, missing_stream
from heed.bus.client.streams import ERR_STREAM_NOT_FOUND
from heed.bus.codec.cloudevents import STRUCTURED_HEADERS, encode
from heed.bus.codec.dead_letter import (
    MAX_HEADERS_BYTES,
    UNPUBLISHABLE,
    OriginalMessage,
    encode_dead_letter,
    measure_headers,
)
from heed.bus.codec.subject_patterns import merge_patterns
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID, PublishDedup
from heed.bus.consumer.pull import PullConsumer
from heed.bus.consumer.reader import CursorReader, decode_stored
from heed.bus.consumer.start import start_since
from heed.core.codec.cloudevents_json import parse_event
from heed.core.events import Event, MalformedMessage, Received
from heed.errors import BusUnavailable, MalformedEvent, ReaderLost

log = logging.getLogger(__name__)

ERRS_TOO_LARGE: Final = (10054, 10097)  # the stream's limit for messages, JetStream's for headers
CLOCK_SKEW: Final = timedelta(minutes=1)  # between the leaders of two streams
MAX_CONCURRENT_OPENS: Final = 16  # readers that are opened at the same time, also after a lost connection


@dataclass(frozen=True, slots=True)
class PubAck:
    """JetStream's publish acknowledgement. A duplicate was dropped; its sequence is that of the first one."""

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
        self._lookup = PublishDedup(connection)
        self._opening = asyncio.Semaphore(MAX_CONCURRENT_OPENS)
        self._surveyor = StreamBoundsCache(connection, stream)
        self._messages = StoredMessages(connection, stream)
        self._unreadable: int | None = None  # the epoch of the connection in which the stream may not be read

    @property
    def connection(self) -> Connection:
        """The connection that it works on."""
        return self._connection

    async def open(
        self, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> CursorReader:
        """Read `subjects` from sequence `after` + 1; where `after` is 0, from the stream time `since` (RFC 3339) on.

        `created` is the stream that `after` belongs to, where that is known. Raises StreamMissing, StreamReplaced,
        BusUnavailable.
        """
        filters = merge_patterns(subjects)
        try:
            bounds = await self._surveyor.fresh()
            check_cursor(self._stream, bounds, after, created)
            async with self._opening:
                start = _start(after) or await start_since(self._messages, filters, since, bounds.last)
                config = {"filter_subjects": filters, **start}
                pull = await PullConsumer.open(self._connection, self._stream, config, self._surveyor)
                await self._begin(pull, bounds, after)
        except ApiRefused as error:
            raise missing_stream(self._stream) if error.err_code == ERR_STREAM_NOT_FOUND else error from None
        exact = set(filters) <= set(subjects)
        return CursorReader(pull, self._surveyor, self._messages, bounds.created, subjects, exact=exact)

    async def _begin(self, pull: PullConsumer, bounds: StreamBounds, after: int) -> None:
        try:
            if pull.floor < after:
                lagging = f"a replica of stream {self._stream} lags behind; trying again will help"
                raise BusUnavailable(lagging)
            await pull.begin(self._surveyor, bounds)
        except ReaderLost as error:
            await pull.close()
            raise BusUnavailable(str(error)) from error
        except BaseException:
            await pull.close()
            raise

    async def bounds(self) -> tuple[int, int]:
        """The first and the last sequence of the stream, as of a second ago at most. Raises as `open`."""
        bounds = await self._surveyor.recent()
        return bounds.first, bounds.last

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> list[Received | None]:
        """The messages at the first of these places, in order; None where the stream has dropped one.

        That is all of them, or as many as may be held at once; one at least. `created` is the stream that
        the places belong to, where that is known. Raises StreamMissing, StreamReplaced, BusUnavailable.
        """
        if not sequences:
            return []
        try:
            found = await self._messages.get_first(sequences)
        except ApiRefused as error:
            raise missing_stream(self._stream) if error.err_code == ERR_STREAM_NOT_FOUND else error from None
        # Had the stream been replaced before it was asked for them, it would still be another one now.
        last = 0 if created else max(sequences)
        check_cursor(self._stream, await self._surveyor.fresh(), last, created)
        return [
            None if item is None else decode_stored(sequence, item[1], item[0])
            for sequence, item in zip(sequences, found, strict=False)
        ]

    async def last(self, subject: str) -> Event | MalformedMessage | None:
        """The last event on a subject; None where the subject is empty. Raises BusUnavailable."""
        found = await self._messages.last(subject)
        return None if found is None else decode_stored(found[0], "", found[1]).event

    async def publish(self, subject: str, event: Event, *, deduplicate: bool = True) -> int:
        """Publish an event and return its stream sequence. Raises BusUnavailable, MalformedEvent.

        An event's id is unique only within its source, and the same event may be sent to several Agents' inboxes:
        the Nats-Msg-Id is a digest of subject, source and id.
        """
        return (await self.send(subject, event, deduplicate=deduplicate)).sequence

    async def send(self, subject: str, event: Event, *, deduplicate: bool = True) -> PubAck:
        """Publish an event and return the broker's acknowledgement. Raises as `publish`."""
        headers, payload = encode(event)
        if deduplicate:
            headers[HEADER_MESSAGE_ID] = message_id(subject, event)
        return await self.store(subject, headers, payload)

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        """Publish a message of an outbox. Raises BusUnavailable, and MalformedEvent for what holds no event.

        An event that the broker can never take ends as a dead letter of the Agent that emitted it.
        """
        if owed.letter is not None:
            if not (look_first and await self._is_dead(id, owed)):
                found = await self._messages.get(owed.sequence)
                await self._store_letter(id, owed, owed.letter, found[0] if found else None)
            return
        event = parse_event((owed.event or "").encode(), f"{id} in the outbox is not JSON")
        start = owed.sequence + 1
        if look_first and await self._lookup.stored(
            self._stream, owed.subject, start, message_id(owed.subject, event)
        ):
            return
        try:
            await self.publish(owed.subject, event)
        except MalformedEvent as error:
            agent = names.agent_of_source(event.source)
            if agent is None or agent[0] != names.namespace_of_subject(owed.subject):
                raise
            await self._bury(id, replace(owed, subject=names.dead_subject(*agent)), owed, error, look_first)

    async def _bury(
        self, id: str, grave: OutboxMessage, owed: OutboxMessage, error: MalformedEvent, look_first: bool
    ) -> None:
        """Store the dead letter of an event that can never be published; also under an id that derives."""
        letter_id = names.digest("unpublishable", id)
        if look_first and await self._is_dead(letter_id, grave):
            return
        extra = {"subject": owed.subject, "sequence": owed.sequence, "id": id, "error": str(error)}
        log.error("event cannot be published, dead-lettered", extra=extra)
        original = OriginalMessage(owed.subject, STRUCTURED_HEADERS, (owed.event or "").encode())
        await self._store_letter(letter_id, grave, DeadLetterCause(UNPUBLISHABLE, str(error)), original)

    async def _is_dead(self, id: str, owed: OutboxMessage) -> bool:
        return await self._lookup.stored(self._dead_stream, owed.subject, _earlier(owed.at), id)

    async def _store_letter(
        self, id: str, owed: OutboxMessage, letter: DeadLetterCause, original: OriginalMessage | None
    ) -> None:
        most = self._connection.max_payload - len(HEADER_MESSAGE_ID + id) - 4
        headers, payload = encode_dead_letter(owed, letter, original, most)
        await self.store(owed.subject, {**headers, HEADER_MESSAGE_ID: id}, payload)

    async def store(self, subject: str, headers: dict[str, str], payload: bytes) -> PubAck:
        """Publish raw headers and payload. Raises BusUnavailable, MalformedEvent where the broker can never take it."""
        # A message beyond the limit would make the broker end the connection.
        size, most = measure_headers(headers), self._connection.max_payload
        if size > MAX_HEADERS_BYTES or size + len(payload) > most:
            message = (
                f"{size} bytes of attributes and {len(payload)} bytes of data are more than the broker takes"
            )
            raise MalformedEvent(
                f"{message} ({MAX_HEADERS_BYTES} and {most} in all); send a reference to the data instead"
            )
        try:
            reply = await self._connection.request(subject, payload, headers)
        except BusUnavailable as error:
            if isinstance(error.__cause__, nats.errors.BadSubjectError | nats.errors.BadHeaderError):
                raise MalformedEvent(f"cannot be published on {subject!r}: {error}") from None
            raise
        try:
            stored = _stored(subject, reply.data)
        except ApiRefused:
            self._connection.errors["refused"] += 1
            raise
        if stored.duplicate and (why := await self._why_not_stored(stored, subject)):
            log.warning(why, extra={"subject": subject})
            others = {name: value for name, value in headers.items() if name != HEADER_MESSAGE_ID}
            return await self.store(subject, others, payload)
        return stored

    async def _why_not_stored(self, duplicate: PubAck, subject: str) -> str | None:
        """Why a message that the broker dropped as a duplicate is not in the stream; None where it is.

        Ids count in the whole stream, for everybody, and outlive a message that was purged, deleted or dropped.
        """
        epoch = self._connection.epoch
        if self._unreadable == epoch:
            return None
        try:
            first = await self._connection.api(
                f"STREAM.MSG.GET.{duplicate.stream}", {"seq": duplicate.sequence}
            )
        except NotPermitted:  # a publisher, who is told that it is a duplicate, and not of what
            self._unreadable = epoch
            return None
        except ApiRefused as error:
            if error.err_code != ERR_NO_MESSAGE:
                raise
            return "a message id outlived its message"
        taken = first["message"]["subject"] != subject
        return "a message id was taken on another subject" if taken else None


def message_id(subject: str, event: Event) -> str:
    """The Nats-Msg-Id of an event on a subject."""
    return names.digest(subject, event.source, event.id)


def _stored(subject: str, answer: bytes) -> PubAck:
    try:
        ack: Mapping[str, Any] = json.loads(answer)
    except ValueError:
        raise BusUnavailable(f"no stream confirmed the message on {subject}") from None
    if (error := ack.get("error")) is not None:
        refused = ApiRefused(subject, error)
        if refused.err_code in ERRS_TOO_LARGE:
            raise MalformedEvent(f"{refused}; send a reference to the data instead")
        raise refused
    return PubAck(str(ack["stream"]), int(ack["seq"]), bool(ack.get("duplicate")))


def _start(after: int) -> dict[str, Any]:
    """The start of a consumer behind a cursor; nothing where there is none yet."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1} if after else {}


def _earlier(time: str) -> str:
    """A while before a stream time, in the stream times' own format."""
    earlier = datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None) - CLOCK_SKEW
    return earlier.isoformat(timespec="microseconds") + "Z"
