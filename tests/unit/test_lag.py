"""The lag of a loop, from what it holds in memory."""

from collections.abc import Sequence

from heed.api.status import Cursor
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.batch import DecisionBatch
from heed.engine.lag import Lag, measure_lag
from heed.engine.read_buffer import ReadBuffer
from tests.builders.events import at, received
from tests.unit.inmemory import Reader, turns


def batch(*numbers: int) -> DecisionBatch:
    return DecisionBatch(Ledger(), [Decision(received(number), Ledger(), "handled") for number in numbers])


async def lag(
    cursor: Cursor, batches: Sequence[DecisionBatch], *reads: Sequence[Received], pending: int = 0
) -> Lag:
    reader = Reader(*reads)
    reader.pending = pending
    buffer = ReadBuffer(reader)
    await turns()
    try:
        return measure_lag(Ledger(cursor=cursor), batches, buffer)
    finally:
        await buffer.close()


async def test_nothing_there_is_no_lag() -> None:
    assert await lag(Cursor("HEED", 7), []) == Lag(0, None)


async def test_what_is_decided_and_unread_and_to_come_counts_since_the_oldest_decided() -> None:
    batches = [batch(8, 9), batch(10)]

    assert await lag(Cursor("HEED", 7), batches, [received(11), received(12)], pending=5) == Lag(10, at(8))


async def test_without_anything_decided_the_oldest_unread_tells_the_time() -> None:
    assert await lag(Cursor("HEED", 7), [], [received(11), received(12)]) == Lag(2, at(11))


async def test_what_is_only_known_to_come_has_no_time() -> None:
    assert await lag(Cursor("HEED", 7), [], pending=3) == Lag(3, None)


async def test_what_waited_behind_the_cursor_does_not_count_again() -> None:
    assert await lag(Cursor("HEED", 7), [batch(3, 7, 8)]) == Lag(1, at(8))


async def test_ahead_in_the_inbox_that_place_is_the_cursor() -> None:
    assert await lag(Cursor("HEED", 3, inbox=9), [batch(8, 9, 10, 11)]) == Lag(2, at(10))
    assert await lag(Cursor("HEED", 9, inbox=3), [batch(8, 9, 10, 11)]) == Lag(2, at(10))
