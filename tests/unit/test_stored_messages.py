"""What the broker is asked for about messages that are stored: by their places, on subjects, and by their ids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.client.stored_messages import (
    GET_CHUNK,
    MAX_CONCURRENT_GETS,
    MAX_HELD_BYTES,
    StoredMessages,
    parse_stored_time,
)
from heed.bus.codec.dead_letter import OriginalMessage
from tests.unit.inmemory import turns
from tests.unit.wire import Sent, Wire, refusal, stored_message

GET = "$JS.API.STREAM.MSG.GET.HEED"
TIME = "2026-01-31T12:00:00.123456789Z"
NONE = refusal(10037, 404, "no message found")


def answered(sequence: int = 7, subject: str = "a.b", data: bytes = b"x") -> dict[str, Any]:
    """The broker's answer."""
    return stored_message(subject, data, {"X-One": "1"}, sequence=sequence, time=TIME)


async def test_a_message_is_asked_for_by_its_place() -> None:
    wire = Wire({"STREAM.MSG.GET": answered()})

    found = await StoredMessages(wire, "HEED").get(7)

    assert found == (OriginalMessage("a.b", {"X-One": "1"}, b"x"), "2026-01-31T12:00:00.123456Z")
    assert wire.sent == [Sent(GET, {"seq": 7})]


async def test_the_next_on_a_subject_is_asked_for_from_a_place_on() -> None:
    wire = Wire({"STREAM.MSG.GET": answered(9)})

    assert await StoredMessages(wire, "HEED").next("a.*", 7) == 9

    assert wire.sent == [Sent(GET, {"seq": 7, "next_by_subj": "a.*"})]


async def test_the_last_on_a_subject_comes_with_its_place() -> None:
    wire = Wire({"STREAM.MSG.GET": answered(9)})

    assert await StoredMessages(wire, "HEED").last("a.b") == (9, OriginalMessage("a.b", {"X-One": "1"}, b"x"))

    assert wire.sent == [Sent(GET, {"last_by_subj": "a.b"})]


async def test_what_is_not_there_is_none_and_what_is_refused_is_raised() -> None:
    wire = Wire({"STREAM.MSG.GET": NONE})
    messages = StoredMessages(wire, "HEED")
    assert (await messages.get(1), await messages.next("a", 1), await messages.last("a")) == (
        None,
        None,
        None,
    )

    wire.answers["STREAM.MSG.GET"] = refusal(10059, 404)
    for asking in (messages.get(1), messages.next("a", 1), messages.last("a"), messages.get_first([1])):
        with pytest.raises(ApiRefused):
            await asking


@pytest.mark.parametrize(
    ("read_ahead", "takes", "at_once"),
    [
        (64 * 1024**2, 1024**2, 11),  # a quarter of what may be read ahead, of messages in base64
        (64 * 1024**2, 64 * 1024**2, 1),
        (64 * 1024**2, 1000, MAX_CONCURRENT_GETS),
        (4 * (65_536 * 4 // 3 + 8192) * 3, 65_536, 3),
        (4 * (65_536 * 4 // 3 + 8192) * 3 - 4, 65_536, 2),
    ],
)
async def test_no_more_is_asked_for_at_once_than_may_come_at_once(
    read_ahead: int, takes: int, at_once: int
) -> None:
    async def wait(_: Any) -> dict[str, Any]:
        await go.wait()
        return answered()

    go = asyncio.Event()
    wire = Wire({"STREAM.MSG.GET": wait}, read_ahead=read_ahead)
    wire.takes(takes)
    asking = asyncio.create_task(StoredMessages(wire, "HEED").get_all(range(100)))
    await turns(200)
    assert len(wire.sent) == at_once

    go.set()
    assert len(await asking) == 100


async def test_as_many_are_fetched_as_may_be_held_and_one_at_least() -> None:
    def of(size: int) -> StoredMessages:
        return StoredMessages(Wire({"STREAM.MSG.GET": answered(data=b"x" * size)}), "HEED")

    assert (GET_CHUNK, MAX_HELD_BYTES) == (16, 8 * 1024**2)
    assert await of(10).get_first([]) == []
    assert len(await of(10).get_first(range(100))) == 100
    assert len(await of(MAX_HELD_BYTES // 32).get_first(range(100))) == 32
    assert len(await of(MAX_HELD_BYTES // 32 - 1).get_first(range(100))) == 48
    assert len(await of(MAX_HELD_BYTES // 16).get_first(range(100))) == 16
    assert len(await of(MAX_HELD_BYTES).get_first(range(3))) == 3


async def test_they_come_in_order_with_none_where_one_is_gone() -> None:
    def answer(request: dict[str, int]) -> dict[str, Any]:
        return NONE if request["seq"] == 2 else answered(data=str(request["seq"]).encode())

    wire = Wire({"STREAM.MSG.GET": answer})

    found = await StoredMessages(wire, "HEED").get_first([3, 2, 1])

    assert [item and item[0].payload for item in found] == [b"3", None, b"1"]


async def test_one_that_fails_ends_the_others() -> None:
    async def answer(request: dict[str, int]) -> dict[str, Any]:
        if request["seq"] == 2:
            return refusal(10059, 404)
        await asyncio.Event().wait()
        raise AssertionError

    tasks = asyncio.all_tasks()
    with pytest.raises(ApiRefused):
        await StoredMessages(Wire({"STREAM.MSG.GET": answer}), "HEED").get_all([1, 2, 3])
    await turns()

    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.9Z", "2026-01-31T12:00:00.900000Z"),
        ("2026-01-31T12:00:00.999999999Z", "2026-01-31T12:00:00.999999Z"),
    ],
)
def test_times_have_six_digits_cut_off(time: str, shown: str) -> None:
    assert parse_stored_time(time) == shown
