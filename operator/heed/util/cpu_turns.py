"""Fair CPU turns: of all tasks with much to compute, one runs per iteration of the event loop.

What a round of the loop takes then does not grow with the number of Agents, so answers of the broker and the API server
are read in time, however much there is to decide.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary


class CpuTurns:
    """The turns of one event loop, granted in the order of requests."""

    def __init__(self) -> None:
        self._taken = False  # in this round
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn. What the task does then until it waits again should take a few milliseconds."""
        loop = asyncio.get_running_loop()
        if self._taken:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
        else:
            self._taken = True
            loop.call_soon(self._next)

    def _next(self) -> None:
        """The round is over: also the one whose turn it is now only comes to it in the next one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, CpuTurns] = WeakKeyDictionary()


def turns() -> CpuTurns:
    """The turns of the running event loop."""
    loop = asyncio.get_running_loop()
    if (found := _turns.get(loop)) is None:
        found = _turns[loop] = CpuTurns()
    return found
