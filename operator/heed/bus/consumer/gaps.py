"""Tells harmless gaps in stream sequences (messages of other subjects) from messages that were dropped unread.

A stream that is full drops its oldest messages, read or not, and the consumer goes on with the next one without a
gap in its own numbers. What can be seen is that stream sequences were left out. On a shared stream they always are:
those are the messages of other subjects. Two things tell the difference.

- The consumer reports with every message how many are still to come. Where it reported none, and a request was open
  all the time, it would have delivered its own at once: what was left out belongs to other subjects.
- What the stream still holds after a message has come, it held when that message was sent: then nothing was dropped.

Only where neither can be said, something may be missing.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _PossibleGap:
    """A possible gap before arrival number `count`, after sequence `after`; `gone` messages are lost for certain."""

    count: int
    after: int
    gone: int


@dataclass(frozen=True, slots=True)
class MessageLoss:
    """A loss: a sentence that says what is missing, and how many messages for certain."""

    reason: str
    gone: int = 0


class GapDetector:
    """The arrivals of one consumer: `count` so far, the last one at `sequence`, with `pending` still to come."""

    def __init__(self, sequence: int = 0, pending: int = 0) -> None:
        self.sequence = sequence
        self.pending = pending
        self.count = 0
        self._doubts: deque[_PossibleGap] = deque()

    def note_arrival(self, sequence: int, pending: int, *, attended: bool) -> bool:
        """Note an arrival. `attended`: a pull request was open ever since the arrival before.

        Returns whether something may be missing before it.
        """
        self.count += 1
        left_out, gone = sequence > self.sequence + 1, self.pending - 1 - pending
        doubtful = gone > 0 or (left_out and (self.pending > 0 or not attended))
        if doubtful:
            self._doubts.append(_PossibleGap(self.count, self.sequence, max(0, gone)))
        self.sequence, self.pending = sequence, pending
        return doubtful

    @property
    def certain_count(self) -> int:
        """How many arrivals come before the first possible gap."""
        return self._doubts[0].count - 1 if self._doubts else self.count

    def trust_first(self) -> None:
        """Drop a possible gap before the first arrival: the caller has accounted for it."""
        if self._doubts and self._doubts[0].count == 1:
            self._doubts.popleft()

    def resolve(self, count: int, first: int) -> MessageLoss | None:
        """Resolve possible gaps before the first `count` arrivals. Returns the loss, or None.

        `first`: the first sequence that the stream holds, asked for after these arrivals had come.
        """
        while self._doubts and self._doubts[0].count <= count:
            doubt = self._doubts[0]
            if doubt.gone:
                return MessageLoss(_dropped(doubt), doubt.gone)
            if first > doubt.after + 1:
                return MessageLoss(describe_loss(doubt.after, first))
            self._doubts.popleft()
        return None


def _dropped(doubt: _PossibleGap) -> str:
    return f"after {doubt.after} the stream dropped {doubt.gone} messages before they were read"


def describe_loss(after: int, first: int) -> str:
    """A sentence on what is missing after a sequence, where the stream begins with `first` now."""
    return f"the stream dropped messages before they were read: it begins with {first}, {after} was the last one read"
