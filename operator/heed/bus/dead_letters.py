"""The dead letters of a broker: finding them, sending them again, dropping them.

A redrive is a message on the Agent's redrive subject, and then a mark beside the letter. Both have derived ids, and
what was sent and not marked is looked for before anything is sent: however often a redrive is broken off and repeated,
a letter is sent once.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from heed import names
from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.client.stored_messages import StoredMessages
from heed.bus.client.streams import ERR_STREAM_NOT_FOUND
from heed.bus.codec.dead_letter import (
    DEAD_LETTER_PREFIX,
    DeadLetter,
    OriginalMessage,
    parse_number,
    redriven_message,
)
from heed.bus.codec.subject_patterns import covers
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.consumer.pull import PULL_BATCH, PullConsumer, PulledMessage
from heed.bus.consumer.reader import format_stream_time
from heed.bus.jetstream import JetStreamBus
from heed.errors import BusUnavailable, MalformedEvent, ReaderLost, StreamConflict, StreamMissing
from heed.util.clock import timestamp

HEADER_LETTER_SEQUENCE: Final = DEAD_LETTER_PREFIX + "Letter"
HEADER_REDRIVEN_SEQUENCE: Final = DEAD_LETTER_PREFIX + "Redriven-Sequence"
HEADER_REDRIVEN_TIME: Final = DEAD_LETTER_PREFIX + "Redriven-Time"
SCAN_STALL_TIMEOUT_S: Final = 5.0
ERR_MESSAGE_GONE: Final = 10057  # of a message that is to be deleted

RedriveState = Literal["redriven", "already", "refused", "failed", "planned"]


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects dead letters by namespace, Agent, code and state. A field that is None or empty selects all."""

    namespace: str | None = None
    agent: str | None = None
    codes: Collection[str] = ()
    redriven: bool | None = None

    @property
    def subject_tokens(self) -> str:
        """The namespace and Agent tokens of a subject pattern, `*` where any."""
        return f"{self.namespace or '*'}.{self.agent or '*'}"

    def matches(self, letter: DeadLetter, mark: "RedriveMark | None") -> bool:
        """Whether a letter is selected."""
        return (
            self.namespace in (None, letter.namespace)
            and self.agent in (None, letter.agent)
            and (not self.codes or letter.cause("Code") in self.codes)
            and self.redriven in (None, mark is not None)
        )


@dataclass(frozen=True, slots=True)
class RedriveMark:
    """The marker of a redriven letter: its own sequence, that of the redriven event, and when (RFC 3339)."""

    id: int
    sequence: int
    at: str


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A dead letter with its redrive marker, if it has one."""

    letter: DeadLetter
    mark: RedriveMark | None


@dataclass(frozen=True, slots=True)
class RedriveOutcome:
    """The result of redriving one letter. `sequence` is the redriven event's in its stream."""

    letter: DeadLetter
    state: RedriveState
    sequence: int | None = None
    reason: str | None = None


