"""What one consumer may have missed: when its arrivals may be handed out, and why its reader is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from heed.bus.client.stream_bounds import StreamBounds
from heed.bus.consumer.loss_detector import MAX_UNATTENDED_S, SHARED_CHECK_DELAY_S, LossDetector
from heed.errors import BusUnavailable, StreamMissing
from tests.unit.inmemory import turns


class Survey:
    """Says that a stream begins with `first`, once it may."""

    def __init__(self) -> None:
        self.first = 1
        self.error: Exception | None = None
        self.asked: list[float] = []
        self.hurried = 0
        self.open = asyncio.Event()
        self.open.set()

    async def fresh(self, within: float = 0.0) -> StreamBounds:
        self.asked.append(within)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return StreamBounds("then", self.first, 1000)

    def expedite(self) -> None:
        self.hurried += 1


class Watched:
    """The losses of one consumer, and what is told of them."""

    def __init__(self) -> None:
        self.survey = Survey()
        self.failures: list[tuple[str, int]] = []
        self.news = 0
        self.losses = LossDetector(
            self.survey,  # type: ignore[arg-type]
            lambda reason, gone: self.failures.append((reason, gone)),
            self.told,
        )

    def told(self) -> None:
        self.news += 1

    def begun(self, floor: int = 10, pending: int = 0, first: int = 1, last: int = 10) -> int:
        self.losses.note_created(floor, pending)
        self.losses.note_request(self.later())
        return self.losses.begin(StreamBounds("then", first, last), StreamBounds("then", first, last))

    def later(self, seconds: float = 1000.0) -> float:
        return asyncio.get_running_loop().time() + seconds


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    made.losses.stop()


async def test_nothing_is_handed_out_before_it_began_and_all_without_gaps_after(watched: Watched) -> None:
    watched.losses.note_created(10, 2)
    watched.losses.note_arrival(11, 1, more=True)
    assert watched.losses.certain_count == 0

    floor = watched.losses.begin(StreamBounds("then", 1, 10), StreamBounds("then", 1, 11))

    assert (floor, watched.losses.certain_count) == (10, 1)
    watched.losses.note_arrival(12, 0, more=True)
    assert watched.losses.certain_count == 2
    assert watched.survey.asked == []


@pytest.mark.parametrize(("first", "floor"), [(1, 10), (11, 10), (12, 11), (20, 19)])
async def test_a_consumer_begins_where_the_stream_does(watched: Watched, first: int, floor: int) -> None:
    watched.losses.note_created(10, 3)

    assert watched.losses.begin(StreamBounds("then", 1, 10), StreamBounds("then", first, 40)) == floor


async def test_with_nothing_to_come_all_up_to_the_end_was_others(watched: Watched) -> None:
    watched.losses.note_created(10, 0)

    assert watched.losses.begin(StreamBounds("then", 1, 30), StreamBounds("then", 31, 30)) == 10
    watched.losses.note_arrival(32, 0, more=True)
    assert watched.losses.certain_count == 1


async def test_what_came_first_is_not_behind_the_floor(watched: Watched) -> None:
    watched.losses.note_created(10, 3)
    watched.losses.note_arrival(15, 2, more=True)

    assert watched.losses.begin(StreamBounds("then", 1, 10), StreamBounds("then", 18, 40)) == 14
    assert watched.losses.certain_count == 1
    assert watched.survey.asked == []


async def test_a_doubtful_arrival_waits_until_the_stream_was_asked(watched: Watched) -> None:
    watched.begun(pending=3)
    watched.survey.open.clear()
    watched.losses.note_arrival(11, 2, more=True)
    watched.losses.note_arrival(15, 1, more=True)
    await turns()
    assert (watched.losses.certain_count, watched.survey.asked, watched.news) == (1, [0], 0)

    watched.survey.open.set()
    await turns()

    assert (watched.losses.certain_count, watched.failures) == (2, [])
    assert watched.news > 0


async def test_what_the_stream_dropped_meanwhile_loses_the_reader(watched: Watched) -> None:
    watched.begun(pending=3)
    watched.survey.first = 13
    watched.losses.note_arrival(11, 2, more=True)
    watched.losses.note_arrival(15, 1, more=True)
    await turns()

    said = "the stream dropped messages before they were read: it begins with 13, 11 was the last one read"
    assert watched.failures == [(said, 0)]
    assert watched.losses.certain_count == 1


async def test_messages_that_are_missing_for_certain_are_counted(watched: Watched) -> None:
    watched.begun(pending=5)
    watched.losses.note_arrival(11, 4, more=True)
    watched.losses.note_arrival(15, 1, more=True)
    await turns()

    assert watched.failures == [("after 11 the stream dropped 2 messages before they were read", 2)]


@pytest.mark.parametrize("error", [BusUnavailable("away"), StreamMissing("gone")])
async def test_a_stream_that_cannot_be_asked_loses_the_reader(watched: Watched, error: Exception) -> None:
    watched.begun(pending=3)
    watched.survey.error = error
    watched.losses.note_arrival(15, 2, more=True)
    watched.losses.note_arrival(25, 1, more=True)
    await turns()

    assert watched.failures == [(str(error), 0)]


async def test_a_doubt_while_it_asks_without_hurry_makes_it_hurry(watched: Watched) -> None:
    watched.begun(pending=0)
    watched.survey.open.clear()
    watched.losses.note_request(watched.later(-2 * MAX_UNATTENDED_S))
    watched.losses.note_request(watched.later())
    await turns()
    assert watched.survey.asked == [SHARED_CHECK_DELAY_S]

    watched.losses.note_arrival(11, 2, more=True)
    watched.losses.note_arrival(15, 1, more=True)

    assert watched.survey.hurried == 1


async def test_an_idle_reader_that_was_neglected_asks_and_is_attended_again(watched: Watched) -> None:
    watched.begun()
    assert watched.losses.is_attended()
    assert watched.losses.has_missed_nothing()
    watched.losses.note_request(watched.later(-2 * MAX_UNATTENDED_S))
    assert not watched.losses.is_attended()
    assert not watched.losses.has_missed_nothing()

    watched.losses.note_request(watched.later())
    await turns()

    assert watched.survey.asked == [SHARED_CHECK_DELAY_S]
    assert watched.losses.is_attended()


async def test_one_behind_which_the_stream_moved_on_is_not_attended_again(watched: Watched) -> None:
    watched.begun()
    watched.survey.first = 12
    watched.losses.note_request(watched.later(-2 * MAX_UNATTENDED_S))
    watched.losses.note_request(watched.later())
    await turns()

    assert not watched.losses.is_attended()
    assert watched.failures == []
    assert watched.news > 0


async def test_the_end_of_a_request_begins_the_time_of_neglect(watched: Watched) -> None:
    watched.begun()

    watched.losses.note_request_end()

    assert watched.losses.is_attended()
    watched.losses.note_arrival(11, 0, more=False)
    assert not watched.losses.is_attended()


async def test_messages_still_to_come_are_missed(watched: Watched) -> None:
    watched.begun(pending=1)

    assert watched.losses.is_attended()
    assert not watched.losses.has_missed_nothing()


# ── silence ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("first", "lost"), [(1, False), (11, False), (12, True)])
async def test_in_silence_the_stream_is_asked_where_more_should_come(
    watched: Watched, first: int, lost: bool
) -> None:
    watched.begun(pending=1)
    watched.survey.first = first

    await watched.losses.check_silence()

    said = (
        f"the stream dropped messages before they were read: it begins with {first}, 10 was the last one read"
    )
    assert watched.survey.asked == [0]
    assert watched.failures == ([(said, 0)] if lost else [])


async def test_in_silence_with_nothing_to_come_nobody_asks(watched: Watched) -> None:
    watched.begun(pending=0)

    await watched.losses.check_silence()

    assert watched.survey.asked == []


async def test_a_message_that_comes_while_it_asks_ends_the_silence(watched: Watched) -> None:
    watched.begun(pending=2)
    watched.survey.first = 12
    watched.survey.open.clear()
    asking = asyncio.create_task(watched.losses.check_silence())
    await turns()

    watched.losses.note_arrival(11, 1, more=True)
    watched.survey.open.set()
    await asking

    assert watched.failures == []


async def test_in_silence_a_stream_that_cannot_be_asked_loses_the_reader_once(watched: Watched) -> None:
    watched.begun(pending=1)
    watched.survey.error = BusUnavailable("away")

    await watched.losses.check_silence()

    assert watched.failures == [("away", 0)]


async def test_once_stopped_nothing_is_asked_or_told(watched: Watched) -> None:
    watched.begun(pending=3)
    watched.survey.open.clear()
    watched.losses.note_arrival(15, 2, more=True)
    watched.losses.note_arrival(25, 1, more=True)
    await turns()

    watched.losses.stop()
    watched.survey.open.set()
    await turns()

    assert (watched.losses.certain_count, watched.news, watched.failures) == (0, 0, [])
