"""How the deliveries of a Subscription go: what its condition says, and what became of its events."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Standing:
    """What the condition Ready says: `ready`, a CamelCase reason, a message."""

    ready: bool
    reason: str
    message: str


DELIVERING: Final = Standing(True, "Delivering", "events are delivered")


@dataclass(slots=True)
class DeliveryCounts:
    """What became of events since it was last asked."""

    delivered: int = 0
    dead_lettered: int = 0

    def taken(self) -> "DeliveryCounts":
        """What there was; from now on it is counted from zero."""
        before = DeliveryCounts(self.delivered, self.dead_lettered)
        self.delivered = self.dead_lettered = 0
        return before
