"""The reader of one Agent: events from a point in the stream on, decoded, in order and without gaps."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from heed import names
from heed.bus.client.stored_messages import StoredMessages
from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache
from heed.bus.codec.cloudevents import decode
from heed.bus.codec.dead_letter import OriginalMessage
from heed.bus.codec.redrive_headers import read_redrive
from heed.bus.codec.subject_patterns import matches
from heed.bus.consumer.pull import PullConsumer, PulledMessage
from heed.core.events import MalformedMessage, Received
from heed.errors import ReaderLost, StreamMissing
from heed.util.cpu_turns import turns

DECODE_TURN_S: Final = 0.005  # seconds of decoding
_EPOCH: Final = datetime(1970, 1, 1)


class CursorReader:
    """Implements `ports.Reader` for `subjects`. `exact`: whether the consumer matches no more than these."""

    def __init__(
        self,
        pull: PullConsumer,
        surveyor: StreamBoundsCache,
        messages: StoredMessages,
        created: str,
        subjects: Sequence[str],
        *,
        exact: bool,
    ) -> None:
        self._pull, self._surveyor, self._messages = pull, surveyor, messages
        self._created = created
        self._subjects = tuple(subjects)
        self._exact = exact
        self._decoding = False  # what was taken is not handed out yet
        self._held: deque[tuple[int, int]] = deque()  # sequences and sizes of what was handed out

    @property
    def floor(self) -> int:
        """The stream sequence before the first message that can still be read."""
        return self._pull.floor

    @property
    def created(self) -> str:
        """When the stream was created, in the broker's own words."""
        return self._created

    @property
    def pending(self) -> int:
        """How many messages are still to be read, as of the latest one delivered."""
        return self._pull.to_come + self._pull.arrived

    async def read(self, limit: int, timeout: float) -> Sequence[Received]:
        """Up to `limit` messages as soon as there is one; none after `timeout` seconds. Raises ReaderLost."""
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        while arrivals := await self._pull.take(limit, max(0.0, end - clock())):
            self._decoding = True
            found = await self._decoded(arrivals)
            self._decoding = False
            if found:
                return found
        return ()

    async def _decoded(self, arrivals: Sequence[PulledMessage]) -> list[Received]:
        """Decode in turns with other readers: a few megabytes of intricate JSON may take a second."""
        clock = asyncio.get_running_loop().time
        found, end = list[Received](), 0.0
        for item in arrivals:
            if clock() > end:
                await turns().take()
                end = clock() + DECODE_TURN_S
            if self._is_wanted(item.message.subject):
                found.append(decode_pulled(item))
                self._held.append((item.sequence, item.size))
            else:
                self._pull.release(item.size)
        return found

    def release(self, sequence: int) -> None:
        """Give back the credit of everything read up to `sequence`, which is durable now."""
        size = 0
        while self._held and self._held[0][0] <= sequence:
            size += self._held.popleft()[1]
        if size:
            self._pull.release(size)

    async def reached(self) -> int:
        """A sequence up to which every message on the subjects was returned; it may belong to another subject.

        Raises ReaderLost, also where the stream has dropped what was not yet read, and BusUnavailable.
        """
        self._pull.check()
        if self._decoding:
            return 0
        position = self._pull.reached
        last = (await self._bounds()).last
        if last <= position or await self._is_behind(position, last):
            return position
        # What the stream holds after it was searched, it held while it was: then the search has missed nothing.
        if (await self._bounds()).first > position + 1 and not await self._pull.has_seen_all():
            return position
        self._pull.check()
        return last

    async def _bounds(self) -> StreamBounds:
        try:
            return await self._surveyor.fresh()
        except StreamMissing as error:
            raise ReaderLost(str(error)) from None

    async def _is_behind(self, position: int, last: int) -> bool:
        """Whether the stream holds a message on the subjects after `position`, up to `last`."""
        for subject in self._subjects:
            following = await self._messages.next(subject, position + 1)
            if following is not None and following <= last:
                return True
        return False

    async def close(self) -> None:
        """Delete the consumer. Never raises, even with the broker unreachable."""
        await self._pull.close()

    def _is_wanted(self, subject: str) -> bool:
        return self._exact or any(matches(pattern, subject) for pattern in self._subjects)


def decode_pulled(arrival: PulledMessage) -> Received:
    """Decode a consumer's delivery."""
    message = arrival.message
    return decode_message(
        arrival.sequence, format_stream_time(arrival.at), message.subject, message.headers or {}, message.data
    )


def decode_message(
    sequence: int, at: str, subject: str, headers: Mapping[str, str], payload: bytes
) -> Received:
    """Decode a stored message. Redrive headers count on redrive subjects only."""
    event, redrive = decode(headers, payload, subject), None
    if names.is_redrive(subject):
        found = read_redrive(subject, headers)
        event, redrive = (found, None) if isinstance(found, MalformedMessage) else (event, found)
    return Received(sequence, at, subject, event, redrive)


def decode_stored(sequence: int, at: str, original: OriginalMessage) -> Received:
    """Decode a message that was fetched by sequence as a reader would have."""
    headers = {name: value for name, value in original.headers.items() if _is_token(name)}
    return decode_message(sequence, at, original.subject, headers, original.payload)


def _is_token(name: str) -> bool:
    # Headers of other names the client library keeps from readers.
    return name.isascii() and not any(map(str.isspace, name))


def format_stream_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with exactly six digits of a second: the same text in every process."""
    seconds, microseconds = divmod(nanoseconds // 1000, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds")
