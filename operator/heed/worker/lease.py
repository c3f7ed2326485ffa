"""The lease of a work item: as long as it lasts, the queue gives the item to no other worker.

A process that was frozen goes on as if nothing had happened, when another one has long had its item. It must not send
what the other has sent.
"""

from typing import Final

from heed.bus.work_queue import ACK_WAIT_S
from heed.util.clock import loop_time

LEASE_S: Final = ACK_WAIT_S - 5.0  # the rest is for a sign of life to get to the queue


class LeaseOver(Exception):
    """The item may be another worker's: leave it alone, and say nothing of it."""


class Lease:
    """One, of an item that was asked for at `since`, by the loop's clock. `again`: a worker has had it before."""

    def __init__(self, since: float, *, again: bool) -> None:
        self.again = again
        self._until = since + LEASE_S

    @property
    def is_over(self) -> bool:
        """Whether another worker may have the item."""
        return loop_time() >= self._until

    def renew(self) -> None:
        """Note a sign of life, which counts from now on; one that comes too late does not."""
        if not self.is_over:
            self._until = loop_time() + LEASE_S
