"""What the readers of one connection may ask for and hold, together."""

import pytest

from heed.bus.client.flow_control import (
    FAIR_REQUEST_BYTES,
    MAX_REQUEST_BYTES,
    MIN_REQUEST_BYTES,
    READ_AHEAD_BYTES,
    CreditPool,
)
from tests.unit.credits import ENVELOPE, MIB, OBJECTS, Reader


def test_a_reader_alone_asks_for_as_much_as_ever() -> None:
    reader = Reader(CreditPool()).want()

    assert reader.asked == [MAX_REQUEST_BYTES]


def test_what_is_in_flight_is_bounded_for_all_together() -> None:
    credits = CreditPool()
    readers = [Reader(credits).want() for _ in range(200)]

    assert 0 < sum(sum(reader.asked) for reader in readers) <= READ_AHEAD_BYTES // 4
    assert credits.in_flight == sum(sum(reader.asked) for reader in readers)


def test_turns_are_taken_in_order_and_one_that_had_its_turn_waits_for_all_others() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)  # one may be in flight
    readers = [Reader(credits).want() for _ in range(3)]
    turns: list[Reader] = []

    for _ in range(9):
        [at_work] = [
            reader for reader in readers if len(reader.asked) > len([t for t in turns if t is reader])
        ]
        turns.append(at_work)
        at_work.got(2000)
        at_work.want()

    assert turns == readers * 3


def test_bytes_that_came_make_room_for_the_next_one_before_the_request_is_over() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    first, second = Reader(credits).want(), Reader(credits).want()
    assert second.asked == []

    first.credit.add_held(MIN_REQUEST_BYTES - 2 * ENVELOPE)
    assert second.asked == []
    first.credit.add_held(MIN_REQUEST_BYTES)

    assert second.asked == [2 * MIN_REQUEST_BYTES]


def test_one_that_holds_its_share_waits_until_some_of_it_is_durable() -> None:
    credits = CreditPool(8 * MIB)
    others = [Reader(credits).want().got(MIB) for _ in range(7)]
    reader = Reader(credits).want().got(MIB)
    assert others

    reader.want()
    assert len(reader.asked) == 1
    reader.credit.free_held(MIB)

    assert len(reader.asked) == 2


def test_the_share_grows_as_others_need_none() -> None:
    credits = CreditPool(8 * MIB)
    others = [Reader(credits).want().got(MIB) for _ in range(7)]
    reader = Reader(credits).want().got(MIB)
    for other in others:
        other.credit.close()

    reader.want()

    assert len(reader.asked) == 2


def test_one_that_is_stuck_with_its_share_stops_nobody() -> None:
    credits = CreditPool(4 * MIB)
    stuck = [Reader(credits).want().got(MIB) for _ in range(100)]
    assert credits.held == 100 * MIB, "each may hold one message, whatever the others hold"

    reader = Reader(credits).want()

    assert reader.asked
    assert all(len(item.asked) == 1 for item in stuck)


def test_a_message_larger_than_what_was_asked_for_is_asked_for_at_last() -> None:
    credits = CreditPool(4 * MIB)  # one MiB in flight
    reader, size = Reader(credits), 60 * MIB  # stored when the broker took more than it does today

    for _ in range(10):
        reader.want()
        if reader.asked[-1] >= size:
            break
        reader.credit.note_too_small(reader.asked[-1])
        reader.credit.end_request()

    assert reader.asked[-1] >= size
    assert len(reader.asked) < 8
    assert any(MIB <= asked < 1.1 * MIB for asked in reader.asked), "first what the broker takes today"


def test_what_needs_more_than_may_be_in_flight_has_it_for_itself() -> None:
    credits = CreditPool(4 * MIB)
    small, large = Reader(credits).want(), Reader(credits)
    large.credit.note_too_small(20 * MIB)
    large.want()
    assert large.asked == []

    small.got(2000)
    assert large.asked == [80 * MIB]
    small.want()
    assert len(small.asked) == 1

    large.got(50 * MIB)
    assert len(small.asked) == 2


def test_a_guess_is_forgotten_when_the_message_has_come() -> None:
    reader = Reader(CreditPool())
    reader.credit.note_too_small(MIB // 2)
    assert reader.credit.least > MIB

    reader.want().got(400_000)

    assert reader.credit.least == pytest.approx(450_000, rel=0.01)


@pytest.mark.parametrize("count", [1, 60, 1000, 5000])
def test_all_that_wait_for_news_may_be_answered_at_once(count: int) -> None:
    credits = CreditPool()
    for _ in range(count):
        Reader(credits)

    assert count * credits.standing() <= READ_AHEAD_BYTES // 8


@pytest.mark.parametrize("how", ["queued", "asked", "holding"])
def test_one_that_is_gone_leaves_nothing_behind(how: str) -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    other = Reader(credits).want() if how == "queued" else None
    reader = Reader(credits).want()
    if how == "holding":
        reader.got(MIB)

    reader.credit.close()
    reader.credit.close()
    reader.credit.free_held(MIB)
    if other is not None:
        other.credit.close()

    assert (credits.in_flight, credits.held) == (0, 0)
    assert Reader(credits).want().asked


def test_one_that_was_stopped_has_no_turn_and_holds_what_it_held() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    reader, other = Reader(credits).want().got(2000), Reader(credits)
    reader.want()
    other.want()
    assert other.asked == []

    reader.credit.stop()
    assert other.asked, "the turn goes to the next one"
    assert credits.held == 2000

    reader.want()
    assert len(reader.asked) == 2
    reader.credit.free_held(2000)
    assert credits.held == 0


def test_a_small_message_takes_more_here_than_on_its_way() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    reader = Reader(credits).want()
    asked = credits.in_flight

    held = reader.credit.add_held(100)

    assert (credits.held, held) == (100 + OBJECTS, 100 + OBJECTS)
    assert credits.in_flight == asked - (100 + ENVELOPE)
