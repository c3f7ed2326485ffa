"""Streams while the operator runs: how often they are looked at, what is made again, and what is told of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from heed.bus.client.stream_rules import StreamFlaw
from heed.bus.client.streams import keep_streams
from heed.settings import StreamSettings
from tests.unit.inmemory import turns
from tests.unit.logs import logged
from tests.unit.wire import Clock, Wire, refusal

STREAMS_LOG = "heed.bus.client.streams"

MISSING = refusal(10059, 404, "stream not found")
EVENTS = {"name": "HEED", "subjects": ["heed.>"], "retention": "limits"}
DEAD = {**EVENTS, "name": "HEED_DEAD", "subjects": ["heed-dead.>"]}
FULL: dict[str, Any] = {"discard": "new", "max_msgs": 1}


def there(config: dict[str, Any], messages: int = 1, **changes: Any) -> dict[str, Any]:
    """What the broker says of a stream."""
    return {"config": {**config, **changes}, "state": {"messages": messages, "bytes": 100}}


class Keeping:
    """Streams that are kept at a broker; every look asks for both of them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.wire = Wire({"STREAM.INFO.HEED_DEAD": there(DEAD), "STREAM.INFO.HEED": there(EVENTS)})
        self.told: list[Sequence[StreamFlaw]] = []
        self.task = asyncio.create_task(keep_streams(self.wire, StreamSettings(), self.told.append))

    def looks(self) -> int:
        """How often they were looked at."""
        return len([item for item in self.wire.asked("STREAM.INFO") if item.subject.endswith("HEED")])


@pytest.fixture
async def keeping(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeping]:
    made = Keeping(Clock(monkeypatch))
    await turns()
    yield made
    made.task.cancel()
    await asyncio.wait({made.task})
    assert made.task.cancelled()


async def test_they_are_looked_at_at_once_and_every_quarter_of_a_minute(keeping: Keeping) -> None:
    assert (keeping.looks(), keeping.told) == (1, [[]])

    await keeping.clock.on(14.9)
    assert keeping.looks() == 1
    await keeping.clock.on(0.2)
    assert keeping.looks() == 2
    await keeping.clock.on(15.1)
    assert (keeping.looks(), keeping.told) == (3, [[], [], []])


async def test_a_look_that_failed_is_repeated_soon(
    keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    keeping.wire.answers["STREAM.INFO.HEED"] = refusal(10008, 503, "unavailable")
    await keeping.clock.on(15.1)
    assert keeping.looks() == 2

    await keeping.clock.on(4.9)
    assert keeping.looks() == 2
    await keeping.clock.on(0.2)
    assert keeping.looks() == 3

    words = "the broker refused STREAM.INFO.HEED: unavailable"
    assert logged(caplog, STREAMS_LOG, "error") == [("WARNING", "cannot check the streams", words)] * 2
    assert all(not item.exc_info for item in caplog.records)
    assert keeping.told == [[]], "nothing is known, so nothing is told"


async def test_a_mistake_of_ours_is_shown_whole_and_ends_nothing(
    keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    keeping.wire.answers["STREAM.INFO.HEED"] = {"no": "config"}
    await keeping.clock.on(15.1)

    [line] = caplog.records
    assert line.exc_info
    keeping.wire.answers["STREAM.INFO.HEED"] = there(EVENTS)
    await keeping.clock.on(5.1)
    assert keeping.told == [[], []]


async def test_a_new_connection_is_a_reason_to_look(keeping: Keeping) -> None:
    keeping.wire.lose()
    await turns()
    await keeping.clock.on(60)
    assert keeping.looks() == 1, "nobody is there to be asked"

    keeping.wire.find()
    await turns()
    assert keeping.looks() == 2


async def test_a_stream_that_went_missing_is_made_anew_and_that_is_said(
    keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    keeping.wire.answers |= {"STREAM.INFO.HEED": MISSING, "STREAM.CREATE.HEED": {}}
    await keeping.clock.on(15.1)

    lost = "what it held, and what was published since"
    assert logged(caplog, STREAMS_LOG, "stream", "lost") == [
        ("WARNING", "stream was missing and was created again", "HEED", lost)
    ]
    assert [item.subject for item in keeping.wire.asked("STREAM.CREATE")] == ["$JS.API.STREAM.CREATE.HEED"]
    assert keeping.told[1:] == [[]]


async def test_a_stream_that_cannot_be_made_is_an_error_that_is_looked_at_again_in_its_time(
    keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    keeping.wire.answers |= {"STREAM.INFO.HEED": MISSING, "STREAM.CREATE.HEED": refusal(10065)}
    await keeping.clock.on(15.1)
    await keeping.clock.on(5.1)

    [(level, message, error)] = logged(caplog, STREAMS_LOG, "error")
    assert (level, message) == ("ERROR", "stream cannot be made")
    assert error.startswith('stream HEED: subjects ["heed.>"] overlap: ')
    assert keeping.looks() == 2


async def test_what_is_wrong_is_told_after_every_look_and_logged_by_stream(
    keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    keeping.wire.answers |= {
        "STREAM.INFO.HEED": there(EVENTS, **FULL),
        "STREAM.INFO.HEED_DEAD": there(DEAD, no_ack=True),
    }
    await keeping.clock.on(15.1)
    found = [str(flaw) for flaw in keeping.told[-1]]

    full = (
        'stream HEED: discard is "new", and 1 of its max_msgs 1 are taken: it refuses events, also those of Agents; '
        'raise the limit, or set discard to "old"'
    )
    acks = "stream HEED_DEAD: no_ack is true, wanted false; without acknowledgements events get lost; edit the stream"
    assert found == [full, acks]
    told = [(flaw.stream, flaw.field) for flaw in keeping.told[-1]]
    assert told == [("HEED", "discard"), ("HEED_DEAD", "no_ack")]
    assert logged(caplog, STREAMS_LOG, "error") == [
        ("ERROR", "stream loses or refuses events", words) for words in found
    ]

    keeping.wire.answers |= {"STREAM.INFO.HEED": there(EVENTS), "STREAM.INFO.HEED_DEAD": there(DEAD)}
    await keeping.clock.on(15.1)
    assert keeping.told[-1] == []


async def test_who_keeps_them_no_longer_is_told_of_no_connection(keeping: Keeping) -> None:
    keeping.task.cancel()
    await turns()

    assert not keeping.wire._watchers
