"""Fills batches: decides read events in order and in small CPU turns, and defers those without headroom.

An event that the Agent's rate limit holds back stays where it is, with all that comes after it. Whether the limit
concerns it the decision says, which is dropped then: an event that no handler reacts to is never held back.
"""

import time
from collections import deque
from collections.abc import Sequence

from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.engine.batch import DecisionBatch
from heed.engine.deciders import Decider
from heed.engine.deferred_queue import DeferredQueue, is_inbox_only
from heed.engine.event_rate import EventRateLimiter, is_limited
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.errors import AnswerLate, CodeUnavailable
from heed.util.cpu_turns import turns

DECIDE_TURN_S = 0.002  # seconds of deciding


class DecisionBatcher:
    """Fills batches. `ahead`: only the inbox is read, as too many other events wait."""

    def __init__(
        self,
        guarded: Decider,
        deferred: DeferredQueue,
        pace: CommitRate,
        limiter: EventRateLimiter | None = None,
    ) -> None:
        self.ahead = False
        self._guarded, self._deferred, self._pace, self._limiter = guarded, deferred, pace, limiter
        self._held: set[int] = set()  # sequences of events that are known to need a token

    def reset(self) -> None:
        """Reset, to start again from the ledger. Tokens that were spent stay spent."""
        self._held.clear()
        if self._limiter is not None:
            self._limiter.start(time.monotonic())

    def stop(self) -> None:
        """Wait for nothing that was asked for events that come: they are read again."""
        self._guarded.stop()

    def has_work(self, buffer: ReadBuffer, batch: DecisionBatch) -> bool:
        """Whether there is an event to decide: one that a `hold` lets go, or one that the rate limit does not stop."""
        return self._deferred.next_ready(batch.ledger) is not None or self._next_queue(buffer) is not None

    def pause(self, buffer: ReadBuffer) -> float | None:
        """Seconds until the rate limit lets an event go that it holds back; None where it holds none."""
        if self._limiter is None or not any(
            queue[0].sequence in self._held for queue in self._queues(buffer)
        ):
            return None
        return self._limiter.delay(time.monotonic()) or None

    def _queues(self, buffer: ReadBuffer) -> list[deque[Received]]:
        """What is to be decided, deferred events first; none that is empty."""
        return [queue for queue in (self._deferred.next, buffer.unread) if queue]

    def _next_queue(self, buffer: ReadBuffer) -> deque[Received] | None:
        return next((queue for queue in self._queues(buffer) if not self._is_held(queue[0])), None)

    def _is_held(self, received: Received) -> bool:
        if self._limiter is None or received.sequence not in self._held:
            return False
        return self._limiter.delay(time.monotonic()) > 0

    def _take_token(self, decision: Decision) -> bool:
        """Whether a decision may count now. Where it may not, its event is held back."""
        sequence = decision.received.sequence
        if self._limiter is not None and is_limited(decision):
            now = time.monotonic()
            if self._limiter.delay(now) > 0:
                self._held.add(sequence)
                return False
            self._limiter.spend(now)
        self._held.discard(sequence)
        return True

    def is_full(self, batch: DecisionBatch) -> bool:
        """Whether the batch must be committed first: it is full, or the loop has to read other subjects after it."""
        return batch.is_full(self._pace) or is_inbox_only(batch.ledger, self.ahead) != self.ahead

    async def decide_turn(self, buffer: ReadBuffer, batch: DecisionBatch) -> bool:
        """Decide as many events as fit into one CPU turn. Returns False where there was nothing to do.

        Where code is missing for the next one, or an answer of it is late, the batch is closed: what is decided already
        is to be committed. Raises CodeUnavailable where nothing is.
        """
        if not self.has_work(buffer, batch) or self.is_full(batch):
            return False
        await turns().take()
        try:
            await self._decide_for_a_turn(buffer, batch)
        except AnswerLate:
            batch.closed = bool(batch.decisions)
        except CodeUnavailable:
            if not batch.decisions:
                raise
            batch.closed = True
        return True

    async def _decide_for_a_turn(self, buffer: ReadBuffer, batch: DecisionBatch) -> None:
        """Decide until the turn is over, or nothing is left to do."""
        at = time.monotonic()
        end = at + DECIDE_TURN_S
        while self.has_work(buffer, batch) and not self.is_full(batch) and at < end:
            if (place := self._deferred.next_ready(batch.ledger)) is not None:
                await self._decide_ready(batch, place)
            elif self._next_queue(buffer) is self._deferred.next:
                await self._decide_deferred(batch)
            else:
                await self._decide_next(buffer, batch)
            began, at = at, time.monotonic()
            batch.took.append(at - began)

    async def _decide_next(self, buffer: ReadBuffer, batch: DecisionBatch) -> None:
        received, room = buffer.unread[0], self._deferred.headroom(batch)
        decision = await self._decide(batch, received, room, buffer.unread)
        if decision.outcome == "waiting" and await self._may_fit(batch, received):
            batch.closed = True
            return
        if self._take_token(decision):
            buffer.unread.popleft()
            batch.add(decision)

    async def _decide_deferred(self, batch: DecisionBatch) -> None:
        """Decide a deferred event, or leave it deferred."""
        received = self._deferred.next[0]
        decision = await self._decide(batch, received, self._deferred.headroom(batch))
        if decision.outcome != "waiting":
            if self._take_token(decision):
                self._deferred.next.popleft()
                batch.add(decision)
        elif await self._may_fit(batch, received):
            batch.closed = True
        else:
            self._deferred.next.popleft()

    async def _decide_ready(self, batch: DecisionBatch, place: int) -> None:
        """Decide a held event, or leave it held. Nothing else is decided before all that are ready were looked at."""
        received = await self._deferred.fetch_ready(batch, place)
        if received is None:
            return
        decision = await self._decide(batch, received, self._deferred.headroom(batch))
        if decision.outcome == "waiting":
            if await self._may_fit(batch, received):
                batch.closed = True
            else:
                self._deferred.crowd_out(batch.ledger.held.places[place].session)
        elif decision.outcome == "held" and not decision.effects:
            batch.ledger = decision.ledger  # as before
        else:
            if self._limiter is not None and is_limited(decision):
                self._limiter.spend(time.monotonic())  # it is not held back again; what comes after it is
            batch.add(decision)

    async def _may_fit(self, batch: DecisionBatch, received: Received) -> bool:
        """Whether it was deferred only because the size of the decisions before it is not known until their commit."""
        room = self._deferred.best_headroom()
        if not (batch.growth or self._deferred.flying) or self._deferred.is_scarce(room):
            return False
        return (await self._decide(batch, received, room)).outcome != "waiting"

    async def _decide(
        self,
        batch: DecisionBatch,
        received: Received,
        room: Headroom | None,
        coming: Sequence[Received] = (),
    ) -> Decision:
        return await self._guarded.decide(batch.ledger, received, coming=coming, room=room, ahead=self.ahead)
