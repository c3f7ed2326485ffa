"""Publish dedup beyond the broker's own dedup window: looks up whether a message is stored already.

After a crash every message of an outbox is looked for. So what was seen on a subject is remembered, and the next look
only reads what came since: an outbox costs one pass over its subjects, headers only, and not one pass per message.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from heed.bus.client.connection import Connection
from heed.bus.consumer.pull import PULL_BATCH, PullConsumer
from heed.errors import BusUnavailable, ReaderLost
from heed.util.clock import loop_time

MAX_SUBJECTS: Final = 32
MAX_IDS_PER_SUBJECT: Final = 200_000
STALL_TIMEOUT_S: Final = 5.0
HEADER_MESSAGE_ID: Final = "Nats-Msg-Id"


@dataclass(slots=True)
class _SeenIds:
    """Message ids on a subject from `start` (a sequence, or a time) to the sequence `end`; 0 before the first."""

    start: int | str
    end: int = 0
    ids: set[str] = field(default_factory=set)
    read_at: float = 0.0  # when the latest pass began, by the loop's clock
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PublishDedup:
    """Message ids stored per subject, kept between lookups. `stored` may be called concurrently."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: OrderedDict[tuple[str, str], _SeenIds] = OrderedDict()

    async def stored(self, stream: str, subject: str, start: int | str, message_id: str) -> bool:
        """Whether `subject` holds a message of that Nats-Msg-Id, from `start` (a sequence or a time) on.

        Start times are all of one format, RFC 3339 in UTC. Raises BusUnavailable.
        """
        asked_at = loop_time()
        key = (stream, subject)
        seen = self._seen.get(key)
        if seen is None or start < seen.start:  # type: ignore[operator]  # one stream, one kind of start
            seen = self._seen[key] = _SeenIds(start)
        self._seen.move_to_end(key)
        while len(self._seen) > MAX_SUBJECTS:
            self._seen.popitem(last=False)
        async with seen.lock:
            if message_id not in seen.ids and seen.read_at <= asked_at:
                await self._extend(stream, subject, seen)
            found = message_id in seen.ids
        if len(seen.ids) > MAX_IDS_PER_SUBJECT and self._seen.get(key) is seen:
            del self._seen[key]
        return found

    async def _extend(self, stream: str, subject: str, seen: _SeenIds) -> None:
        config = {"filter_subjects": [subject], "headers_only": True, **_from(seen)}
        began = loop_time()
        pull = await PullConsumer.open(self._connection, stream, config)
        try:
            remaining = pull.pending
            while remaining > 0:
                arrivals = await pull.take(min(PULL_BATCH, remaining), STALL_TIMEOUT_S)
                if not arrivals and await pull.is_exhausted():
                    break  # the stream has dropped the others meanwhile
                if not arrivals:
                    raise BusUnavailable(
                        f"stream {stream} stopped in the middle of {subject}; trying again may help"
                    )
                remaining -= len(arrivals)
                seen.ids.update((item.message.headers or {}).get(HEADER_MESSAGE_ID, "") for item in arrivals)
                seen.end = arrivals[-1].sequence
                pull.release(sum(item.size for item in arrivals))
            seen.read_at = began
        except ReaderLost as error:
            raise BusUnavailable(str(error)) from error
        finally:
            await pull.close()


def _from(seen: _SeenIds) -> Mapping[str, Any]:
    if seen.end:
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": seen.end + 1}
    if isinstance(seen.start, int):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": seen.start}
    return {"deliver_policy": "by_start_time", "opt_start_time": seen.start}
