"""How many bytes a reader may ask for: its turn, its share, and what its next message may need."""

import pytest

from heed.bus.client.flow_control import FAIR_REQUEST_BYTES, MAX_REQUEST_BYTES, MIN_REQUEST_BYTES, CreditPool
from tests.unit.credits import ENVELOPE, MIB, Reader


@pytest.mark.parametrize(
    ("read_ahead", "held", "others", "asked"),
    [
        (64 * MIB, 0, 0, 8 * MIB),  # the most that one request is good for
        (16 * MIB, 0, 0, 4 * MIB),  # a quarter may be in flight
        (64 * MIB, 60 * MIB, 0, 4 * MIB),  # what is left of its share
        (64 * MIB, 10 * MIB, 3, 4 * MIB),  # a fourth of what may be in flight; its share has room for 6
        (64 * MIB, 14 * MIB, 3, 2 * MIB),  # what is left of a fourth
        (8 * MIB, 0, 7, MIB),  # fair, though an eighth of what may be in flight is less
    ],
)
def test_a_turn_is_as_large_as_what_may_be_held_and_as_is_fair(
    read_ahead: int, held: int, others: int, asked: int
) -> None:
    credits = CreditPool(read_ahead)
    waiting = [Reader(credits).want().got(2000) for _ in range(others)]
    assert len(waiting) == others
    reader = Reader(credits).want().got(held) if held else Reader(credits)
    reader.credit.least = MIN_REQUEST_BYTES  # whatever came before says nothing of the next one

    reader.want()

    assert reader.asked[-1] == asked


@pytest.mark.parametrize("held", [8 * MIB - MIN_REQUEST_BYTES, 8 * MIB - MIN_REQUEST_BYTES + 1])
def test_a_reader_is_full_when_its_share_has_no_room_for_the_next_message(held: int) -> None:
    credits = CreditPool(8 * MIB)
    reader = Reader(credits).want().got(held)
    reader.credit.least = MIN_REQUEST_BYTES

    reader.want()

    assert (len(reader.asked) == 2) is (held == 8 * MIB - MIN_REQUEST_BYTES)


def test_what_may_be_read_ahead_is_never_nothing() -> None:
    credits = CreditPool(1)

    assert (credits.held_limit, credits.flight_limit, credits.standing()) == (1, 1, 1)
    assert CreditPool().held_limit == 64 * MIB


@pytest.mark.parametrize(
    ("readers", "standing"), [(0, 131_072), (1, 131_072), (64, 131_072), (65, 129_055), (128, 65_536)]
)
def test_a_request_for_news_is_a_part_of_an_eighth(readers: int, standing: int) -> None:
    credits = CreditPool(64 * MIB)
    made = [Reader(credits) for _ in range(readers)]

    assert credits.standing() == standing

    for reader in made:
        reader.credit.close()
        reader.credit.close()
    assert credits.standing() == 131_072, "they are gone, each of them once"
    assert CreditPool(64 * 1024 * MIB).standing() == MAX_REQUEST_BYTES


@pytest.mark.parametrize(
    ("size", "least"),
    [(MIN_REQUEST_BYTES // 2, MIN_REQUEST_BYTES), (80_000, 90_288), (8_000_000 - ENVELOPE, 9_000_000)],
)
def test_the_next_message_may_be_an_eighth_larger_than_the_largest(size: int, least: int) -> None:
    reader = Reader(CreditPool()).want()

    reader.credit.add_held(size)
    reader.credit.add_held(10)

    assert reader.credit.least == least


@pytest.mark.parametrize(
    ("largest", "asked", "least"),
    [
        (MIB, 100, 4 * MIN_REQUEST_BYTES),
        (MIB, 100_000, 400_000),
        (MIB, 400_000, MIB + 4096),  # which is what the broker takes today
        (MIB, MIB + 4095, MIB + 4096),
        (MIB, MIB + 4096, 4 * (MIB + 4096)),
    ],
)
def test_what_was_too_small_is_four_times_as_much_up_to_what_the_broker_takes(
    largest: int, asked: int, least: int
) -> None:
    reader = Reader(CreditPool(), largest)

    reader.credit.note_too_small(asked)

    assert reader.credit.least == least


def test_a_request_gives_back_no_more_than_it_was_good_for() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    reader, other = Reader(credits).want(), Reader(credits).want()

    reader.credit.add_held(5 * FAIR_REQUEST_BYTES)
    reader.credit.end_request()

    assert other.asked == [FAIR_REQUEST_BYTES]
    assert credits.in_flight == FAIR_REQUEST_BYTES


def test_one_that_waits_wants_nothing_twice() -> None:
    credits = CreditPool(4 * FAIR_REQUEST_BYTES)
    first, second = Reader(credits).want(), Reader(credits).want().want()

    first.credit.end_request()
    second.credit.end_request()

    assert (len(first.asked), len(second.asked), credits.in_flight) == (1, 1, 0)
