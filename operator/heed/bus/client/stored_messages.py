"""Single messages of a stream, by their places.

They are asked of the stream's leader (STREAM.MSG.GET). A replica (DIRECT.GET) may not have a message yet that is there,
and puts what it says of it into the same headers that publishers write; it answered only a fifth faster.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.codec.dead_letter import OriginalMessage, read_original

ERR_NO_MESSAGE: Final = 10037
MAX_CONCURRENT_GETS: Final = 64
GET_CHUNK: Final = 16
MAX_HELD_BYTES: Final = 8 * 1024**2  # bytes of messages that are held at once
REPLY_OVERHEAD_BYTES: Final = 8192  # bytes of an answer beside the message in base64


class StoredMessages:
    """The messages of one stream. All methods raise BusUnavailable."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection, self._stream = connection, stream
        # What is asked for at once may come at once, and a connection that falls behind is ended by the broker.
        most = connection.credits.flight_limit // (connection.max_payload * 4 // 3 + REPLY_OVERHEAD_BYTES)
        self._asking = asyncio.Semaphore(max(1, min(MAX_CONCURRENT_GETS, most)))

    async def get(self, sequence: int) -> tuple[OriginalMessage, str] | None:
        """The message at a sequence, and when it was stored; None where the stream dropped it."""
        message = await self._get({"seq": sequence})
        return None if message is None else (read_original(message), parse_stored_time(message["time"]))

    async def get_first(self, sequences: Sequence[int]) -> list[tuple[OriginalMessage, str] | None]:
        """The messages at the first of many sequences, in order, GET_CHUNK at a time until MAX_HELD_BYTES have come."""
        found: list[tuple[OriginalMessage, str] | None] = []
        room = MAX_HELD_BYTES
        while room > 0 and (following := sequences[len(found) : len(found) + GET_CHUNK]):
            found += (got := await self.get_all(following))
            room -= sum(len(item[0].payload) for item in got if item)
        return found

    async def get_all(self, sequences: Sequence[int]) -> list[tuple[OriginalMessage, str] | None]:
        """The messages at many sequences, in order."""
        getting = [asyncio.create_task(self.get(sequence)) for sequence in sequences]
        try:
            return await asyncio.gather(*getting)
        finally:
            for task in getting:
                task.cancel()

    async def next(self, subject: str, sequence: int) -> int | None:
        """The sequence of the first message on a subject (or pattern) from `sequence` on; None where there is none."""
        message = await self._get({"seq": sequence, "next_by_subj": subject})
        return None if message is None else int(message["seq"])

    async def first_since(self, time: str) -> int | None:
        """The sequence of the first message stored from a time (RFC 3339) on; None where there is none yet."""
        message = await self._get({"start_time": time, "next_by_subj": ">"})
        return None if message is None else int(message["seq"])

    async def last(self, subject: str) -> tuple[int, OriginalMessage] | None:
        """The last message on a subject, with its sequence; None where there is none."""
        message = await self._get({"last_by_subj": subject})
        return None if message is None else (int(message["seq"]), read_original(message))

    async def _get(self, request: dict[str, Any]) -> dict[str, Any] | None:
        try:
            async with self._asking:
                answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", request)
        except ApiRefused as error:
            if error.err_code == ERR_NO_MESSAGE:
                return None
            raise
        return dict(answer["message"])


def parse_stored_time(time: str) -> str:
    """A broker's RFC 3339 time (UTC, up to nine digits of a second) as readers write it: six digits, cut off."""
    return datetime.fromisoformat(time).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
