"""The reader of one Agent: events from a point in the stream on, decoded, in order and without gaps."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from heed.bus.cloudevents import decode
from heed.bus.pulling import Arrival, Pull
from heed.bus.subjects import matches
from heed.core.events import Received

_EPOCH: Final = datetime(1970, 1, 1)


class CursorReader:
    """Implements `ports.Reader`. `only`: patterns to filter by once more, where the consumer's match too much."""

    def __init__(self, pull: Pull, only: Sequence[str] = ()) -> None:
        self._pull = pull
        self._only = tuple(only)

    async def read(self, limit: int, timeout: float) -> Sequence[Received]:
        """Up to `limit` messages as soon as there is one; none after `timeout` seconds. Raises ReaderLost."""
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        while arrivals := await self._pull.take(limit, max(0.0, end - clock())):
            if received := [_received(item) for item in arrivals if self._is_wanted(item.message.subject)]:
                return received
        return ()

    async def close(self) -> None:
        """Drop the consumer. Never raises for a broker that is away."""
        await self._pull.close()

    def _is_wanted(self, subject: str) -> bool:
        return not self._only or any(matches(pattern, subject) for pattern in self._only)


def _received(arrival: Arrival) -> Received:
    message = arrival.message
    event = decode(message.headers, message.data, message.subject)
    return Received(arrival.sequence, stream_time(arrival.at), message.subject, event)


def stream_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with microseconds, always six digits of them: the same text in every process."""
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat(timespec="microseconds") + "Z"
