"""Whether what a consumer left out was others', or was ours and has been dropped by the stream unread.

A stream that is full drops its oldest messages, whoever still wants to read them, and the consumer goes on with the
next one without a gap in its own numbers. What can be seen is that stream sequences were left out. On a stream that
many share they always are: those are the messages of others. Two things tell the difference.

- The consumer says with every message how many of ours are still to come. Where it said none, and was asked for more
  all the time, it would have delivered ours at once: what was left out was others'.
- What the stream still holds after a message has come, it held when that message was sent: then nothing was dropped.

Only where neither can be said, something may be missing.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _PossibleGap:
    """Before the arrival `count`, the sequences after `after` were left out; `gone` of them were ours for certain."""

    count: int
    after: int
    gone: int


@dataclass(frozen=True, slots=True)
class MessageLoss:
    """What is missing, in words, and how many messages for certain."""

    reason: str
    gone: int = 0


class GapDetector:
    """The arrivals of one consumer. `count` of them came, the last one at `sequence`, with `pending` still to come."""

    def __init__(self, sequence: int = 0, pending: int = 0) -> None:
        self.sequence = sequence
        self.pending = pending
        self.count = 0
        self._doubts: deque[_PossibleGap] = deque()

    def arrived(self, sequence: int, pending: int, *, attended: bool) -> bool:
        """A message came. `attended`: since the one before, the consumer was asked for more all the time.

        Whether something may be missing before it.
        """
        self.count += 1
        left_out, gone = sequence > self.sequence + 1, self.pending - 1 - pending
        doubtful = gone > 0 or (left_out and (self.pending > 0 or not attended))
        if doubtful:
            self._doubts.append(_PossibleGap(self.count, self.sequence, max(0, gone)))
        self.sequence, self.pending = sequence, pending
        return doubtful

    @property
    def sure(self) -> int:
        """How many arrivals have nothing missing before them, as far as is known."""
        return self._doubts[0].count - 1 if self._doubts else self.count

    def trust_first(self) -> None:
        """Whatever may be missing before the first arrival was reckoned with already."""
        if self._doubts and self._doubts[0].count == 1:
            self._doubts.popleft()

    def settle(self, count: int, first: int) -> MessageLoss | None:
        """What is missing before the first `count` arrivals, or None.

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
    """Words for what is missing after a sequence in a stream that begins with `first` now."""
    return f"the stream dropped messages before they were read: it begins with {first}, {after} was the last one read"
