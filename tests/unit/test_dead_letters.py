"""The dead letters of a broker: what is read to find them and their marks, by whom they are, and by their ids."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.codec.dead_letter import DeadLetter
from heed.bus.dead_letters import DeadLetterEntry, DeadLetterFilter, DeadLetterStore, RedriveMark
from heed.errors import BusUnavailable, StreamMissing
from tests.unit.inmemory import turns
from tests.unit.messages import SUBJECT
from tests.unit.wire import Clock, Sent, Shelf, Wire, consumer, refusal, stored_message

NOW = "2026-01-31T12:00:00.000000Z"
DEAD = "heed-dead.demo.researcher"
NO_STREAM = refusal(10059, 404)
CAUSE = {"Heed-Dead-Code": "TemplateFailed", "Heed-Dead-Subject": SUBJECT, "Heed-Dead-Sequence": "7"}
MISSING = (
    "nats://broker:4222 has no stream {}; the operator or `heed dev` makes it, "
    "so this may be another broker than theirs"
)


class Graves(Shelf):
    """A broker whose consumers deliver the messages on their subject, of a few."""

    def __init__(self, **messages: list[tuple[int, dict[str, str]]]) -> None:
        super().__init__()
        self.on = {subject.replace("__", "."): found for subject, found in messages.items()}

    async def _make(self, request: dict[str, Any]) -> dict[str, Any]:
        [pattern] = request["config"]["filter_subjects"]
        shape = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
        self.messages = [
            (sequence, subject, headers)
            for subject, found in self.on.items()
            if re.fullmatch(shape, subject)
            for sequence, headers in found
        ]
        return await super()._make(request)

    def read(self) -> list[tuple[str, str, bool]]:
        """What was read: streams, subjects, and whether headers only."""
        return [
            (
                item.body["stream_name"],
                *item.body["config"]["filter_subjects"],
                item.body["config"]["headers_only"],
            )
            for item in self.asked("CONSUMER.CREATE")
        ]


def buried() -> Graves:
    """Letters 3 and 5 of one Agent, of which 3 was redriven, and 4 of another one."""
    made = Graves()
    mark = {
        "Heed-Dead-Letter": "3",
        "Heed-Dead-Redriven-Sequence": "77",
        "Heed-Dead-Redriven-Time": NOW,
    }
    other = {"Heed-Dead-Letter": "no", "Heed-Dead-Redriven-Sequence": "77"}
    half = {"Heed-Dead-Letter": "5"}
    made.on = {
        "heed-dead.demo.researcher": [(3, CAUSE), (5, {**CAUSE, "Heed-Dead-Code": "Other"})],
        "heed-dead.demo.writer": [(4, CAUSE)],
        "heed-dead.demo.researcher.redriven": [(8, mark), (9, other), (10, half)],
    }
    return made


async def found(
    letters: DeadLetterStore, selection: DeadLetterFilter, **options: Any
) -> list[tuple[int, RedriveMark | None]]:
    return [
        (item.letter.id, item.mark) async for batch in letters.find(selection, **options) for item in batch
    ]


MARK = RedriveMark(8, 77, NOW)


@pytest.mark.parametrize(
    ("selection", "of", "ids"),
    [
        (DeadLetterFilter(), "*.*", [3, 5, 4]),
        (DeadLetterFilter("demo"), "demo.*", [3, 5, 4]),
        (DeadLetterFilter("demo", "writer"), "demo.writer", [4]),
        (DeadLetterFilter(agent="researcher"), "*.researcher", [3, 5]),
        (DeadLetterFilter(codes=["Other", "None"]), "*.*", [5]),
        (DeadLetterFilter(redriven=True), "*.*", [3]),
        (DeadLetterFilter(redriven=False), "*.*", [5, 4]),
        (DeadLetterFilter("other"), "other.*", []),
    ],
)
async def test_letters_are_found_with_their_marks(
    selection: DeadLetterFilter, of: str, ids: list[int]
) -> None:
    graves = buried()

    items = await found(DeadLetterStore(graves), selection)

    assert items == [(id_, MARK if id_ == 3 else None) for id_ in ids]
    assert graves.read() == [
        ("HEED_DEAD", f"heed-dead.{of}.redriven", True),
        ("HEED_DEAD", f"heed-dead.{of}", True),
    ]
    assert {item.body["config"]["deliver_policy"] for item in graves.asked("CONSUMER.CREATE")} == {"all"}
    assert (graves.credits.held, graves.library.listening) == (0, {})


async def test_payloads_are_read_where_they_are_wanted() -> None:
    graves = buried()

    await found(DeadLetterStore(graves, dead="OTHER"), DeadLetterFilter(), payloads=True)

    assert graves.read() == [
        ("OTHER", "heed-dead.*.*.redriven", True),
        ("OTHER", "heed-dead.*.*", False),
    ]


async def test_a_letter_says_whose_it_is_and_when_it_was_stored() -> None:
    [[first, *_]] = [
        batch async for batch in DeadLetterStore(buried()).find(DeadLetterFilter("demo", "researcher"))
    ]

    assert first.letter == DeadLetter(3, "1970-01-01T00:00:00.000003Z", "demo", "researcher", CAUSE, b"data")


async def test_what_was_sent_again_is_known_by_its_id() -> None:
    graves = Graves()
    graves.on = {
        "heed.redrive.demo.researcher.a": [(5, {"Nats-Msg-Id": "x"}), (6, {})],
        "heed.redrive.demo.other.a": [(7, {"Nats-Msg-Id": "y"})],
    }

    assert await DeadLetterStore(graves).find_sent(DeadLetterFilter("demo", "researcher")) == {"x": 5, "": 6}
    assert await DeadLetterStore(graves, stream="OTHER").find_sent(DeadLetterFilter()) == {
        "x": 5,
        "": 6,
        "y": 7,
    }

    assert graves.read() == [
        ("HEED", "heed.redrive.demo.researcher.>", True),
        ("OTHER", "heed.redrive.*.*.>", True),
    ]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (NO_STREAM, StreamMissing, MISSING.format("HEED_DEAD")),
        (refusal(10008, 503, "why"), ApiRefused, "the broker refused CONSUMER.CREATE.HEED_DEAD: why"),
    ],
)
async def test_a_stream_that_cannot_be_read_says_why(answer: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        await found(DeadLetterStore(Wire({"CONSUMER.CREATE": answer})), DeadLetterFilter())
    assert (type(raised.value), str(raised.value)) == (error, words)


@pytest.mark.parametrize("dropped", [True, False])
async def test_letters_that_are_dropped_meanwhile_are_not_waited_for(
    dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    graves = Graves()
    graves.pending = 2
    if not dropped:
        graves.answers["CONSUMER.INFO"] = consumer(2)
    sending = asyncio.create_task(DeadLetterStore(graves).find_sent(DeadLetterFilter()))
    await turns()
    await clock.on(5.1)

    if dropped:
        assert await sending == {}
    else:
        with pytest.raises(
            BusUnavailable, match=r"^stream HEED stopped in the middle; trying again may help$"
        ):
            await sending


# ── by id ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def stored(subject: str) -> dict[str, Any]:
    """A message at a place of the stream."""
    return stored_message(subject, b"d", {"Heed-Dead-Code": "x"}, time=NOW)


async def test_letters_are_got_by_their_ids_and_a_mark_is_none() -> None:
    graves = buried()
    places = {3: DEAD, 4: "heed-dead.demo.writer", 8: f"{DEAD}.redriven"}
    graves.answers["STREAM.MSG.GET"] = lambda request: (
        stored(places[request["seq"]]) if request["seq"] in places else refusal(10037, 404)
    )

    first, gone, mark, last = await DeadLetterStore(graves).get([3, 99, 8, 4])

    assert first == DeadLetterEntry(
        DeadLetter(3, NOW, "demo", "researcher", {"Heed-Dead-Code": "x"}, b"d"), MARK
    )
    assert (gone, mark) == (None, None)
    assert last == DeadLetterEntry(DeadLetter(4, NOW, "demo", "writer", {"Heed-Dead-Code": "x"}, b"d"), None)
    assert {item.subject for item in graves.asked("STREAM.MSG.GET")} == {"$JS.API.STREAM.MSG.GET.HEED_DEAD"}
    assert sorted(graves.read()) == [
        ("HEED_DEAD", f"{DEAD}.redriven", True),
        ("HEED_DEAD", "heed-dead.demo.writer.redriven", True),
    ]


async def test_letters_of_no_stream_are_not_got() -> None:
    with pytest.raises(StreamMissing) as raised:
        await DeadLetterStore(Wire({"STREAM.MSG.GET": NO_STREAM})).get([3])
    assert str(raised.value) == MISSING.format("HEED_DEAD")


async def test_letters_are_deleted_and_need_not_be_there() -> None:
    wire = Wire({"STREAM.MSG.DELETE": lambda request: refusal(10057) if request["seq"] == 4 else {}})

    await DeadLetterStore(wire).drop([3, 4])

    subject = "$JS.API.STREAM.MSG.DELETE.HEED_DEAD"
    assert wire.sent == [Sent(subject, {"seq": seq, "no_erase": True}) for seq in (3, 4)]
    wire.answers["STREAM.MSG.DELETE"] = refusal(10058)
    with pytest.raises(ApiRefused):
        await DeadLetterStore(wire).drop([3])
