"""Detects messages of one consumer that the stream dropped before they were read.

Reading goes on meanwhile; only what comes after a doubtful place waits until the stream was asked. A reader that is up
to date never waits, and never asks.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache
from heed.bus.consumer.gaps import GapDetector, describe_loss
from heed.errors import BusUnavailable, StreamMissing
from heed.util.clock import loop_time

MAX_UNATTENDED_S: Final = (
    1.0  # seconds without a request in which no stream drops what an idle reader got meanwhile
)
SHARED_CHECK_DELAY_S: Final = 1.0  # seconds; so that many readers share one question


class LossDetector:
    """Tracks one consumer's deliveries against the stream's bounds. `news` is called when more may be read.

    `fail` is called with why the reader is lost, and with how many messages are gone for certain.
    """

    def __init__(
        self, surveyor: StreamBoundsCache, fail: Callable[[str, int], None], news: Callable[[], None]
    ) -> None:
        self._surveyor, self._fail, self._news = surveyor, fail, news
        self._gaps = GapDetector()
        self._floor = 0
        self._first: int | None = None  # sequence of the first arrival
        self._begun = False
        self._attended = (
            False  # since the latest arrival nothing can have been dropped unread, as far as is known
        )
        self._attended_until = -math.inf  # by the request that the server has
        self._unsure = False  # that has to be found out
        self._settling: asyncio.Task[None] | None = None

    @property
    def certain_count(self) -> int:
        """How many arrivals have no possible gap before them, and may be returned."""
        return self._gaps.certain_count if self._begun else 0

    def note_created(self, floor: int, pending: int) -> None:
        """Note that the consumer was created: it begins after `floor`, with `pending` messages to come."""
        self._gaps, self._floor = GapDetector(floor, pending), floor

    def begin(self, before: StreamBounds, after: StreamBounds) -> int:
        """Start watching. Returns the sequence after which nothing is missing; up to it, some may have been dropped.

        `before` was asked for before the consumer was made, and `after` when it had been asked for messages, and the
        first one had come if any was to come. A stream that drops messages all the time may have dropped some in
        between; starting over because of that would never end.
        """
        gaps, known = self._gaps, self._floor
        if self._first is None and not gaps.pending:
            known = gaps.sequence = max(known, before.last)  # up to there, there was nothing for us
        floor = self._floor if after.first <= known + 1 else min(after.first, self._first or after.first) - 1
        gaps.sequence = max(gaps.sequence, floor)
        gaps.trust_first()
        self._begun = self._attended = True
        self._unsure = False
        self._look()
        return floor

    def note_request(self, until: float) -> None:
        """Note a pull request that the server keeps until a time of the loop's clock."""
        self._attended = self.is_attended()
        self._unsure = not self._attended
        self._attended_until = until
        self._look()

    def note_arrival(self, sequence: int, pending: int, *, more: bool) -> None:
        """Note a delivered message; `more`: its pull request is not exhausted."""
        if self._first is None:
            self._first = sequence
        doubtful = self._gaps.note_arrival(sequence, pending, attended=self._attended)
        self._attended, self._unsure = True, False
        if not more:
            self._attended_until = -math.inf  # others may be coming, and fast
        if doubtful:
            self._look()

    def note_request_end(self) -> None:
        """Note that the server has ended the pull request: none is open from now on."""
        self._attended_until = min(self._attended_until, loop_time())

    def is_attended(self) -> bool:
        """Whether a pull request was open nearly all the time since the latest arrival."""
        return self._attended and loop_time() < self._attended_until + MAX_UNATTENDED_S

    async def check_silence(self) -> None:
        """Look for a loss after a time without arrivals, with all earlier ones returned."""
        if self._gaps.pending:
            count, position = self._gaps.count, self._gaps.sequence
            first = await self._ask(0)
            if first is not None and count == self._gaps.count and first > position + 1:
                self._fail(describe_loss(position, first), 0)

    def has_missed_nothing(self) -> bool:
        """Whether every message of this consumer that left the stream had been delivered before."""
        return not self._gaps.pending and self.is_attended()

    def stop(self) -> None:
        """Stop watching."""
        self._begun = False
        if self._settling is not None:
            self._settling.cancel()

    def _look(self) -> None:
        if not self._begun or not (self._unsure or self._is_doubtful()):
            return
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())
        elif self._is_doubtful():
            self._surveyor.expedite()

    def _is_doubtful(self) -> bool:
        return self._gaps.certain_count < self._gaps.count

    async def _settle(self) -> None:
        """Ask for the stream's bounds until no possible gap is left, or one turns out to be a loss."""
        while self._begun and (self._unsure or self._is_doubtful()):
            count, position, self._unsure = self._gaps.count, self._gaps.sequence, False
            if (first := await self._ask(0 if self._is_doubtful() else SHARED_CHECK_DELAY_S)) is None:
                return
            if (loss := self._gaps.resolve(count, first)) is not None:
                self._fail(loss.reason, loss.gone)
                return
            if first <= position + 1 and not self._unsure:
                self._attended = True
            self._news()

    async def _ask(self, within: float) -> int | None:
        """The first sequence that the stream holds now. None: it cannot be known, and the reader is lost."""
        try:
            return (await self._surveyor.fresh(within)).first
        except (BusUnavailable, StreamMissing) as error:
            self._fail(str(error), 0)
            return None
