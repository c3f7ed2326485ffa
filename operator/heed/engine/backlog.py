"""The events of one Agent that wait for room in its status: what room there is, and who comes next."""

from collections import deque

from heed.core.events import Received
from heed.core.ledger import Ledger, dropped
from heed.core.room import Room
from heed.core.waiting import MAX_WAITING
from heed.engine.batch import Batch
from heed.engine.pacing import Pace
from heed.engine.ports import EventBus

MOST = 1024**2  # bytes: more than any one decision can add
AT_ONCE = 500
EACH = 512  # about the bytes that a session takes, for a guess how many fit


class Backlog:
    """What waits. `size` is the status as it was last read or written, in bytes; `flying` what is being committed."""

    def __init__(self, bus: EventBus, pace: Pace) -> None:
        self.next: deque[Received] = deque()
        self.size = 0
        self.flying = 0
        self._bus, self._pace = bus, pace
        self._in_vain = False

    def committed(self, size: int) -> None:
        """The status was written."""
        self.size, self.flying, self._in_vain = size, 0, False

    def clear(self) -> None:
        """Begin anew, from the ledger."""
        self.next.clear()
        self.flying, self._in_vain = 0, False

    def room(self, batch: Batch) -> Room | None:
        """What may be added on top of a batch at the least; None where that is plenty."""
        return self._room(self.flying + batch.growth)

    def room_at_best(self) -> Room | None:
        """The same if nothing that is not yet committed took any."""
        return self._room(0)

    def _room(self, taken: int) -> Room | None:
        left, kept = self._pace.budget - self.size - taken, self._pace.budget // 3
        return None if left - kept > MOST else Room(left, kept)

    def crowded(self, ledger: Ledger) -> bool:
        """Whether messages that are owed have to go out before anything else may be decided."""
        return self.size > self._pace.budget and bool(ledger.outbox)

    async def fetch(self, batch: Batch) -> None:
        """Get the events that have waited longest, as many as may fit. Raises BusUnavailable."""
        waiting = batch.ledger.waiting
        if not waiting.places or self.next or self._in_vain:
            return
        room = self.room(batch)
        free = MOST if room is None else room.to_open
        if free < self._pace.budget // 32:
            return
        places = waiting.first(min(AT_ONCE, free // EACH + 1))
        found = await self._bus.fetch(places)
        gone = [place for place, received in zip(places, found, strict=True) if received is None]
        if gone:
            batch.ledger = dropped(batch.ledger, gone)
        self.next.extend(received for received in found if received is not None)

    def give_up(self) -> None:
        """There is no room after all: no more tries until the status was written again."""
        self.next.clear()
        self._in_vain = True


def only_inbox(ledger: Ledger, ahead: bool) -> bool:
    """Whether so many events wait that only the inbox may be read on, in which the ends of tasks make room."""
    return len(ledger.waiting) >= (MAX_WAITING // 2 if ahead else MAX_WAITING)
