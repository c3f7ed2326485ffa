"""Dead letters that are sent again: what goes out and under which ids, and what is told of what fails."""

from __future__ import annotations

import re
from typing import Any

import nats.errors
import pytest

from heed import names
from heed.bus.codec.dead_letter import DeadLetter
from heed.bus.dead_letters import (
    DeadLetterEntry,
    DeadLetterStore,
    RedriveMark,
    RedriveOutcome,
    settled_outcome,
)
from heed.errors import StreamConflict, StreamMissing
from tests.unit.messages import HEADERS, SUBJECT, TYPE
from tests.unit.wire import Wire, refusal

NOW = "2026-01-31T12:00:00.000000Z"
DEAD = "heed-dead.demo.researcher"
NO_STREAM = refusal(10059, 404)
MARK = RedriveMark(8, 77, NOW)
CAUSE = {"Heed-Dead-Code": "TemplateFailed", "Heed-Dead-Subject": SUBJECT, "Heed-Dead-Sequence": "7"}
MISSING = (
    "nats://broker:4222 has no stream {}; the operator or `heed dev` makes it, "
    "so this may be another broker than theirs"
)


def stored_letter(
    id: int = 12, namespace: str = "demo", agent: str = "researcher", **headers: Any
) -> DeadLetter:
    """A dead letter; its original is an event."""
    own = {"Nats-Msg-Id": names.letter_id("uid", id)}
    return DeadLetter(id, NOW, namespace, agent, {**HEADERS, **CAUSE, **own, **headers}, b"{}")


# ── whether the streams take a redrive ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("events", "dead", "words"),
    [
        (["heed.>"], ["heed-dead.>"], None),
        (["x", "heed.redrive.>"], ["heed-dead.*.*.redriven"], None),
        (
            ["heed.events.>", "x"],
            ["heed-dead.>"],
            "stream HEED takes the subjects heed.events.>, x, and a redrive writes heed.redrive.>; "
            "add heed.> to the stream's subjects",
        ),
        (
            ["heed.>"],
            None,
            "stream HEED_DEAD takes the subjects none, and a redrive writes heed-dead.*.*.redriven; "
            "add heed-dead.> to the stream's subjects",
        ),
    ],
)
async def test_streams_have_to_take_what_a_redrive_writes(
    events: list[str], dead: list[str] | None, words: str | None
) -> None:
    wire = Wire(
        {
            "STREAM.INFO.HEED_DEAD": {"config": {} if dead is None else {"subjects": dead}},
            "STREAM.INFO.HEED": {"config": {"subjects": events}},
        }
    )

    if words is None:
        await DeadLetterStore(wire).check()
    else:
        with pytest.raises(StreamConflict) as raised:
            await DeadLetterStore(wire).check()
        assert str(raised.value) == words


@pytest.mark.parametrize("stream", ["HEED", "HEED_DEAD"])
async def test_streams_have_to_be_there(stream: str) -> None:
    there = {"config": {"subjects": ["heed.>"]}}
    answers = {"STREAM.INFO.HEED_DEAD": there, "STREAM.INFO.HEED": there}
    wire = Wire({**answers, f"STREAM.INFO.{stream}": NO_STREAM})
    with pytest.raises(StreamMissing) as raised:
        await DeadLetterStore(wire).check()
    assert str(raised.value) == MISSING.format(stream)


# ── sent again ──────────────────────────────────────────────────────────────────────────────────────────────────────

REDRIVEN = names.redrive_subject("demo", "researcher", TYPE)
ID = names.redrive_id(names.letter_id("uid", 12), 2)


def broker(event: Any = None, mark: Any = None) -> Wire:
    """It answers so to what is sent again, and to its mark."""
    return Wire(
        {
            "heed.redrive.": {"stream": "HEED", "seq": 70} if event is None else event,
            "heed-dead.": {"stream": "HEED_DEAD", "seq": 13} if mark is None else mark,
        }
    )


@pytest.mark.parametrize("sent", [{}, {ID: 60}], ids=["now", "before"])
async def test_a_letter_is_sent_once_and_marked(sent: dict[str, int]) -> None:
    wire = broker()

    [outcome] = await DeadLetterStore(wire).redrive([DeadLetterEntry(stored_letter(), None)], sent)

    place = sent.get(ID, 70)
    assert outcome == RedriveOutcome(stored_letter(), "redriven", place)
    *again, mark = wire.sent
    assert mark.subject == "heed-dead.demo.researcher.redriven" and mark.body is None
    headers = dict(mark.headers or {})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", headers.pop("Heed-Dead-Redriven-Time"))
    assert headers == {
        "Heed-Dead-Letter": "12",
        "Heed-Dead-Redriven-Sequence": str(place),
        "Nats-Msg-Id": names.redriven_id(names.letter_id("uid", 12), 2),
    }
    if sent:
        assert again == []
    else:
        [event] = again
        assert (event.subject, event.body) == (REDRIVEN, {})
        assert event.headers == {
            **HEADERS,
            "Heed-Redrive-Letter": names.letter_id("uid", 12),
            "Heed-Redrive-Attempt": "2",
            "Heed-Redrive-Subject": SUBJECT,
            "Nats-Msg-Id": ID,
        }


UNREACHED = "nats://broker:4222 could not be asked for {}: ConnectionClosedError()"
CLOSED = nats.errors.ConnectionClosedError()


@pytest.mark.parametrize(
    ("event", "mark", "outcome"),
    [
        (CLOSED, None, ("failed", None, UNREACHED.format(REDRIVEN))),
        (
            refusal(10054, 400, "too large"),
            None,
            (
                "refused",
                None,
                f"the broker refused {REDRIVEN}: too large; send a reference to the data instead",
            ),
        ),
        (
            None,
            CLOSED,
            ("failed", 70, f"it was redriven, but not marked: {UNREACHED.format(f'{DEAD}.redriven')}"),
        ),
        (
            None,
            refusal(10054, 400, "no"),
            (
                "failed",
                70,
                f"it was redriven, but not marked: the broker refused {DEAD}.redriven: no; "
                "send a reference to the data instead",
            ),
        ),
    ],
)
async def test_what_fails_is_told_with_how_far_it_came(
    event: Any, mark: Any, outcome: tuple[Any, ...]
) -> None:
    [told] = await DeadLetterStore(broker(event, mark)).redrive([DeadLetterEntry(stored_letter(), None)], {})

    assert told == RedriveOutcome(stored_letter(), *outcome)


def test_what_was_redriven_or_cannot_be_is_settled() -> None:
    lost_header: dict[str, Any] = {"Heed-Dead-Lost": "true"}
    lost = stored_letter(**lost_header)

    assert settled_outcome(DeadLetterEntry(stored_letter(), None)) is None
    assert settled_outcome(DeadLetterEntry(stored_letter(), MARK)) == RedriveOutcome(
        stored_letter(), "already", 77
    )
    assert settled_outcome(DeadLetterEntry(lost, MARK)) == RedriveOutcome(lost, "already", 77)
    assert settled_outcome(DeadLetterEntry(lost, None)) == RedriveOutcome(
        lost, "refused", reason=lost.refusal
    )


async def test_what_is_settled_is_not_sent() -> None:
    wire = broker()
    assert await DeadLetterStore(wire).redrive([DeadLetterEntry(stored_letter(), MARK)], {}) == [
        RedriveOutcome(stored_letter(), "already", 77)
    ]
    assert wire.sent == []
