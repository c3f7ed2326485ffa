"""Slots for requests to sinks: how many may be under way at once in this process, and at most how many of a namespace.

So sinks of one namespace that never answer keep no event of another from being sent: it waits for a slot, and that wait
counts neither as an attempt nor into the time that a sink has to answer.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_REQUESTS: Final = 512
MAX_REQUESTS_OF_NAMESPACE: Final = 128


class RequestSlots:
    """Slots. One that becomes free goes to the namespace that has the fewest, and within it in turn."""

    def __init__(self, most: int = MAX_REQUESTS, most_of_namespace: int = MAX_REQUESTS_OF_NAMESPACE) -> None:
        self._most, self._most_of_namespace = most, most_of_namespace
        self._used: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._used.total()

    async def take(self, namespace: str, timeout_s: float) -> bool:
        """Take a slot for a namespace. Returns False where there was none in time."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        self._grant()
        try:
            await asyncio.wait({turn}, timeout=timeout_s)
        except asyncio.CancelledError:
            if not self._withdraw(namespace, turn):
                self.give_back(namespace)
            raise
        return not self._withdraw(namespace, turn)

    def give_back(self, namespace: str) -> None:
        """A request of a namespace has ended."""
        self._used[namespace] -= 1
        if not self._used[namespace]:
            del self._used[namespace]
        self._grant()

    @contextmanager
    def taken(self, namespace: str) -> Iterator[None]:
        """Give a slot that was taken back when the context ends."""
        try:
            yield
        finally:
            self.give_back(namespace)

    def _withdraw(self, namespace: str, turn: "asyncio.Future[None]") -> bool:
        """Wait no more. Returns False where the slot was granted already."""
        if turn.done():
            return False
        waiting = self._waiting[namespace]
        waiting.remove(turn)
        if not waiting:
            del self._waiting[namespace]
        return True

    def _grant(self) -> None:
        while self.used < self._most:
            open_to = [name for name in self._waiting if self._used[name] < self._most_of_namespace]
            if not open_to:
                return
            chosen = min(open_to, key=self._used.__getitem__)
            self._used[chosen] += 1
            waiting = self._waiting[chosen]
            waiting.popleft().set_result(None)
            if not waiting:
                del self._waiting[chosen]
