"""The streams: made where they are missing, respected where they are usable, refused where they would lose events."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.bus.client import streams
from heed.bus.client.connection import Connection, connect
from heed.bus.client.stream_rules import StreamFlaw
from heed.bus.client.streams import ensure_streams
from heed.errors import StreamConflict
from heed.settings import Settings, StreamSettings
from tests.integration.waiting import until
from tests.nats_server import NatsServer
from tests.patience import PATIENCE

SETTINGS = StreamSettings(max_bytes=50_000_000, max_age=3600)


async def config_of(bare: Connection, stream: str) -> dict[str, Any]:
    """A stream's configuration."""
    return dict((await bare.api(f"STREAM.INFO.{stream}"))["config"])


async def test_missing_streams_are_made_with_the_limits_of_the_settings(bare: Connection) -> None:
    await ensure_streams(bare, SETTINGS)

    events, dead = await config_of(bare, names.STREAM), await config_of(bare, names.DEAD_STREAM)
    assert events["subjects"] == ["heed.>"]
    assert dead["subjects"] == ["heed-dead.>"]
    assert (events["max_bytes"], events["max_age"]) == (50_000_000, 3600 * 10**9)
    assert (events["storage"], events["discard"]) == ("file", "old")
    assert not events.get("allow_msg_schedules")
    assert not events.get("allow_rollup_hdrs")
    assert events["max_consumers"] > 1000  # what nats-server 2.15 allows a stream that says nothing
    assert dead["max_bytes"] == SETTINGS.dead_max_bytes


async def test_zero_means_no_limit(bare: Connection) -> None:
    await ensure_streams(bare, replace(SETTINGS, max_bytes=0, max_age=0))

    config = await config_of(bare, names.STREAM)
    assert (config["max_bytes"], config["max_age"]) == (-1, 0)


async def test_several_operators_may_start_at_once_even_with_other_settings(bare: Connection) -> None:
    await asyncio.gather(*(ensure_streams(bare, replace(SETTINGS, max_age=60 + age)) for age in range(8)))

    assert (await config_of(bare, names.STREAM))["subjects"] == ["heed.>"]


async def test_other_limits_are_kept_and_logged(bare: Connection, caplog: pytest.LogCaptureFixture) -> None:
    await ensure_streams(bare, SETTINGS)

    with caplog.at_level(logging.WARNING):
        await ensure_streams(bare, replace(SETTINGS, max_bytes=60_000_000))

    assert (await config_of(bare, names.STREAM))["max_bytes"] == 50_000_000
    [record] = [item for item in caplog.records if item.name == "heed.bus.client.streams"]
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
    bare: Connection, change: dict[str, Any], words: str
) -> None:
    config = {"name": "HEED", "subjects": ["heed.>"], **change}
    await bare.api("STREAM.CREATE.HEED", config)

    with pytest.raises(StreamConflict, match=words):
        await ensure_streams(bare, SETTINGS)


async def test_a_stream_that_takes_more_subjects_is_fine(bare: Connection) -> None:
    config = {
        "name": "HEED",
        "subjects": ["heed.>", "else"],
        "storage": "memory",
    }
    await bare.api("STREAM.CREATE.HEED", config)

    await ensure_streams(bare, SETTINGS)


async def test_a_sealed_stream_is_refused(bare: Connection) -> None:
    await ensure_streams(bare, SETTINGS)
    await bare.api("STREAM.UPDATE.HEED_DEAD", {**await config_of(bare, "HEED_DEAD"), "sealed": True})

    with pytest.raises(StreamConflict, match="stream HEED_DEAD: sealed is true, wanted false"):
        await ensure_streams(bare, SETTINGS)


async def test_another_stream_on_our_subjects_is_named_as_the_cause(bare: Connection) -> None:
    await bare.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["heed.events.>"]})

    with pytest.raises(
        StreamConflict, match=r'subjects \["heed.>"\] overlap: another stream takes some of them'
    ):
        await ensure_streams(bare, SETTINGS)


# --- while the operator runs ---------------------------------------------------------------------------------------


class Kept:
    """What is told of the streams by whoever keeps them."""

    def __init__(self) -> None:
        self.told: list[Sequence[StreamFlaw]] = []

    def found(self, flaws: Sequence[StreamFlaw]) -> None:
        self.told.append(flaws)

    def says(self, *words: str) -> bool:
        """Whether the latest look found so many flaws, with these words in them."""
        latest = self.told[-1] if self.told else ()
        return len(latest) == len(words) and all(
            word in str(flaw) for word, flaw in zip(words, latest, strict=True)
        )


