"""The timer heap: the next due time of every Agent of this process, behind one timer of the event loop.

A quiet Agent costs an entry here, and no task, timer or wake-up of its own.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import count
from typing import Final

from heed.core.effects import AgentRef
from heed.util.clock import unix_time

log = logging.getLogger("heed.agent")
MAX_SLEEP_S: Final = 60.0  # seconds until the wall clock is looked at again: it may be set meanwhile
MIN_SLEEP_S: Final = 0.001
Ring = Callable[[], None]
HoldsBack = Callable[[AgentRef, str], bool]  # an Agent, and the id of one of its approvals


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    ring: Ring


class TimerHeap:
    """Calls back at times of the wall clock (seconds since the epoch), one per key. Runs in its event loop's thread.

    `holds_back` says of an approval whose time is over that an answer given in time is still on its way.
    """

    def __init__(self, holds_back: HoldsBack = lambda agent, task_id: False) -> None:
        self.holds_back = holds_back
        self._heap: list[tuple[float, int, Hashable]] = []
        self._entries: dict[Hashable, _Entry] = {}
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: Hashable, at: float, ring: Ring) -> None:
        """Call `ring` once at a time; what was set for the key before is forgotten."""
        entry = _Entry(next(self._numbers), ring)
        self._entries[key] = entry
        heapq.heappush(self._heap, (at, entry.number, key))
        if len(self._heap) > 2 * len(self._entries) + 16:
            self._heap = [item for item in self._heap if self._is_current(item)]
            heapq.heapify(self._heap)
        self._arm()

    def drop(self, key: Hashable) -> None:
        """Forget what was set for a key, if anything was."""
        self._entries.pop(key, None)
        if not self._entries:
            self._heap.clear()
            self._disarm()

    def _is_current(self, item: tuple[float, int, Hashable]) -> bool:
        entry = self._entries.get(item[2])
        return entry is not None and entry.number == item[1]

    def _next(self) -> float | None:
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _arm(self) -> None:
        """Have one timer, for the next entry."""
        at = self._next()
        if at is None or (self._timer is not None and self._rings_at == at):
            return
        self._disarm()
        self._rings_at = at
        delay = min(max(at - unix_time(), MIN_SLEEP_S), MAX_SLEEP_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        """Ring for all that is due now; what a ring sets is for the next time."""
        self._timer = None
        due: list[Ring] = []
        now = unix_time()
        while (at := self._next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            due.append(self._entries.pop(key).ring)
        for ring in due:
            try:
                ring()
            except Exception:  # a bug, and it must not cost the other Agents their time
                log.exception("a due time was lost")
        self._arm()
