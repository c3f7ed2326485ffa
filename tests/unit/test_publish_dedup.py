"""Whether a message is stored already: what is read to know it, how far, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.bus.consumer import publish_dedup
from heed.bus.consumer.publish_dedup import PublishDedup
from heed.errors import BusUnavailable
from tests.unit.inmemory import turns
from tests.unit.wire import STREAM, Clock, Shelf

SUBJECT = "heed.events.x"


def holding(*ids: str, first: int = 1) -> list[tuple[int, str, dict[str, str]]]:
    """Messages with these ids."""
    return [(first + place, SUBJECT, {"Nats-Msg-Id": id_}) for place, id_ in enumerate(ids)]


def read(shelf: Shelf) -> list[dict[str, Any]]:
    """What was read: of each pass, what its consumer was told."""
    usual = ("ack_policy", "mem_storage", "num_replicas", "inactive_threshold", "description")
    return [{name: value for name, value in made.items() if name not in usual} for made in shelf.made]


def from_sequence(sequence: int) -> dict[str, Any]:
    """A pass over the subject from a place on."""
    begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence}
    return {"filter_subjects": [SUBJECT], "headers_only": True, **begin}


@pytest.mark.parametrize(
    ("start", "begin"),
    [
        (3, {"deliver_policy": "by_start_sequence", "opt_start_seq": 3}),
        ("2026-01-31", {"deliver_policy": "by_start_time", "opt_start_time": "2026-01-31"}),
    ],
)
async def test_headers_are_read_from_where_it_may_be(start: int | str, begin: dict[str, Any]) -> None:
    shelf = Shelf(*holding("a", "b"), (9, SUBJECT, {}))

    assert await PublishDedup(shelf).stored(STREAM, SUBJECT, start, "b")

    assert read(shelf) == [{"filter_subjects": [SUBJECT], "headers_only": True, **begin}]
    assert [item.subject for item in shelf.asked("CONSUMER.CREATE")] == ["$JS.API.CONSUMER.CREATE.HEED"]
    assert shelf.credits.held == 0
    assert shelf.library.listening == {}, "the consumer is gone"


async def test_only_what_came_since_is_read_for_one_that_was_not_there() -> None:
    shelf = Shelf(*holding("a", "b", first=5))
    seen = PublishDedup(shelf)
    assert await seen.stored(STREAM, SUBJECT, 3, "a")
    assert await seen.stored(STREAM, SUBJECT, 4, "b")
    assert len(shelf.made) == 1

    assert not await seen.stored(STREAM, SUBJECT, 3, "c")
    shelf.messages = holding("c", first=9)
    assert await seen.stored(STREAM, SUBJECT, 3, "c")
    shelf.messages = []
    assert not await seen.stored(STREAM, SUBJECT, 3, "d")

    assert read(shelf) == [from_sequence(3), from_sequence(7), from_sequence(7), from_sequence(10)]


async def test_an_empty_subject_is_read_from_the_same_place_again() -> None:
    shelf = Shelf()
    seen = PublishDedup(shelf)

    assert not await seen.stored(STREAM, SUBJECT, 3, "a")
    assert not await seen.stored(STREAM, SUBJECT, 3, "a")

    assert read(shelf) == [from_sequence(3), from_sequence(3)]


async def test_who_looks_further_back_reads_from_there() -> None:
    shelf = Shelf(*holding("b", first=5))
    seen = PublishDedup(shelf)
    assert await seen.stored(STREAM, SUBJECT, 5, "b")

    shelf.messages = holding("a", "b", first=4)
    assert await seen.stored(STREAM, SUBJECT, 4, "a")
    assert await seen.stored(STREAM, SUBJECT, 5, "b")

    assert read(shelf) == [from_sequence(5), from_sequence(4)]


async def test_subjects_and_streams_are_told_apart() -> None:
    shelf = Shelf(*holding("a"))
    seen = PublishDedup(shelf)
    for stream, subject in (("HEED", "x"), ("HEED", "y"), ("HEED_DEAD", "x")):
        assert await seen.stored(stream, subject, 1, "a")

    assert [made["filter_subjects"] for made in shelf.made] == [["x"], ["y"], ["x"]]
    assert [item.subject.rpartition(".")[2] for item in shelf.asked("CONSUMER.CREATE")] == [
        "HEED",
        "HEED",
        "HEED_DEAD",
    ]


async def test_no_pass_is_made_for_what_was_asked_before_the_latest_one_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, go = Clock(monkeypatch), asyncio.Event()
    shelf = Shelf(*holding("a"))
    shelf.before_made = go.wait
    seen = PublishDedup(shelf)
    looking = [asyncio.create_task(seen.stored(STREAM, SUBJECT, 1, "first"))]
    await clock.on(1)
    looking += [asyncio.create_task(seen.stored(STREAM, SUBJECT, 1, f"{n}")) for n in range(10)]
    await turns()
    await clock.on(1)

    go.set()

    assert not any(await asyncio.gather(*looking))
    assert len(shelf.made) == 2


async def test_a_pass_that_began_just_then_may_have_missed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    shelf = Shelf()
    seen = PublishDedup(shelf)
    await seen.stored(STREAM, SUBJECT, 1, "a")
    shelf.messages = holding("a")

    assert await seen.stored(STREAM, SUBJECT, 1, "a")


async def test_what_the_stream_dropped_meanwhile_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    shelf = Shelf(*holding("a"))
    shelf.pending = 3
    looking = asyncio.create_task(PublishDedup(shelf).stored(STREAM, SUBJECT, 1, "b"))
    await turns()

    await clock.on(4.9)
    assert not looking.done()
    await clock.on(0.2)

    assert await looking is False


async def test_a_stream_that_stops_in_the_middle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    shelf = Shelf()
    shelf.pending = 3
    shelf.answers["CONSUMER.INFO"] = {"delivered": {"consumer_seq": 0}, "num_pending": 3}
    seen = PublishDedup(shelf)
    looking = asyncio.create_task(seen.stored(STREAM, SUBJECT, 1, "b"))
    await turns()
    await clock.on(5.1)

    with pytest.raises(BusUnavailable) as raised:
        await looking
    assert str(raised.value) == f"stream HEED stopped in the middle of {SUBJECT}; trying again may help"
    assert shelf.library.listening == {}


async def test_a_connection_that_is_lost_is_an_error() -> None:
    shelf = Shelf()
    shelf.pending = 3
    looking = asyncio.create_task(PublishDedup(shelf).stored(STREAM, SUBJECT, 1, "b"))
    await turns()
    shelf.lose()

    with pytest.raises(BusUnavailable, match="the connection was lost"):
        await looking


# ── what is remembered ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_so_many_subjects_are_remembered_those_that_were_asked_for_last() -> None:
    shelf = Shelf(*holding("a"))
    seen = PublishDedup(shelf)
    for number in range(32):
        await seen.stored(STREAM, f"s{number}", 1, "a")
    await seen.stored(STREAM, "s0", 1, "a")
    assert len(shelf.made) == 32

    await seen.stored(STREAM, "s32", 1, "a")
    for number in (0, 2, 32):
        await seen.stored(STREAM, f"s{number}", 1, "a")
    assert len(shelf.made) == 33

    await seen.stored(STREAM, "s1", 1, "a")
    assert len(shelf.made) == 34


@pytest.mark.parametrize(("ids", "passes"), [(3, 1), (4, 2)])
async def test_a_subject_with_too_many_messages_is_not_remembered(
    ids: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_dedup, "MAX_IDS_PER_SUBJECT", 3)
    shelf = Shelf(*holding(*map(str, range(ids))))
    seen = PublishDedup(shelf)

    for _ in range(2):
        assert await seen.stored(STREAM, SUBJECT, 1, "0")

    assert len(shelf.made) == passes
