"""The streams: made where they are missing, respected where they are usable, refused where they would lose events."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.bus.connection import Connection, connect
from heed.bus.streams import ensure_streams
from heed.errors import StreamConflict
from heed.settings import Settings, StreamSettings
from tests.nats_server import NatsServer

SETTINGS = StreamSettings(max_bytes=50_000_000, max_age=3600)


@pytest.fixture
async def broker(own_server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a broker without streams."""
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    yield connection
    await connection.close()


async def config_of(broker: Connection, stream: str) -> dict[str, Any]:
    """A stream's configuration."""
    return dict((await broker.api(f"STREAM.INFO.{stream}"))["config"])


async def test_missing_streams_are_made_with_the_limits_of_the_settings(broker: Connection) -> None:
    await ensure_streams(broker, SETTINGS)

    events, dead = await config_of(broker, names.STREAM), await config_of(broker, names.DEAD_STREAM)
    assert events["subjects"] == ["heed.>"]
    assert dead["subjects"] == ["heed-dead.>"]
    assert (events["max_bytes"], events["max_age"]) == (50_000_000, 3600 * 10**9)
    assert (events["storage"], events["discard"]) == ("file", "old")
    assert not events.get("allow_msg_schedules")
    assert not events.get("allow_rollup_hdrs")
    assert events["max_consumers"] > 1000  # what nats-server 2.15 allows a stream that says nothing
    assert dead["max_bytes"] == SETTINGS.dead_max_bytes


async def test_zero_means_no_limit(broker: Connection) -> None:
    await ensure_streams(broker, replace(SETTINGS, max_bytes=0, max_age=0))

    config = await config_of(broker, names.STREAM)
    assert (config["max_bytes"], config["max_age"]) == (-1, 0)


async def test_several_operators_may_start_at_once_even_with_other_settings(broker: Connection) -> None:
    await asyncio.gather(*(ensure_streams(broker, replace(SETTINGS, max_age=60 + age)) for age in range(8)))

    assert (await config_of(broker, names.STREAM))["subjects"] == ["heed.>"]


async def test_other_limits_are_kept_and_logged(broker: Connection, caplog: pytest.LogCaptureFixture) -> None:
    await ensure_streams(broker, SETTINGS)

    with caplog.at_level(logging.WARNING):
        await ensure_streams(broker, replace(SETTINGS, max_bytes=60_000_000))

    assert (await config_of(broker, names.STREAM))["max_bytes"] == 50_000_000
    [record] = [item for item in caplog.records if item.name == "heed.bus.streams"]
    assert vars(record)["field"] == "max_bytes"
    assert vars(record)["found"] == 50_000_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"retention": "workqueue"},
            'stream HEED: retention is "workqueue", wanted "limits"; every Agent reads',
        ),
        ({"no_ack": True}, "stream HEED: no_ack is true, wanted false; without acknowledgements"),
        (
            {"allow_rollup_hdrs": True},
            "stream HEED: allow_rollup_hdrs is true, wanted false; publishers could delete all events",
        ),
        ({"max_msgs_per_subject": 1}, "stream HEED: max_msgs_per_subject is 1, wanted -1; it drops events"),
        (
            {"subjects": ["heed.events.>"]},
            r'stream HEED: subjects are \["heed.events.>"\], wanted heed.>; add it',
        ),
        ({"subjects": ["heed.*.>"]}, r'stream HEED: subjects are \["heed.\*.>"\], wanted heed.>'),
    ],
)
async def test_a_stream_that_would_lose_events_is_refused(
    broker: Connection, change: dict[str, Any], words: str
) -> None:
    config = {"name": "HEED", "subjects": ["heed.>"], **change}
    await broker.api("STREAM.CREATE.HEED", config)

    with pytest.raises(StreamConflict, match=words):
        await ensure_streams(broker, SETTINGS)


async def test_a_stream_that_takes_more_subjects_is_fine(broker: Connection) -> None:
    config = {
        "name": "HEED",
        "subjects": ["heed.>", "else"],
        "storage": "memory",
    }
    await broker.api("STREAM.CREATE.HEED", config)

    await ensure_streams(broker, SETTINGS)


async def test_a_sealed_stream_is_refused(broker: Connection) -> None:
    await ensure_streams(broker, SETTINGS)
    await broker.api("STREAM.UPDATE.HEED_DEAD", {**await config_of(broker, "HEED_DEAD"), "sealed": True})

    with pytest.raises(StreamConflict, match="stream HEED_DEAD: sealed is true, wanted false"):
        await ensure_streams(broker, SETTINGS)


async def test_another_stream_on_our_subjects_is_named_as_the_cause(broker: Connection) -> None:
    await broker.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["heed.events.>"]})

    with pytest.raises(
        StreamConflict, match=r'subjects \["heed.>"\] overlap: another stream takes some of them'
    ):
        await ensure_streams(broker, SETTINGS)
