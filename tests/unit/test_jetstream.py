"""What the bus reads from where, and what it says where it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.errors import BusUnavailable, StreamMissing, StreamReplaced
from tests.unit.inmemory import turns
from tests.unit.wire import Sent, Wire, consumer, refusal, stored_message, stream_info

SUBJECT = "heed.events.demo.a.b"
EVENT = Event("1", "/s", "a.b", {"n": 1}, datacontenttype="application/json")
HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/s",
    "ce-type": "a.b",
    "ce-datacontenttype": "application/json",
}
NO_STREAM = refusal(10059, 404)


def reading(**answers: Any) -> Wire:
    """A broker with a stream, and a consumer that has nothing to deliver."""
    usual = {
        "CONSUMER_CREATE": consumer(floor=100),
        "STREAM_INFO": stream_info(),
        "STREAM_MSG_GET": {"message": {"seq": 42}},
    }
    return Wire({name.replace("_", "."): answer for name, answer in {**usual, **answers}.items()})


@pytest.mark.parametrize(
    ("after", "begin"),
    [
        (0, None),
        (7, {"deliver_policy": "by_start_sequence", "opt_start_seq": 8}),
    ],
)
@pytest.mark.parametrize(
    ("subjects", "filters"),
    [(["a.b", "c.*"], ["a.b", "c.*"]), (["a.*", "a.b"], ["a.*"]), (["a.*", "*.b"], ["*.*"])],
)
async def test_a_consumer_reads_its_subjects_from_the_cursor_or_a_time_on(
    after: int, begin: dict[str, Any] | None, subjects: list[str], filters: list[str]
) -> None:
    wire = reading()
    if begin is None and len(filters) > 1:
        begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": 42}
    elif begin is None:
        begin = {"deliver_policy": "by_start_time", "opt_start_time": "2026-01-31T12:00:00Z"}

    reader = await JetStreamBus(wire).open(subjects, after, "2026-01-31T12:00:00Z")

    [made] = wire.asked("CONSUMER.CREATE")
    theirs = ("filter_subjects", "deliver_policy", "opt_start_time", "opt_start_seq")
    wanted = {name: value for name, value in made.body["config"].items() if name in theirs}
    assert wanted == {"filter_subjects": filters, **begin}
    assert (reader.created, reader.floor, reader.pending) == ("then", 100, 0)
    await reader.close()


async def test_a_reader_of_several_subjects_asks_where_its_time_is() -> None:
    wire = reading()

    await (await JetStreamBus(wire).open(["a.b", "c.*"], 0, "2026-01-31T12:00:00Z")).close()

    [asked] = wire.asked("STREAM.MSG.GET")
    assert asked.body == {"start_time": "2026-01-31T12:00:00Z", "next_by_subj": ">"}


async def test_where_nothing_was_stored_since_it_begins_behind_what_was_there_before_it_asked() -> None:
    wire = reading(STREAM_MSG_GET=refusal(10037, 404))

    await (await JetStreamBus(wire).open(["a.b", "c.*"], 0, "2026-01-31T12:00:00Z")).close()

    [made] = wire.asked("CONSUMER.CREATE")
    assert made.body["config"]["opt_start_seq"] == 101


@pytest.mark.parametrize(
    ("answers", "after", "created", "error", "words"),
    [
        ({"STREAM_INFO": NO_STREAM}, 7, None, StreamMissing, "there is no stream HEED"),
        ({"CONSUMER_CREATE": NO_STREAM}, 7, None, StreamMissing, "there is no stream HEED"),
        ({"CONSUMER_CREATE": refusal(10074)}, 7, None, ApiRefused, "the broker refused CONSUMER.CREATE.HEED"),
        ({}, 7, "before", StreamReplaced, "created at then, and the cursor belongs to one created at before"),
        ({}, 101, "then", StreamReplaced, "stream HEED ends at 100, and 101 was read from it"),
        ({}, 101, None, StreamReplaced, "stream HEED ends at 100, and 101 was read from it"),
        (
            {"CONSUMER_CREATE": consumer(floor=6)},
            7,
            None,
            BusUnavailable,
            "a replica of stream HEED lags behind; trying again will help",
        ),
    ],
)
async def test_a_place_that_cannot_be_read_from_says_why_and_leaves_nothing_behind(
    answers: dict[str, Any], after: int, created: str | None, error: type[Exception], words: str
) -> None:
    wire = reading(**answers)

    with pytest.raises(error, match=words) as raised:
        await JetStreamBus(wire).open(["a"], after, "", created)

    assert type(raised.value) is error
    assert wire.library.listening == {}


@pytest.mark.parametrize(("after", "created"), [(100, "then"), (100, None), (7, "then")])
async def test_a_place_in_the_stream_is_read_from(after: int, created: str | None) -> None:
    reader = await JetStreamBus(reading()).open(["a"], after, "", created)
    await reader.close()


async def test_a_reader_that_is_lost_while_it_is_opened_is_a_broker_that_is_not_there() -> None:
    wire = reading(CONSUMER_CREATE=consumer(floor=100, pending=1))
    opening = asyncio.create_task(JetStreamBus(wire).open(["a"], 7, ""))
    await turns()
    await wire.status("503")

    with pytest.raises(BusUnavailable, match="its consumer is gone"):
        await opening
    assert wire.library.listening == {}
    assert wire.asked("CONSUMER.DELETE") != []


async def test_sixteen_readers_are_opened_at_once() -> None:
    async def slowly(_: Any) -> dict[str, Any]:
        await go.wait()
        return consumer(floor=100)

    go = asyncio.Event()
    wire = reading(CONSUMER_CREATE=slowly)
    bus = JetStreamBus(wire)
    opening = [asyncio.create_task(bus.open(["a"], 7, "")) for _ in range(20)]
    await turns(50)
    assert len(wire.asked("CONSUMER.CREATE")) == 16

    go.set()
    for reader in await asyncio.gather(*opening):
        await reader.close()


@pytest.mark.parametrize(("messages", "bounds"), [(9, (3, 100)), (0, (101, 100))])
async def test_the_bounds_are_asked_for_once_a_second(messages: int, bounds: tuple[int, int]) -> None:
    wire = reading(STREAM_INFO=stream_info(first=3, messages=messages))
    bus = JetStreamBus(wire)

    assert await bus.bounds() == await bus.bounds() == bounds

    assert wire.sent == [Sent("$JS.API.STREAM.INFO.HEED")]


def stored(sequence: int) -> dict[str, Any]:
    """A message at a place."""
    return stored_message(SUBJECT, b'{"n":1}', HEADERS, sequence=sequence)


async def test_places_are_fetched_and_the_stream_is_looked_at_after_that() -> None:
    wire = reading(STREAM_MSG_GET=lambda request: stored(request["seq"]))

    found = await JetStreamBus(wire).fetch([7, 9], "then")

    assert [item and (item.sequence, item.subject, item.event, item.at) for item in found] == [
        (7, SUBJECT, EVENT, "2026-01-31T12:00:00.000000Z"),
        (9, SUBJECT, EVENT, "2026-01-31T12:00:00.000000Z"),
    ]
    assert [item.subject for item in wire.sent][-1] == "$JS.API.STREAM.INFO.HEED"
    assert await JetStreamBus(wire).fetch([]) == []
    assert len(wire.sent) == 3


@pytest.mark.parametrize(
    ("places", "created", "error"),
    [
        ([100], None, None),
        ([101], "then", None),  # a stream that is known to be the one has lost what it does not hold
        ([7, 101, 8], None, StreamReplaced),
        ([7], "before", StreamReplaced),
    ],
)
async def test_places_belong_to_one_stream(
    places: list[int], created: str | None, error: type[Exception] | None
) -> None:
    bus = JetStreamBus(reading(STREAM_MSG_GET=refusal(10037, 404)))

    if error is None:
        assert await bus.fetch(places, created) == [None] * len(places)
    else:
        with pytest.raises(error):
            await bus.fetch(places, created)


@pytest.mark.parametrize(("answer", "error"), [(NO_STREAM, StreamMissing), (refusal(10008), ApiRefused)])
async def test_places_of_a_stream_that_cannot_be_asked(
    answer: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        await JetStreamBus(reading(STREAM_MSG_GET=answer)).fetch([7])
    assert type(raised.value) is error


@pytest.mark.parametrize(("answer", "event"), [(stored(7), EVENT), (refusal(10037, 404), None)])
async def test_the_last_event_on_a_subject(answer: dict[str, Any], event: Event | None) -> None:
    wire = reading(STREAM_MSG_GET=answer)

    assert await JetStreamBus(wire).last(SUBJECT) == event

    assert wire.sent == [Sent("$JS.API.STREAM.MSG.GET.HEED", {"last_by_subj": SUBJECT})]
