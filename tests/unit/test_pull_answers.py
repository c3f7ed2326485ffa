"""What the server says of a reader's requests, what comes for them, and what loses the reader."""

import pytest

from heed.errors import ReaderLost
from tests.unit.pulls import Reading, news, reading_of, turn
from tests.unit.wire import API, CONSUMER, STREAM, Clock, Sent, consumer

# ── what the server says of a request ───────────────────────────────────────────────────────────────────────────────

SMALL = 64 * 1024  # bytes that a turn is good for at least
LARGE = 128 * 1024  # and where so many may be in flight


@pytest.mark.parametrize(
    ("code", "description", "unsent"),
    [
        ("404", "No Messages", 7),
        ("404", "No Messages", None),
        ("408", "Request Timeout", 7),
        ("408", "Request Timeout", "many"),
    ],
)
async def test_a_request_that_ended_leaves_nothing_to_come(
    behind: Reading, code: str, description: str, unsent: int | str | None
) -> None:
    await behind.wait()

    await behind.wire.status(code, description, unsent)

    assert behind.pull.to_come == 0
    await behind.wait()
    assert behind.asked == [turn(7), news(behind.wire)]


async def test_a_request_ends_with_the_last_message_that_was_sent_for_it(behind: Reading) -> None:
    await behind.wait(limit=1)
    await behind.wire.status("409", "Batch Completed", 5)
    await behind.wait(limit=1)
    assert behind.asked == [turn(7)], "two are on their way"

    await behind.wire.message(101, 1, 6)
    await behind.wire.message(102, 2, 5)
    await behind.wait()

    assert behind.asked == [turn(7), turn(5)]


@pytest.mark.parametrize("words", ["Message Size Exceeds MaxBytes", "message size exceeds maxbytes"])
@pytest.mark.parametrize(
    ("pending", "unsent", "then"),
    [
        (0, 500, turn(1, 4 * SMALL)),  # it waited for news, and there is one
        (7, 7, turn(7, 4 * LARGE)),
        (7, 6, turn(7, LARGE)),  # it was not the first
        (7, None, turn(7, LARGE)),
    ],
)
async def test_a_message_too_large_for_a_request_is_asked_for_with_four_times_the_bytes(
    words: str, pending: int, unsent: int | None, then: dict[str, int]
) -> None:
    async with reading_of(pending, read_ahead=4 * LARGE) as reading:
        await reading.wait()
        await reading.wire.status("409", words, unsent)
        for _ in range(pending - unsent if unsent and pending else 0):
            await reading.wire.message(1, 1, 7)
        await reading.wait()

        assert reading.asked[1:] == [then]


async def test_a_message_that_comes_after_all_makes_no_next_one_large() -> None:
    async with reading_of() as reading:
        await reading.wait()
        await reading.wire.status("409", "Message Size Exceeds MaxBytes", 500)
        await reading.wait()
        await reading.wire.message(1, 1)
        await reading.wait()

        assert reading.asked[2:] == [news(reading.wire)]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Status": "503"}, "its consumer is gone"),
        ({"Status": "409", "Description": "Consumer Deleted"}, "409 Consumer Deleted"),
        ({"Status": "409", "Description": "Batch Completed at last"}, "409 Batch Completed at last"),
        ({"Status": "400", "Description": "Bad Request"}, "400 Bad Request"),
        ({"Status": "500"}, "500"),
        ({}, "an answer without a status"),
        (None, "an answer without a status"),
    ],
)
async def test_any_other_answer_loses_the_reader(
    reading: Reading, headers: dict[str, str] | None, why: str
) -> None:
    taking = await reading.waiting()

    await reading.wire.play(headers=headers)

    assert reading.why() == why
    with pytest.raises(ReaderLost):
        await taking
    assert reading.wire.credits.in_flight == 0


async def test_a_sign_of_life_changes_nothing(behind: Reading) -> None:
    await behind.wait()

    await behind.wire.status("100", "Idle Heartbeat")

    behind.pull.check()
    assert (behind.pull.to_come, behind.asked) == (7, [turn(7)])


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("begin", "end"),
    [("", ""), ("hub.hash.", ""), ("hub.hash.", ".random")],
    ids=["short", "with a domain", "with something at its end"],
)
async def test_a_message_says_where_it_stands_also_from_another_domain(
    behind: Reading, begin: str, end: str
) -> None:
    reply = f"$JS.ACK.{begin}{STREAM}.{CONSUMER}.1.104.1.1234.5{end}"
    await behind.wire.play(b"data", reply=reply, subject="heed.events.x")

    [arrival] = await behind.take()

    found = (arrival.sequence, arrival.at, arrival.pending, arrival.message.data, arrival.message.subject)
    assert found == (104, 1234, 5, b"data", "heed.events.x")
    assert (behind.pull.to_come, behind.pull.reached) == (5, 104)
    assert (arrival.size, behind.wire.credits.held) == (1028, 1028)
    behind.pull.release(1028)
    assert behind.wire.credits.held == 0


@pytest.mark.parametrize("delivered", [1, 3])
async def test_a_number_that_does_not_follow_loses_the_reader(reading: Reading, delivered: int) -> None:
    await reading.wire.message(1, 1)

    await reading.wire.message(2, delivered)

    assert reading.why() == f"message 2 of its consumer is missing, {delivered} came"
    assert reading.pull.arrived == 1


async def test_what_was_lost_takes_nothing_more(reading: Reading) -> None:
    await reading.wire.status("503")

    await reading.wire.message(1, 1)
    await reading.wire.status("500", "another reason")

    assert reading.pull.arrived == 0
    assert reading.why() == "its consumer is gone"


async def test_taking_ends_with_nothing_after_its_time(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    taking = await reading.waiting(timeout=3)
    await clock.on(2.9)
    assert not taking.done()

    await clock.on(0.2)

    assert await taking == []


async def test_the_time_for_which_others_have_their_turn_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    async with reading_of(pending=7) as reading:
        credits = reading.wire.credits
        credits.in_flight = credits.flight_limit
        taking = await reading.waiting(timeout=3)
        for _ in range(10):
            await clock.on(1.1)
        assert not taking.done() and reading.asked == []

        credits.in_flight = 0
        credits.grant_turns()
        await clock.on(1.1)

        assert await taking == []


@pytest.mark.parametrize(
    ("pending", "sent", "taken", "through"),
    [(0, 2, 2, True), (1, 2, 2, False), (0, 3, 2, False), (0, 2, 1, False)],
)
async def test_a_consumer_is_through_when_all_that_it_had_to_send_was_taken(
    reading: Reading, pending: int, sent: int, taken: int, through: bool
) -> None:
    for number in (1, 2):
        await reading.wire.message(number, number, 2 - number)
    await reading.take(limit=taken)
    reading.wire.answers["CONSUMER.INFO"] = consumer(pending, delivered=sent)

    assert await reading.pull.is_exhausted() is through

    assert reading.wire.asked("CONSUMER.INFO") == [Sent(f"{API}CONSUMER.INFO.{STREAM}.{CONSUMER}")]
