"""Fills batches: decides read events in order and in small CPU turns, and defers those without headroom."""

import time

from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.engine.batch import DecisionBatch
from heed.engine.deferred_queue import DeferredQueue, is_inbox_only
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.sandbox.decision_pool import AgentDecider
from heed.util.cpu_turns import turns

DECIDE_TURN_S = 0.002  # seconds of deciding


class DecisionBatcher:
    """Fills batches. `ahead`: only the inbox is read, as too many other events wait."""

    def __init__(self, guarded: AgentDecider, deferred: DeferredQueue, pace: CommitRate) -> None:
        self.ahead = False
        self._guarded, self._deferred, self._pace = guarded, deferred, pace

    def is_full(self, batch: DecisionBatch) -> bool:
        """Whether the batch must be committed first: it is full, or the loop has to read other subjects after it."""
        return batch.is_full(self._pace) or is_inbox_only(batch.ledger, self.ahead) != self.ahead

    async def decide_turn(self, buffer: ReadBuffer, batch: DecisionBatch) -> bool:
        """Decide as many events as fit into one CPU turn. Returns False where there was nothing to do."""
        if not (self._deferred.next or buffer.unread) or self.is_full(batch):
            return False
        await turns().take()
        at = time.monotonic()
        end = at + DECIDE_TURN_S
        while (self._deferred.next or buffer.unread) and not self.is_full(batch) and at < end:
            if self._deferred.next:
                await self._decide_deferred(batch)
            else:
                await self._decide_next(buffer, batch)
            began, at = at, time.monotonic()
            batch.took.append(at - began)
        return True

    async def _decide_next(self, buffer: ReadBuffer, batch: DecisionBatch) -> None:
        received, room = buffer.unread[0], self._deferred.headroom(batch)
        decision = await self._decide(batch, received, room)
        if decision.outcome == "waiting" and await self._may_fit(batch, received):
            batch.closed = True
            return
        buffer.unread.popleft()
        batch.add(decision)

    async def _decide_deferred(self, batch: DecisionBatch) -> None:
        """Decide a deferred event, or leave it deferred."""
        received = self._deferred.next[0]
        decision = await self._decide(batch, received, self._deferred.headroom(batch))
        if decision.outcome != "waiting":
            self._deferred.next.popleft()
            batch.add(decision)
        elif await self._may_fit(batch, received):
            batch.closed = True
        else:
            self._deferred.next.popleft()

    async def _may_fit(self, batch: DecisionBatch, received: Received) -> bool:
        """Whether it was deferred only because the size of the decisions before it is not known until their commit."""
        room = self._deferred.best_headroom()
        if not (batch.growth or self._deferred.flying) or self._deferred.is_scarce(room):
            return False
        return (await self._decide(batch, received, room)).outcome != "waiting"

    async def _decide(self, batch: DecisionBatch, received: Received, room: Headroom | None) -> Decision:
        return await self._guarded.decide(batch.ledger, received, room=room, ahead=self.ahead)
