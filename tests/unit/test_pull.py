"""What a reader's consumer is made with, and what is asked of the server for it, and when."""

from typing import Any

import nats.errors
import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache
from heed.bus.consumer.pull import PullConsumer
from heed.errors import BusUnavailable
from tests.unit.pulls import SECOND, WANTED, Reading, news, reading_of, turn
from tests.unit.wire import API, CONSUMER, STREAM, Clock, Sent, Wire, consumer, refusal

# ── the consumer ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_consumer_is_kept_in_memory_needs_no_acknowledgements_and_goes_soon_after_its_reader(
    behind: Reading,
) -> None:
    config = {
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 120 * SECOND,
        "description": "test",
        **WANTED,
    }

    assert behind.wire.sent == [
        Sent(f"{API}CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})
    ]
    pull = behind.pull
    assert (pull.floor, pull.reached, pull.pending, pull.to_come, pull.arrived) == (100, 100, 7, 7, 0)


async def test_what_is_wanted_of_a_consumer_comes_before_what_is_usual() -> None:
    wire = Wire({"CONSUMER.CREATE": consumer()})

    pull = await PullConsumer.open(wire, STREAM, {"num_replicas": 3, "headers_only": True})

    [made] = wire.asked("CONSUMER.CREATE")
    assert (made.body["config"]["num_replicas"], made.body["config"]["headers_only"]) == (3, True)
    await pull.close()


async def test_a_consumer_that_cannot_be_made_leaves_nothing_behind() -> None:
    wire = Wire({"CONSUMER.CREATE": refusal(10059, 404)})

    with pytest.raises(ApiRefused):
        await PullConsumer.open(wire, STREAM, WANTED)

    assert wire.library.listening == {}
    assert [item.subject for item in wire.sent] == [f"{API}CONSUMER.CREATE.{STREAM}"]


async def test_a_subscription_that_cannot_be_made_says_where() -> None:
    wire = Wire()
    wire.library.trouble = nats.errors.ConnectionClosedError()

    with pytest.raises(BusUnavailable) as raised:
        await PullConsumer.open(wire, STREAM, WANTED)

    assert str(raised.value) == "cannot subscribe at nats://broker:4222: ConnectionClosedError()"
    assert wire.sent == []


async def test_a_connection_that_is_lost_and_made_again_meanwhile_makes_no_reader() -> None:
    def blink(_: Any) -> dict[str, Any]:
        wire.lose()
        wire.find()
        return consumer()

    wire = Wire({"CONSUMER.CREATE": blink})

    with pytest.raises(BusUnavailable) as raised:
        await PullConsumer.open(wire, STREAM, WANTED)

    assert str(raised.value) == f"reader of stream {STREAM}: the connection was lost"
    assert wire.asked("CONSUMER.DELETE") != [], "the consumer is there all the same"


async def test_a_closed_reader_deletes_its_consumer_and_listens_no_more(reading: Reading) -> None:
    await reading.wait()

    await reading.pull.close()

    assert reading.wire.library.listening == {}
    assert reading.wire.sent[-1] == Sent(f"{API}CONSUMER.DELETE.{STREAM}.{CONSUMER}")
    assert reading.why() == "it was closed"


async def test_a_reader_is_closed_although_the_broker_is_away(reading: Reading) -> None:
    reading.wire.lose()
    sent = len(reading.wire.sent)

    await reading.pull.close()

    assert reading.wire.sent[sent:] == []
    assert reading.why() == "the connection was lost", "the first reason counts"


@pytest.mark.parametrize("trouble", [OSError("gone"), nats.errors.ConnectionClosedError()])
async def test_what_goes_wrong_at_the_end_is_nobodys_trouble(reading: Reading, trouble: Exception) -> None:
    reading.wire.library.trouble = trouble

    await reading.pull.close()

    assert reading.why() == "it was closed"


async def test_what_a_closed_reader_held_is_free_for_others(behind: Reading) -> None:
    await behind.wait(limit=1)
    await behind.deliver(1, 4, of=7)
    credits = behind.wire.credits
    assert credits.held > 0 and credits.in_flight > 0

    await behind.pull.close()

    assert (credits.held, credits.in_flight, behind.pull.arrived) == (0, 0, 0)


async def test_a_reader_that_must_miss_nothing_begins_where_its_consumer_does() -> None:
    stream = {"created": "then", "state": {"first_seq": 1, "last_seq": 107, "messages": 107}}
    wire = Wire({"CONSUMER.CREATE": consumer(pending=1, floor=100), "STREAM.INFO": stream})
    surveyor = StreamBoundsCache(wire, STREAM)
    pull = await PullConsumer.open(wire, STREAM, WANTED, surveyor)
    await wire.message(107, 1)

    await pull.begin(surveyor, StreamBounds("then", 1, 107))

    assert (pull.floor, pull.reached, len(await pull.take(5, 0))) == (100, 100, 1)
    assert len(wire.asked("STREAM.INFO")) == 1, "with one to come, and one that came, nothing is missing"
    await pull.close()


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_that_is_up_to_date_waits_for_news_with_one_request(reading: Reading) -> None:
    await reading.wait()
    assert reading.asked == [news(reading.wire)]

    await reading.wire.message(1, 1)
    await reading.wire.message(2, 2)

    assert [item.sequence for item in await reading.take()] == [2]
    await reading.wait()
    assert reading.asked == [news(reading.wire)], "it goes on for another 498"


async def test_a_reader_that_lags_behind_asks_for_what_is_known_to_be_there(behind: Reading) -> None:
    await behind.wait()

    assert behind.asked == [turn(7)]


async def test_a_reader_that_lags_far_behind_asks_for_a_batch() -> None:
    async with reading_of(pending=501) as reading:
        await reading.wait()

        assert reading.asked == [turn(500)]


async def test_when_all_has_come_it_is_news_that_is_asked_for(behind: Reading) -> None:
    await behind.wait(limit=3)
    await behind.deliver(1, 8, of=7)
    await behind.take()

    assert behind.asked == [turn(7), news(behind.wire)]
    assert (behind.pull.reached, behind.pull.to_come) == (107, 0)


async def test_nobody_asks_for_more_than_a_batch_in_hand() -> None:
    async with reading_of(pending=2000) as reading:
        await reading.deliver(1, 501, of=2000)
        await reading.take(1)
        assert (reading.pull.arrived, reading.asked) == (499, [turn(500)])

        await reading.deliver(501, 1001, of=2000)
        await reading.take(499)
        assert (reading.pull.arrived, reading.asked) == (500, [turn(500)])
        await reading.take(1)
        assert (reading.pull.arrived, reading.asked) == (499, [turn(500)] * 2)


async def test_a_request_that_cannot_be_sent_loses_the_reader(reading: Reading) -> None:
    reading.wire.library.trouble = nats.errors.OutboundBufferLimitError()
    await reading.wait()

    assert reading.why().startswith("a request could not be sent: OutboundBufferLimitError")
    reading.wire.library.trouble = None


@pytest.mark.parametrize(("pending", "expiry"), [(0, 30), (7, 2)])
async def test_a_request_that_the_server_forgot_loses_the_reader_five_seconds_after_its_end(
    monkeypatch: pytest.MonkeyPatch, pending: int, expiry: int
) -> None:
    clock = Clock(monkeypatch)
    async with reading_of(pending=pending) as reading:
        await reading.wait()

        await clock.on(expiry + 4.9)
        reading.pull.check()
        await clock.on(0.2)
        assert reading.why() == "the server forgot a request"


async def test_a_request_that_is_over_is_not_waited_for(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    await reading.wait(timeout=0)
    await reading.wire.status("408", "Request Timeout", 500)

    await clock.on(100)

    reading.pull.check()
