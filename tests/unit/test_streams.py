"""What the streams are made with, what is said of a broker or a stream that is less, and who was quicker."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from heed.bus.client.connection import ApiRefused
from heed.bus.client.streams import ensure_streams
from heed.errors import StreamConflict
from heed.settings import StreamSettings
from tests.unit.logs import logged
from tests.unit.wire import Sent, Wire, refusal

STREAMS_LOG = "heed.bus.client.streams"

SECOND = 1_000_000_000
GOOD = 256 * 1024
MISSING = refusal(10059, 404, "stream not found")
SETTINGS = StreamSettings(
    max_bytes=1000, max_age=60, dead_max_bytes=2000, dead_max_age=50, replicas=3, duplicate_window=55
)
COMMON = {
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "max_consumers": 100_000,
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "num_replicas": 3,
    "allow_direct": True,
}
EVENTS = {
    **COMMON,
    "name": "HEED",
    "subjects": ["heed.>"],
    "description": "Events of Heed's Agents",
    "max_bytes": 1000,
    "max_age": 60 * SECOND,
    "duplicate_window": 55 * SECOND,
}
DEAD = {
    **COMMON,
    "name": "HEED_DEAD",
    "subjects": ["heed-dead.>"],
    "description": "Events that Heed's Agents could not decide",
    "max_bytes": 2000,
    "max_age": 50 * SECOND,
    "duplicate_window": 50 * SECOND,  # no longer than messages are kept
}


def there(**changes: Any) -> dict[str, Any]:
    """What the broker says of the stream of events."""
    return {"config": {**EVENTS, **changes}, "state": {"messages": 0}}


class Version(Wire):
    """A broker of a version."""

    version: tuple[int, ...] = (2, 14, 0)

    @property
    def server_version(self) -> tuple[int, ...]:
        return self.version


def broker(events: Any = MISSING, dead: Any = MISSING, create: Any = None, most: int = GOOD) -> Version:
    """A broker that says this of both streams, and of one that is to be made."""
    made = Version(
        {
            "STREAM.INFO.HEED_DEAD": dead,
            "STREAM.INFO.HEED": events,
            "STREAM.CREATE": {} if create is None else create,
        }
    )
    made.takes(most)
    return made


# ── made ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_missing_stream_is_made_with_all_that_heed_needs_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = broker()

    with caplog.at_level(logging.INFO):
        await ensure_streams(wire, SETTINGS)

    assert wire.sent == [
        Sent("$JS.API.STREAM.INFO.HEED"),
        Sent("$JS.API.STREAM.CREATE.HEED", EVENTS),
        Sent("$JS.API.STREAM.INFO.HEED_DEAD"),
        Sent("$JS.API.STREAM.CREATE.HEED_DEAD", DEAD),
    ]
    assert logged(caplog, STREAMS_LOG, "stream") == [
        ("INFO", "stream created", "HEED"),
        ("INFO", "stream created", "HEED_DEAD"),
    ]


async def test_zero_is_no_limit_and_leaves_the_window_as_it_is() -> None:
    wire = broker()

    await ensure_streams(wire, StreamSettings(max_bytes=0, max_age=0, duplicate_window=120))

    config = wire.asked("STREAM.CREATE")[0].body
    assert (config["max_bytes"], config["max_age"], config["duplicate_window"]) == (-1, 0, 120 * SECOND)


async def test_a_stream_that_is_there_is_left_as_it_is() -> None:
    wire = broker(there(), {"config": DEAD, "state": {}})

    await ensure_streams(wire, SETTINGS)

    assert wire.asked("STREAM.CREATE") == []


async def test_an_account_that_allows_fewer_consumers_decides() -> None:
    def create(config: dict[str, Any]) -> dict[str, Any]:
        return refusal(10074, 400, "maximum consumers limit") if config["max_consumers"] > 0 else {}

    wire = broker(create=create)

    await ensure_streams(wire, SETTINGS)

    [_, again, *_] = wire.asked("STREAM.CREATE")
    assert again.body == {**EVENTS, "max_consumers": -1}


async def test_an_account_that_allows_no_consumers_at_all_is_asked_once_more() -> None:
    wire = broker(create=refusal(10074, 400, "maximum consumers limit"))

    with pytest.raises(ApiRefused, match="maximum consumers limit"):
        await ensure_streams(wire, SETTINGS)

    assert len(wire.asked("STREAM.CREATE")) == 2


async def test_subjects_that_another_stream_takes_are_a_conflict() -> None:
    wire = broker(create=refusal(10065, 400, "subjects overlap with an existing stream"))

    with pytest.raises(StreamConflict) as raised:
        await ensure_streams(wire, SETTINGS)

    assert str(raised.value) == (
        'stream HEED: subjects ["heed.>"] overlap: another stream takes some of them; '
        "see nats stream ls --subjects, and change or delete it"
    )


@pytest.mark.parametrize("found", [there(), there(max_age=0)])
async def test_who_was_quicker_decides(found: dict[str, Any]) -> None:
    answers = [MISSING, found]
    wire = broker(lambda _: answers.pop(0), {"config": DEAD}, refusal(10058, 400, "name in use"))

    await ensure_streams(wire, SETTINGS)

    assert answers == []


@pytest.mark.parametrize(
    ("err_code", "infos"), [(10058, [MISSING, MISSING]), (10047, [MISSING])], ids=["gone again", "no room"]
)
async def test_what_cannot_be_made_is_raised(err_code: int, infos: list[dict[str, Any]]) -> None:
    wire = broker(lambda _: infos.pop(0), create=refusal(err_code, 400, "why"))

    with pytest.raises(ApiRefused) as raised:
        await ensure_streams(wire, SETTINGS)

    assert raised.value.err_code == err_code
    assert infos == []


async def test_an_error_other_than_that_it_is_missing_makes_no_stream() -> None:
    wire = broker(refusal(10008, 503, "system temporarily unavailable"))

    with pytest.raises(ApiRefused):
        await ensure_streams(wire, SETTINGS)

    assert wire.asked("STREAM.CREATE") == []


# ── said ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("max_consumers", 1000),
        ("max_bytes", 10),
        ("max_age", 0),
        ("num_replicas", 1),
        ("duplicate_window", 1),
        ("storage", "memory"),
        ("discard", "new"),
        ("storage", None),
    ],
)
async def test_another_limit_is_kept_and_said(
    field: str, found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = {name: value for name, value in {**EVENTS, field: found}.items() if value is not None}

    await ensure_streams(broker({"config": config, "state": {}}, {"config": DEAD}), SETTINGS)

    assert logged(caplog, STREAMS_LOG, "stream", "field", "found", "wanted") == [
        ("WARNING", "stream has another limit, which is kept", "HEED", field, found, EVENTS[field])
    ]


@pytest.mark.parametrize("field", ["description", "max_msgs", "max_msg_size", "allow_direct"])
async def test_what_is_no_such_limit_is_not_talked_about(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ensure_streams(broker(there(**{field: 1}), {"config": DEAD}), SETTINGS)

    assert logged(caplog, STREAMS_LOG) == []


async def test_all_that_is_wrong_with_a_stream_is_said_at_once() -> None:
    wire = broker(there(retention="interest", subjects=["heed.events.>"]))

    with pytest.raises(StreamConflict) as raised:
        await ensure_streams(wire, SETTINGS)

    first, second = str(raised.value).split("\n")
    assert first.startswith('stream HEED: retention is "interest", wanted "limits"; ')
    assert second.startswith('stream HEED: subjects are ["heed.events.>"], wanted heed.>; ')


@pytest.mark.parametrize(("field", "is_wrong"), [("HEED", True), ("HEED_DEAD", False)])
async def test_powers_of_publishers_matter_where_everybody_publishes(field: str, is_wrong: bool) -> None:
    power = {"allow_rollup_hdrs": True}
    events = there(**power) if field == "HEED" else there()
    dead = {"config": {**DEAD, **power} if field != "HEED" else DEAD}

    if is_wrong:
        with pytest.raises(StreamConflict, match="allow_rollup_hdrs is true"):
            await ensure_streams(broker(events, dead), SETTINGS)
    else:
        await ensure_streams(broker(events, dead), SETTINGS)


@pytest.mark.parametrize(
    ("version", "shown"),
    [((2, 13, 9), "2.13.9"), ((1, 99, 0), "1.99.0"), ((2, 14, 0), None), ((3, 0, 0), None), ((), None)],
)
async def test_an_older_server_is_said(
    version: tuple[int, ...], shown: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    wire = broker()
    wire.version = version

    await ensure_streams(wire, SETTINGS)

    words = "nats-server is older than Heed is tested with; upgrade it"
    told = ("WARNING", words, wire.url, shown, "2.14 or newer")
    assert logged(caplog, STREAMS_LOG, "url", "version", "wanted") == ([told] if shown else [])


@pytest.mark.parametrize("most", [8192, GOOD - 1, GOOD])
async def test_a_broker_that_takes_little_is_said(most: int, caplog: pytest.LogCaptureFixture) -> None:
    wire = broker(most=most)

    await ensure_streams(wire, SETTINGS)

    words = "the broker takes less than Agents may emit; raise its max_payload"
    told = ("WARNING", words, wire.url, most, GOOD)
    assert logged(caplog, STREAMS_LOG, "url", "max_payload", "wanted") == ([told] if most < GOOD else [])


async def test_a_broker_that_takes_too_little_is_refused() -> None:
    wire = broker(most=8191)

    with pytest.raises(StreamConflict) as raised:
        await ensure_streams(wire, SETTINGS)

    assert str(raised.value) == (
        "the broker takes messages of 8191 bytes at most, and Heed needs 8192; raise its max_payload"
    )
    assert wire.sent == []
