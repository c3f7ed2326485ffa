"""What a stream says of itself: how many questions many readers share, and which answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import nats.errors
import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.client.stream_bounds import StreamBounds, StreamBoundsCache, check_cursor
from heed.errors import BusUnavailable, StreamMissing, StreamReplaced
from tests.unit.inmemory import turns
from tests.unit.wire import Clock, Sent, Wire, refusal, stream_info

stream = partial(stream_info, first=3, last=9, messages=5)


class Asked:
    """A surveyor, whose questions are answered by how many there were."""

    def __init__(self) -> None:
        self.wire = Wire({"STREAM.INFO": lambda _: stream(last=self.questions)})
        self.surveyor = StreamBoundsCache(self.wire, "HEED")

    @property
    def questions(self) -> int:
        return len(self.wire.sent)

    async def wait(self, within: float = 0.0) -> asyncio.Task[StreamBounds]:
        """Somebody wants to know."""
        waiting = asyncio.create_task(self.surveyor.fresh(within))
        await turns()
        return waiting


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.mark.parametrize(
    ("answer", "bounds"),
    [(stream(), StreamBounds("then", 3, 9)), (stream(messages=0), StreamBounds("then", 10, 9))],
)
async def test_a_stream_reaches_from_its_first_message_to_its_last(
    answer: dict[str, Any], bounds: StreamBounds
) -> None:
    wire = Wire({"STREAM.INFO": answer})

    assert await StreamBoundsCache(wire, "HEED").fresh() == bounds

    assert wire.sent == [Sent("$JS.API.STREAM.INFO.HEED")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            refusal(10059, 404),
            StreamMissing,
            "there is no stream HEED; a running operator makes it within a minute, without what was in it: "
            "to restore it from a backup, stop the operator first",
        ),
        (refusal(10008, 503, "why"), ApiRefused, "the broker refused STREAM.INFO.HEED: why"),
        (
            nats.errors.TimeoutError(),
            BusUnavailable,
            "nats://broker:4222 did not answer to $JS.API.STREAM.INFO.HEED within 5 s",
        ),
    ],
)
async def test_all_who_wait_are_told_what_went_wrong(answer: Any, error: type[Exception], words: str) -> None:
    surveyor = StreamBoundsCache(Wire({"STREAM.INFO": answer}), "HEED")

    found = await asyncio.gather(surveyor.fresh(), surveyor.fresh(), return_exceptions=True)

    assert [(type(item), str(item)) for item in found] == [(error, words)] * 2


async def test_who_wants_to_know_at_the_same_time_shares_one_question(asked: Asked) -> None:
    found = await asyncio.gather(*(asked.surveyor.fresh() for _ in range(100)))

    assert {item.last for item in found} == {1}


async def test_an_answer_that_was_asked_for_before_is_not_shared(asked: Asked) -> None:
    go = asyncio.Event()

    async def slowly(_: Any) -> dict[str, Any]:
        last = asked.questions
        await go.wait()
        return stream(last=last)

    asked.wire.answers["STREAM.INFO"] = slowly
    first, second = await asked.wait(), await asked.wait()
    assert asked.questions == 1
    go.set()

    assert ((await first).last, (await second).last) == (1, 2)


async def test_who_has_time_waits_for_others(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    waiting = await asked.wait(1.0)
    await clock.on(0.5)
    another = await asked.wait(1.0)
    await clock.on(0.4)
    assert asked.questions == 0

    await clock.on(0.2)

    assert (await waiting).last == (await another).last == 1


@pytest.mark.parametrize(("within", "asks"), [(0.0, True), (0.1, False)])
async def test_who_has_less_time_hurries_the_others(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, within: float, asks: bool
) -> None:
    clock = Clock(monkeypatch)
    waiting = [await asked.wait(10.0), await asked.wait(within)]
    assert (asked.questions == 1) is asks

    await clock.on(within)

    assert [(await item).last for item in waiting] == [1, 1]


async def test_who_has_more_time_slows_nobody_down(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    waiting = [await asked.wait(1.0), await asked.wait(10.0)]

    await clock.on(1.0)

    assert [(await item).last for item in waiting] == [1, 1]


async def test_whoever_waits_can_be_hurried(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    waiting = await asked.wait(10.0)

    asked.surveyor.expedite()
    await turns()

    assert waiting.done()


async def test_so_many_questions_may_follow_each_other_and_then_a_hundred_a_second(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    waiting = await asked.wait()
    while waiting.done():
        waiting = await asked.wait()
    await clock.on(0.000_001)  # the twelfth is due just now, or by a rounding later
    while waiting.done():
        waiting = await asked.wait()
    assert asked.questions == 12  # a tenth of a second's worth
    before = asked.questions

    await clock.on(0.0101)
    assert waiting.done() and asked.questions == before + 1
    waiting = await asked.wait()
    await clock.on(0.005)
    assert not waiting.done()
    await clock.on(0.0051)
    assert waiting.done()

    await clock.on(3600)
    again = 0
    while (await asked.wait()).done():
        again += 1
    assert again in (11, 12), "an hour of silence is worth no more"


@pytest.mark.parametrize(("later", "questions"), [(0.0, 1), (0.9, 1), (1.1, 2)])
async def test_a_rough_idea_is_a_second_old_at_most(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, later: float, questions: int
) -> None:
    clock = Clock(monkeypatch)
    assert (await asked.surveyor.recent()).last == 1
    await clock.on(later)

    assert (await asked.surveyor.recent()).last == questions


async def test_an_answer_that_somebody_else_got_is_a_rough_idea_too(asked: Asked) -> None:
    await asked.surveyor.fresh()

    assert (await asked.surveyor.recent()).last == 1


async def test_one_that_waits_no_longer_takes_nothing_from_the_others(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    gone, stays = await asked.wait(1.0), await asked.wait(1.0)
    gone.cancel()
    await clock.on(1.0)

    assert (await stays).last == 1


# ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────────

PATCH = 'kubectl patch agent NAME --subresource=status --type=merge -p \'{"status":{"cursor":%s}}\''
TO_ITS_END, TO_NOTHING = PATCH % '{"sequence":9}', PATCH % "null"


@pytest.mark.parametrize(
    ("place", "created", "words"),
    [
        (9, "then", None),
        (9, None, None),
        (0, "then", None),
        (
            10,
            "then",
            "stream HEED ends at 9, and 10 was read from it: it was restored from a backup, or created again. Restore "
            f"the right one, or have the Agent go on from its end: {TO_ITS_END}; "
            "see docs/operations.md#streams",
        ),
        (
            0,
            "before",
            "stream HEED was created at then, and the cursor belongs to one created at before: it was created again, "
            "or restored from a backup. Restore the right one, or have the Agent begin with this one: "
            f"{TO_NOTHING}; if this one is the old one restored, see docs/operations.md#streams",
        ),
    ],
)
def test_a_place_is_one_of_a_stream(place: int, created: str | None, words: str | None) -> None:
    bounds = StreamBounds("then", 3, 9)

    if words is None:
        check_cursor("HEED", bounds, place, created)
    else:
        with pytest.raises(StreamReplaced) as raised:
            check_cursor("HEED", bounds, place, created)
        assert str(raised.value) == words