class DeadLetterStore:
    """Finds, redrives and drops a broker's dead letters. All but `redrive` raise BusUnavailable, StreamMissing."""

    def __init__(
        self, connection: Connection, stream: str = names.STREAM, dead: str = names.DEAD_STREAM
    ) -> None:
        self._connection = connection
        self._bus = JetStreamBus(connection)  # only stores: whichever stream takes a message's subject
        self._messages = StoredMessages(connection, dead)
        self._stream, self._dead = stream, dead

    async def find(
        self, selection: DeadLetterFilter, *, payloads: bool = False
    ) -> AsyncGenerator[list[DeadLetterEntry]]:
        """The selected letters, in batches, oldest first; with their data only with `payloads`."""
        marks = await self._marks(selection)
        subject = f"heed-dead.{selection.subject_tokens}"
        async with aclosing(self._read(self._dead, subject, headers_only=not payloads)) as batches:
            async for arrivals in batches:
                letters = [_letter(item) for item in arrivals]
                yield [
                    DeadLetterEntry(letter, mark)
                    for letter in letters
                    if selection.matches(letter, mark := marks.get(letter.id))
                ]

    async def get(self, ids: Sequence[int]) -> list[DeadLetterEntry | None]:
        """The letters with these ids, in the same order; None for one that does not exist or is no letter."""
        try:
            messages = await self._messages.get_all(ids)
        except ApiRefused as error:
            raise self._missing(self._dead, error) from None
        letters = [message and _stored(id_, *message) for id_, message in zip(ids, messages, strict=True)]
        owners = {(letter.namespace, letter.agent) for letter in letters if letter}
        marks: dict[int, RedriveMark] = {}
        for namespace, agent in owners:
            marks |= await self._marks(DeadLetterFilter(namespace, agent))
        return [DeadLetterEntry(letter, marks.get(letter.id)) if letter else None for letter in letters]

    async def check(self) -> None:
        """Check that the streams accept a redrive's messages. Raises StreamConflict."""
        await self._check(self._stream, "heed.redrive.>", names.STREAM_SUBJECTS[0])
        await self._check(self._dead, names.redriven_subject("*", "*"), names.DEAD_STREAM_SUBJECTS[0])

    async def find_sent(self, selection: DeadLetterFilter) -> dict[str, int]:
        """Redriven messages already in the stream: Nats-Msg-Id to stream sequence."""
        found: dict[str, int] = {}
        subject = f"heed.redrive.{selection.subject_tokens}.>"
        async with aclosing(self._read(self._stream, subject, headers_only=True)) as batches:
            async for arrivals in batches:
                found |= {_header(item, HEADER_MESSAGE_ID): item.sequence for item in arrivals}
        return found

    async def redrive(
        self, found: Sequence[DeadLetterEntry], sent: Mapping[str, int]
    ) -> list[RedriveOutcome]:
        """Publish letters again that were not yet, and mark them. They are stored in this order.

        `sent` is what an earlier, interrupted run published without a marker. Failures are returned, not raised.
        """
        return await asyncio.gather(*(self._redrive(item, sent) for item in found))

    async def drop(self, ids: Iterable[int]) -> None:
        """Delete letters or markers by their sequences. Idempotent.

        Give a letter before its marker: without its marker it would look as if it had never been redriven.
        """
        await asyncio.gather(*(self._delete(id_) for id_ in ids))

    async def _redrive(self, found: DeadLetterEntry, sent: Mapping[str, int]) -> RedriveOutcome:
        letter = found.letter
        if (done := settled_outcome(found)) is not None:
            return done
        message, redrive = redriven_message(letter), letter.redrive
        id_ = names.redrive_id(redrive.letter, redrive.attempt)
        try:
            if (sequence := sent.get(id_)) is None:
                headers = {**message.headers, HEADER_MESSAGE_ID: id_}
                sequence = (await self._bus.store(message.subject, headers, message.payload)).sequence
        except MalformedEvent as error:
            return RedriveOutcome(letter, "refused", reason=str(error))
        except BusUnavailable as error:
            return RedriveOutcome(letter, "failed", reason=str(error))
        try:
            await self._mark(letter, sequence)
        except (BusUnavailable, MalformedEvent) as error:
            return RedriveOutcome(letter, "failed", sequence, f"it was redriven, but not marked: {error}")
        return RedriveOutcome(letter, "redriven", sequence)

    async def _mark(self, letter: DeadLetter, sequence: int) -> None:
        headers = {
            HEADER_LETTER_SEQUENCE: str(letter.id),
            HEADER_REDRIVEN_SEQUENCE: str(sequence),
            HEADER_REDRIVEN_TIME: timestamp(),
            HEADER_MESSAGE_ID: names.redriven_id(letter.key, letter.redrive.attempt),
        }
        await self._bus.store(names.redriven_subject(letter.namespace, letter.agent), headers, b"")

    async def _marks(self, selection: DeadLetterFilter) -> dict[int, RedriveMark]:
        marks: dict[int, RedriveMark] = {}
        subject = f"heed-dead.{selection.subject_tokens}.redriven"
        async with aclosing(self._read(self._dead, subject, headers_only=True)) as batches:
            async for arrivals in batches:
                for item in arrivals:
                    of, sequence = (
                        parse_number(_header(item, name))
                        for name in (HEADER_LETTER_SEQUENCE, HEADER_REDRIVEN_SEQUENCE)
                    )
                    if of is not None and sequence is not None:
                        marks[of] = RedriveMark(item.sequence, sequence, _header(item, HEADER_REDRIVEN_TIME))
        return marks

    async def _read(
        self, stream: str, subject: str, *, headers_only: bool
    ) -> AsyncGenerator[list[PulledMessage]]:
        """All messages that a stream holds on a subject now, in batches."""
        config = {"filter_subjects": [subject], "deliver_policy": "all", "headers_only": headers_only}
        try:
            pull = await PullConsumer.open(self._connection, stream, config)
        except ApiRefused as error:
            raise self._missing(stream, error) from None
        try:
            remaining = pull.pending
            while remaining > 0:
                arrivals = await pull.take(min(PULL_BATCH, remaining), SCAN_STALL_TIMEOUT_S)
                if not arrivals and await pull.is_exhausted():
                    break  # the stream has dropped the others meanwhile
                if not arrivals:
                    raise BusUnavailable(f"stream {stream} stopped in the middle; trying again may help")
                # Letters may be dropped meanwhile, and then fewer come than there were.
                remaining = min(remaining - len(arrivals), arrivals[-1].pending)
                yield arrivals
                pull.release(sum(item.size for item in arrivals))
        except ReaderLost as error:
            raise BusUnavailable(str(error)) from error
        finally:
            await pull.close()

    async def _delete(self, id_: int) -> None:
        request = {"seq": id_, "no_erase": True}
        try:
            await self._connection.api(f"STREAM.MSG.DELETE.{self._dead}", request)
        except ApiRefused as error:
            if error.err_code != ERR_MESSAGE_GONE:
                raise

    async def _check(self, stream: str, wanted: str, remedy: str) -> None:
        try:
            info = await self._connection.api(f"STREAM.INFO.{stream}")
        except ApiRefused as error:
            raise self._missing(stream, error) from None
        subjects = info["config"].get("subjects") or []
        if not any(covers(subject, wanted) for subject in subjects):
            taken = ", ".join(subjects) or "none"
            message = f"stream {stream} takes the subjects {taken}, and a redrive writes {wanted}"
            raise StreamConflict(f"{message}; add {remedy} to the stream's subjects")

    def _missing(self, stream: str, error: ApiRefused) -> BusUnavailable | StreamMissing:
        if error.err_code != ERR_STREAM_NOT_FOUND:
            return error
        return StreamMissing(
            f"{self._connection.url} has no stream {stream}; the operator or `heed dev` makes it, "
            "so this may be another broker than theirs"
        )


def settled_outcome(found: DeadLetterEntry) -> RedriveOutcome | None:
    """The outcome of a letter that needs no redrive (done before) or allows none; None where it is still to do."""
    if found.mark is not None:
        return RedriveOutcome(found.letter, "already", found.mark.sequence)
    refusal = found.letter.refusal
    return None if refusal is None else RedriveOutcome(found.letter, "refused", reason=refusal)


def _letter(arrival: PulledMessage) -> DeadLetter:
    message = arrival.message
    _, namespace, agent = message.subject.split(".")
    at = format_stream_time(arrival.at)
    return DeadLetter(arrival.sequence, at, namespace, agent, message.headers or {}, message.data)


def _stored(id_: int, message: OriginalMessage, at: str) -> DeadLetter | None:
    _, namespace, agent, *rest = message.subject.split(".")
    return None if rest else DeadLetter(id_, at, namespace, agent, message.headers, message.payload)


def _header(arrival: PulledMessage, name: str) -> str:
    return (arrival.message.headers or {}).get(name, "")