@pytest.fixture
async def kept(bare: Connection, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(streams, "CHECK_INTERVAL_S", 0.05)
    await ensure_streams(bare, SETTINGS)
    kept = Kept()
    keeping = asyncio.create_task(streams.keep_streams(bare, SETTINGS, kept.found))
    await until(lambda: bool(kept.told))
    yield kept
    keeping.cancel()
    await asyncio.wait({keeping})


async def edit(bare: Connection, stream: str, **change: Any) -> None:
    await bare.api(f"STREAM.UPDATE.{stream}", {**await config_of(bare, stream), **change})


async def test_streams_as_they_should_be_have_no_flaws(kept: Kept) -> None:
    assert kept.says()


async def test_a_stream_that_is_edited_so_that_it_loses_events_is_told_of_until_it_is_mended(
    bare: Connection, kept: Kept
) -> None:
    await edit(bare, "HEED", max_msgs_per_subject=1)
    await until(lambda: kept.says("stream HEED: max_msgs_per_subject is 1, wanted -1; it drops events"))

    # Another stream with another mistake does not hide the first
    await edit(bare, "HEED_DEAD", no_ack=True)
    await until(lambda: kept.says("stream HEED: max_msgs_per_subject", "stream HEED_DEAD: no_ack is true"))

    await edit(bare, "HEED", max_msgs_per_subject=-1)
    await edit(bare, "HEED_DEAD", no_ack=False)
    await until(kept.says)


async def test_a_stream_that_changes_subjects_or_takes_fewer_is_told_of(bare: Connection, kept: Kept) -> None:
    await edit(bare, "HEED", subject_transform={"src": "heed.events.>", "dest": "heed.lost.>"})
    await until(lambda: kept.says("subject_transform is"))

    await edit(bare, "HEED", subject_transform=None, subjects=["heed.events.>"])
    await until(lambda: kept.says('subjects are ["heed.events.>"], wanted heed.>'))


@pytest.mark.parametrize("limit", [{"max_msgs": 3}, {"max_bytes": 900}])
async def test_a_stream_that_refuses_what_is_new_is_told_of_once_it_is_full(
    bare: Connection, kept: Kept, limit: dict[str, int]
) -> None:
    # Given a stream that would rather refuse new events than drop old ones, which is fine
    await edit(bare, "HEED", discard="new", **limit)
    looked = len(kept.told)
    await until(lambda: len(kept.told) > looked + 1)
    assert kept.says()

    # When it is full
    async def refused() -> bool:
        reply = await bare.request("heed.events.a.b", b"x" * 250)
        return b'"error"' in reply.data

    while not await refused():
        pass
    await bare.request("heed.events.a.b", b"x" * 10)

    # Then
    [(field, most)] = limit.items()
    await until(lambda: kept.says('discard is "new", and'))
    assert f"of its {field} {most} are taken: it refuses events" in str(kept.told[-1][0])

    await edit(bare, "HEED", discard="old")
    await until(kept.says)


async def test_a_server_that_is_older_than_heed_is_tested_with_is_told_and_served(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with as_version(own_server, b"2.10.29") as url:
        connection = await connect(Settings(nats_url=url), "test", attempts=3)
        assert connection.server_version == (2, 10, 29)
        await ensure_streams(connection, StreamSettings())
        await connection.close()

    [record] = [item for item in caplog.records if "older than Heed" in item.message]
    assert (vars(record)["version"], vars(record)["wanted"]) == ("2.10.29", "2.14 or newer")


async def test_a_server_that_is_new_enough_is_not_talked_about(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    await ensure_streams(connection, StreamSettings())
    await connection.close()

    assert not [item for item in caplog.messages if "older than Heed" in item or "max_payload" in item]


@asynccontextmanager
async def as_version(server: NatsServer, version: bytes) -> AsyncIterator[str]:
    """The URL of the server, by a way on which it says to be of another version."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", server.port)
        info = await theirs.readline()
        writer.write(re.sub(rb'"version":"[^"]*"', b'"version":"' + version + b'"', info))
        ways = [asyncio.create_task(_pass(reader, ours)), asyncio.create_task(_pass(theirs, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for task in ways:
            task.cancel()
        for end in (ours, writer):
            end.close()
            with suppress(OSError):
                await end.wait_closed()
        served.set()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await asyncio.wait_for(served.wait(), PATIENCE)
    finally:
        listener.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
