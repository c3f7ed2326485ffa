"""What a stream says of itself: which one it is, and from where to where it reaches now.

All who want to know at the same time share one request. An answer may be shared only by those who began to wait before
it was asked for: what was known earlier says nothing of what has happened since, and each of them asks because
something has (a consumer was made, a message came).
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from heed.bus.client.connection import ApiRefused, Connection
from heed.bus.client.streams import ERR_STREAM_NOT_FOUND
from heed.errors import StreamMissing, StreamReplaced
from heed.util.clock import loop_time

MIN_INTERVAL_S: Final = 0.01  # seconds between two requests in the long run; STREAM.INFO took 0.2 ms
BURST_S: Final = 0.1  # seconds' worth of them that may go out at once
MAX_AGE_S: Final = 1.0
_HELP: Final = "docs/operations.md#streams"


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """A stream holds `first` to `last`; an empty one has `first` = `last` + 1.

    `created` is the time of its creation in the broker's own words: another time means another stream.
    """

    created: str
    first: int
    last: int


class StreamBoundsCache:
    """Asks for the bounds of one stream."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection, self._stream = connection, stream
        self._next: asyncio.Task[StreamBounds] | None = None  # not yet asked for
        self._due = 0.0  # when it has to be
        self._hurry = asyncio.Event()
        self._asking = asyncio.Lock()
        self._not_before = 0.0
        self._latest: tuple[float, StreamBounds] | None = None

    async def fresh(self, within: float = 0.0) -> StreamBounds:
        """The bounds as of after this call, requested within `within` seconds. Raises StreamMissing, BusUnavailable."""
        due = loop_time() + within
        if self._next is None:
            self._due = due
            self._next = asyncio.create_task(self._ask())
            self._next.add_done_callback(_seen)
        elif due < self._due:
            self._due = due
            self._hurry.set()
        return await asyncio.shield(self._next)

    def expedite(self) -> None:
        """Make the pending request due now."""
        self._due = 0.0
        self._hurry.set()

    async def recent(self) -> StreamBounds:
        """The bounds as of at most MAX_AGE_S seconds ago. Raises as `fresh`."""
        if self._latest is not None and loop_time() - self._latest[0] < MAX_AGE_S:
            return self._latest[1]
        return await self.fresh()

    async def _ask(self) -> StreamBounds:
        clock = asyncio.get_running_loop().time
        async with self._asking:
            while (delay := max(self._due, self._not_before) - clock()) > 0:
                self._hurry.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._hurry.wait()
            self._next = None  # from here on, callers wait for the next answer
            at = clock()
            self._not_before = max(self._not_before + MIN_INTERVAL_S, at - BURST_S)
            bounds = await self._request()
            self._latest = (at, bounds)
            return bounds

    async def _request(self) -> StreamBounds:
        try:
            info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        except ApiRefused as error:
            if error.err_code == ERR_STREAM_NOT_FOUND:
                raise missing_stream(self._stream) from None
            raise
        last = int(info["state"]["last_seq"])
        first = int(info["state"]["first_seq"]) if info["state"]["messages"] else last + 1
        return StreamBounds(str(info["created"]), first, last)


def missing_stream(stream: str) -> StreamMissing:
    """The error for a stream that does not exist."""
    return StreamMissing(
        f"there is no stream {stream}; a running operator makes it within a minute, without what was in it: "
        "to restore it from a backup, stop the operator first"
    )


def check_cursor(stream: str, bounds: StreamBounds, place: int, created: str | None) -> None:
    """Check that a stream is the one that a cursor belongs to, which is at `place` of a stream made at `created`.

    `created` is None where that is not known. Raises StreamReplaced.
    """
    if created is not None and created != bounds.created:
        raise StreamReplaced(
            f"stream {stream} was created at {bounds.created}, and the cursor belongs to one created at {created}: "
            "it was created again, or restored from a backup. Restore the right one, or have the Agent begin with this "
            f"one: {_patch('null')}; if this one is the old one restored, see {_HELP}"
        )
    if place > bounds.last:
        raise StreamReplaced(
            f"stream {stream} ends at {bounds.last}, and {place} was read from it: it was restored from a backup, or "
            "created again. Restore the right one, or have the Agent go on from its end: "
            + _patch(f'{{"sequence":{bounds.last}}}')
            + f"; see {_HELP}"
        )


def _patch(cursor: str) -> str:
    patch = f'{{"status":{{"cursor":{cursor}}}}}'
    return f"kubectl patch agent NAME --subresource=status --type=merge -p '{patch}'"


def _seen(asked: "asyncio.Task[StreamBounds]") -> None:
    """Retrieve the error where all callers were cancelled, so that asyncio does not log it."""
    if not asked.cancelled():
        _ = asked.exception()
