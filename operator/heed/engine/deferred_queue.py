"""The events of one Agent that its ledger notes by their place in the stream, and the status's headroom.

Those that were deferred are fetched when there may be room for them, those that were held once they are ready.
"""

from collections import deque

from heed import names
from heed.core.events import Received
from heed.core.ledger.deferred import MAX_DEFERRED_EVENTS
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger, drop_deferred, drop_held
from heed.engine.batch import DecisionBatch
from heed.engine.ports import EventBus
from heed.engine.rate_limit import CommitRate

MAX_GROWTH_BYTES = 576 * 1024  # bytes: more than any one decision can add
MAX_FETCHED_EVENTS = 500
GUESSED_SESSION_BYTES = 512  # about the bytes that a session takes, for a guess how many fit


class DeferredQueue:
    """Deferred events and headroom. `size` is the stored object's bytes, `flying` what is being committed.

    After one look at those that wait, the next one is worth it only when the status was written again.
    """

    def __init__(self, bus: EventBus, pace: CommitRate) -> None:
        self.next: deque[Received] = deque()
        self.size = 0
        self.flying = 0
        self._bus, self._pace = bus, pace
        self._in_vain = False
        self._ready: dict[int, Received] = {}
        self._crowded_out: set[str] = set()  # sessions whose ready events found no room since the last commit

    def record_commit(self, size: int) -> None:
        """Note a successful commit."""
        self.size, self.flying = size, 0
        self._in_vain = False
        self._crowded_out.clear()

    def reset(self) -> None:
        """Reset, to start again from the ledger."""
        self.next.clear()
        self.flying, self._in_vain = 0, False
        self._ready.clear()
        self._crowded_out.clear()

    def headroom(self, batch: DecisionBatch) -> Headroom | None:
        """The headroom that is certain on top of a batch; None where it is ample."""
        return self._headroom_beside(self.flying + batch.growth)

    def best_headroom(self) -> Headroom | None:
        """The headroom if nothing uncommitted took any."""
        return self._headroom_beside(0)

    def is_scarce(self, certain_headroom: Headroom | None) -> bool:
        """Whether so little headroom is left that a commit to measure it is not worthwhile."""
        return certain_headroom is not None and certain_headroom.for_new_session < self._pace.budget // 32

    def _headroom_beside(self, taken: int) -> Headroom | None:
        left, kept = self._pace.budget - self.size - taken, self._pace.budget // 3
        return None if left - kept > MAX_GROWTH_BYTES else Headroom(left, kept)

    def is_crowded(self, ledger: Ledger) -> bool:
        """Whether the outbox must be published before the next decision."""
        return self.size > self._pace.budget and bool(ledger.outbox)

    async def fetch(self, batch: DecisionBatch) -> None:
        """Fetch the deferred events of open sessions, and of the oldest others as many as fit.

        Raises StreamMissing, StreamReplaced, BusUnavailable.
        """
        if not batch.ledger.waiting.places or self.next or self._in_vain:
            return
        self._in_vain = True
        if not (places := self._next_places(batch)):
            return
        found = await self._bus.fetch(places, batch.ledger.cursor.created)
        gone = [place for place, received in zip(places, found, strict=False) if received is None]
        if gone:
            batch.ledger = drop_deferred(batch.ledger, gone)
        self.next.extend(received for received in found if received is not None)

    def next_ready(self, ledger: Ledger) -> int | None:
        """The place of the held event to look at next, before any other event; None where there is none."""
        held = ledger.held
        if not self._crowded_out:
            return held.ready[0] if held.ready else None
        return next(
            (place for place in held.ready if held.places[place].session not in self._crowded_out), None
        )

    async def fetch_ready(self, batch: DecisionBatch, place: int) -> Received | None:
        """The held event at a place; None where the stream dropped it: the batch's ledger is without it then.

        Others that are ready are fetched along. Raises StreamMissing, StreamReplaced, BusUnavailable.
        """
        if place not in self._ready:
            places = [item for item in batch.ledger.held.ready if item >= place][:MAX_FETCHED_EVENTS]
            found = await self._bus.fetch(places, batch.ledger.cursor.created)
            pairs = list(zip(places, found, strict=False))
            self._ready = {item: received for item, received in pairs if received is not None}
            if gone := [item for item, received in pairs if received is None]:
                batch.ledger = drop_held(batch.ledger, gone)
        return self._ready.pop(place, None)

    def crowd_out(self, session: str) -> None:
        """Note that there is no room for a session's ready events before the next commit."""
        self._crowded_out.add(session)

    def _next_places(self, batch: DecisionBatch) -> list[int]:
        """The sequences to fetch: first those of open sessions, as they need little and may free headroom."""
        ledger, room = batch.ledger, self.headroom(batch)
        there = {names.waiting_digest(key) for key in ledger.sessions}
        going_on = [place for place, key in ledger.waiting.places.items() if key in there][
            :MAX_FETCHED_EVENTS
        ]
        if self.is_scarce(room) and (ledger.sessions or ledger.pending_tasks):
            return going_on
        free = MAX_GROWTH_BYTES if room is None else max(0, room.for_new_session)
        opening = ledger.waiting.first(min(MAX_FETCHED_EVENTS, free // GUESSED_SESSION_BYTES + 1))
        return list(dict.fromkeys((*going_on, *opening)))


def is_inbox_only(ledger: Ledger, ahead: bool) -> bool:
    """Whether so many events are deferred that only the inbox is read, where task ends free headroom."""
    places = ledger.waiting.places
    return bool(places) and len(places) >= (MAX_DEFERRED_EVENTS * 9 // 10 if ahead else MAX_DEFERRED_EVENTS)
