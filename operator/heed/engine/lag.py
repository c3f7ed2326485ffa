"""Consumer lag of an Agent: events that are in the stream for it and not committed yet.

Taken from what the loop holds in memory anyway, so that asking a thousand quiet Agents costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from heed.core.ledger.ledger import Ledger
from heed.engine.batch import DecisionBatch
from heed.engine.read_buffer import ReadBuffer


@dataclass(frozen=True, slots=True)
class Lag:
    """`events` beyond the Agent's cursor, the oldest of which was stored at `since` (RFC 3339), where known.

    The broker tells with every message how many are still to come, so while an Agent is busy later ones are missing.
    """

    events: int
    since: str | None


def measure_lag(ledger: Ledger, batches: Sequence[DecisionBatch], buffer: ReadBuffer) -> Lag:
    """The lag of a loop whose ledger is durable, and which has decided `batches` on top of it.

    Events that wait for room are durable, as such, and may be decided once more: they do not count.
    """
    cursor = max(ledger.cursor.sequence, ledger.cursor.inbox or 0)
    decided = [
        item.received for batch in batches for item in batch.decisions if item.received.sequence > cursor
    ]
    oldest = next(iter(decided or buffer.unread), None)
    events = len(decided) + len(buffer.unread) + buffer.pending
    return Lag(events, oldest.at if oldest is not None else None)
