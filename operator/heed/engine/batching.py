"""Fills batches: decides read events in order and in small CPU turns, and defers those without headroom."""

import time

from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.engine.batch import DecisionBatch
from heed.engine.deferred_queue import DeferredQueue, is_inbox_only
from heed.engine.rate_limit import CommitRate
from heed.engine.read_buffer import ReadBuffer
from heed.sandbox.decision_pool import Guarded
from heed.util.cpu_turns import turns

DECIDE_TURN_S = 0.002  # seconds of deciding


class DecisionBatcher:
    """Fills batches. `ahead`: only the inbox is read, as too many other events wait."""

    def __init__(self, guarded: Guarded, backlog: DeferredQueue, pace: CommitRate) -> None:
        self.ahead = False
        self._guarded, self._backlog, self._pace = guarded, backlog, pace

    def is_full(self, batch: DecisionBatch) -> bool:
        """Whether the batch must be committed first, as the list of deferred events may be full."""
        return batch.full(self._pace) or is_inbox_only(batch.ledger, self.ahead) != self.ahead

    async def some(self, inlet: ReadBuffer, batch: DecisionBatch) -> bool:
        """Decide as many events as fit into one CPU turn. Returns False where there was nothing to do."""
        if not (self._backlog.next or inlet.unread) or self.is_full(batch):
            return False
        await turns().take()
        at = time.monotonic()
        end = at + DECIDE_TURN_S
        while (self._backlog.next or inlet.unread) and not self.is_full(batch) and at < end:
            if self._backlog.next:
                await self._one_that_waited(batch)
            else:
                await self._one(inlet, batch)
            began, at = at, time.monotonic()
            batch.took.append(at - began)
        return True

    async def _one(self, inlet: ReadBuffer, batch: DecisionBatch) -> None:
        received, room = inlet.unread[0], self._backlog.room(batch)
        decision = await self._decide(batch, received, room)
        if decision.outcome == "waiting" and await self._may_fit(batch, received):
            batch.closed = True
            return
        inlet.unread.popleft()
        batch.add(decision)

    async def _one_that_waited(self, batch: DecisionBatch) -> None:
        """Decide a deferred event, or leave it deferred."""
        received = self._backlog.next[0]
        decision = await self._decide(batch, received, self._backlog.room(batch))
        if decision.outcome != "waiting":
            self._backlog.next.popleft()
            batch.add(decision)
        elif await self._may_fit(batch, received):
            batch.closed = True
        else:
            self._backlog.next.popleft()

    async def _may_fit(self, batch: DecisionBatch, received: Received) -> bool:
        """Whether it was deferred only because the size of the decisions before it is not known until their commit."""
        room = self._backlog.room_at_best()
        if not (batch.growth or self._backlog.flying) or self._backlog.scarce(room):
            return False
        return (await self._decide(batch, received, room)).outcome != "waiting"

    async def _decide(self, batch: DecisionBatch, received: Received, room: Headroom | None) -> Decision:
        return await self._guarded.decide(batch.ledger, received, room=room, ahead=self.ahead)
