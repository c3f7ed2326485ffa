"""Credit-based flow control (backpressure): bounds the bytes that all readers of a connection request and hold.

A broker ends a connection that it cannot write to fast enough (a slow consumer; nats-server keeps 64 MiB for one at
most), and it keeps no reader's request small for the sake of the others. So they share three budgets:

- in flight: asked for, known to be there, and not here yet. Readers take turns, first come, first served.
- standing: the requests that wait for news. They need no turn, and are small enough for all of them to be answered
  with the same event at once; one that is larger takes a turn.
- held: here, and not durable yet. A reader that holds its share waits until it has made some of it durable. One that
  holds nothing may always ask for a message, so a reader that is stuck with its share stops no other one.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

READ_AHEAD_BYTES: Final = 64 * 1024**2  # bytes that all readers together may hold
_IN_FLIGHT_DIVISOR: Final = 4  # of which so many parts may be in flight
_STANDING_DIVISOR: Final = 8
MAX_REQUEST_BYTES: Final = 8 * 1024**2
FAIR_REQUEST_BYTES: Final = 1024**2  # granted to a turn, however many readers are queued
MIN_REQUEST_BYTES: Final = 64 * 1024
_MESSAGE_OVERHEAD_BYTES: Final = (
    256  # about the bytes of a message beside its data, as the broker counts them
)
_OBJECT_OVERHEAD_BYTES: Final = 1024  # about the bytes that a message takes in this process beside its data
_SUBJECT_OVERHEAD_BYTES: Final = 4096  # subjects of a message, which the broker counts too
_MIN_SHARES: Final = 64  # readers; so that the first of many to come ask for no more than the last


class CreditPool:
    """The byte budgets of one connection, shared by its readers."""

    def __init__(self, read_ahead: int = READ_AHEAD_BYTES) -> None:
        self.held_limit = read_ahead
        self.flight_limit = max(1, read_ahead // _IN_FLIGHT_DIVISOR)
        self.in_flight = 0
        self._standing = max(1, read_ahead // _STANDING_DIVISOR)
        self._readers = 0
        self._busy: set[ReaderCredit] = set()  # those that hold something, wait for their turn or have it
        self._queue: deque[ReaderCredit] = deque()

    @property
    def held(self) -> int:
        """Bytes received by all readers and not durable yet."""
        return sum(credit.held for credit in self._busy)

    def open(self, max_payload: int, ask: Callable[[int], None]) -> "ReaderCredit":
        """Add a reader. `ask` is called with the bytes it may request when its turn comes."""
        self._readers += 1
        return ReaderCredit(self, max_payload, ask)

    def standing(self) -> int:
        """Bytes that a standing request may ask for without a turn."""
        return max(1, min(MAX_REQUEST_BYTES, self._standing // max(_MIN_SHARES, self._readers)))

    def share(self) -> int:
        """Bytes that each busy reader may hold."""
        return self.held_limit // max(1, len(self._busy))

    def enqueue(self, credit: "ReaderCredit") -> None:
        """Queue a reader for its turn."""
        self._queue.append(credit)
        self.update_busy(credit)
        self.grant_turns()

    def update_busy(self, credit: "ReaderCredit") -> None:
        """Update whether a reader counts as busy."""
        if credit.is_busy:
            self._busy.add(credit)
        else:
            self._busy.discard(credit)

    def grant_turns(self) -> None:
        """Grant turns to queued readers while the in-flight budget lasts."""
        while self._queue:
            credit, room = self._queue[0], self.flight_limit - self.in_flight
            least = credit.least
            if least > room and self.in_flight:  # what needs more than there ever is has it all for itself
                return
            self._queue.popleft()
            size = max(least, min(room, self._portion(credit)))
            self.in_flight += size
            credit.take_turn(size)

    def withdraw(self, credit: "ReaderCredit") -> None:
        """Remove a reader from the queue, and end its request."""
        if credit.queued:
            self._queue.remove(credit)
            credit.queued = False
        credit.end_request()
        self.update_busy(credit)
        self.grant_turns()

    def remove(self, credit: "ReaderCredit") -> None:
        """Remove a closed reader."""
        self._readers -= 1
        self._busy.discard(credit)

    def _portion(self, credit: "ReaderCredit") -> int:
        """As much as fits while others get their turn as well."""
        fair = max(FAIR_REQUEST_BYTES, self.flight_limit // len(self._busy))
        return min(MAX_REQUEST_BYTES, self.share() - credit.held, fair)


class ReaderCredit:
    """What one reader may ask for. `held` is what came and is not durable; `least` what its next message may need."""

    def __init__(self, credits: CreditPool, max_payload: int, ask: Callable[[int], None]) -> None:
        self.held = 0
        self.least = MIN_REQUEST_BYTES
        self._credits, self._ask = credits, ask
        self._largest = (
            max_payload + _SUBJECT_OVERHEAD_BYTES
        )  # that is sent today; older messages may be larger
        self._seen = 0  # bytes of the largest message that came
        self._guessed = False  # that the next one is as large as `least`
        self._turn = 0  # bytes in flight
        self.queued = False  # it waits for its turn
        self._full = False  # it waits for what it holds to become durable
        self._open, self._stopped = True, False

    @property
    def is_busy(self) -> bool:
        """Whether it takes part in sharing the budget."""
        return bool(self.held or self.queued or self._turn)

    def request_turn(self) -> None:
        """Queue for a turn to request more, or do so once enough of what is held is durable. No effect while queued."""
        if self.queued or self._stopped:
            return
        self._full = bool(self.held) and self.held + self.least > self._credits.share()
        if not self._full:
            self.queued = True
            self._credits.enqueue(self)

    def take_turn(self, size: int) -> None:
        """Request `size` bytes now, in its turn."""
        self.queued, self._turn = False, size
        self._ask(size)

    def add_held(self, size: int) -> int:
        """Account for a delivered message with `size` bytes of data. Returns the bytes that count as held."""
        held, size = size + _OBJECT_OVERHEAD_BYTES, size + _MESSAGE_OVERHEAD_BYTES
        if not self.held:
            self.held = held
            self._credits.update_busy(self)
        else:
            self.held += held
        if size > self._seen or self._guessed:
            self._guessed, self._seen = False, max(size, self._seen)
            self.least = max(MIN_REQUEST_BYTES, self._seen + self._seen // 8)
        if self._turn:
            self._give_back(min(size, self._turn))
        return held

    def note_too_small(self, asked: int) -> None:
        """Note that the next message is larger than the bytes requested."""
        self._guessed, larger = True, max(asked, self.least) * 4
        self.least = min(larger, self._largest) if asked < self._largest else larger

    def end_request(self) -> None:
        """End the request, and free what it reserved and did not deliver."""
        if self._turn:
            self._give_back(self._turn)

    def free_held(self, size: int) -> None:
        """Free `size` held bytes, which are durable now."""
        if self._open:
            self.held -= size
            self._credits.update_busy(self)
            if self._full:
                self.request_turn()

    def stop(self) -> None:
        """Request nothing more. Held bytes stay held until durable, or until the reader is closed."""
        if not self._stopped:
            self._stopped = True
            self._credits.withdraw(self)

    def close(self) -> None:
        """Leave the pool and free everything."""
        self.stop()
        if self._open:
            self._open, self.held = False, 0
            self._credits.remove(self)

    def _give_back(self, size: int) -> None:
        self._turn -= size
        self._credits.in_flight -= size
        self._credits.update_busy(self)
        self._credits.grant_turns()
