"""A stream deleted, replaced or restored under a cursor: said clearly, and never read as if it were the old one."""

import asyncio
import logging
import shutil
from typing import Any

import pytest

from heed import names
from heed.bus.client import streams
from heed.bus.client.connection import Connection
from heed.bus.client.stream_bounds import StreamBoundsCache
from heed.bus.client.streams import ensure_streams, keep_streams
from heed.bus.jetstream import JetStreamBus
from heed.errors import BusUnavailable, ReaderLost, StreamMissing, StreamReplaced
from heed.settings import StreamSettings
from tests.integration.reading import BEGINNING, after_the_consumer, collect, data, send
from tests.integration.waiting import SOON, until
from tests.nats_backup import back_up, restore
from tests.nats_server import NatsServer


async def created(connection: Connection) -> str:
    """When the stream was created, as it says."""
    return str((await connection.api("STREAM.INFO.HEED"))["created"])


async def replace(connection: Connection) -> None:
    """Someone deletes the stream and creates it again."""
    await connection.api("STREAM.DELETE.HEED")
    await ensure_streams(connection, StreamSettings())


# ── which stream it is ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_tells_its_stream_in_the_brokers_own_words(
    bus: JetStreamBus, connection: Connection, namespace: str, subjects: list[str]
) -> None:
    [sequence] = await send(bus, namespace, 0)

    for after in (0, sequence):
        reader = await bus.open(subjects, after, BEGINNING, await created(connection))
        assert reader.created == await created(connection)
        await reader.close()


async def test_a_restart_of_the_server_and_an_edit_leave_it_the_same_stream(
    own_server: NatsServer, own: Connection, namespace: str, subjects: list[str]
) -> None:
    bus, before = JetStreamBus(own), await created(own)
    [sequence] = await send(bus, namespace, 0)

    own_server.kill()
    await until(lambda: not own.is_connected)
    own_server.start()
    await until(lambda: own.is_connected)
    config = (await own.api("STREAM.INFO.HEED"))["config"]
    await own.api("STREAM.UPDATE.HEED", {**config, "max_msgs": 1_000_000})

    reader = await bus.open(subjects, sequence, BEGINNING, before)
    assert reader.created == before
    await reader.close()


@pytest.mark.parametrize("grown", [0, 3, 8], ids=["empty", "smaller than the cursor", "beyond the cursor"])
async def test_a_stream_made_anew_is_refused_whatever_is_in_it(
    own: Connection, namespace: str, subjects: list[str], grown: int
) -> None:
    # Given a cursor in a stream
    bus, before = JetStreamBus(own), await created(own)
    cursor = (await send(bus, namespace, *range(5)))[-1]

    # When the stream is created again, and something is published
    await replace(own)
    await send(bus, namespace, *range(grown))

    # Then nothing of it is read, and the message tells both streams apart and what to do
    with pytest.raises(StreamReplaced) as raised:
        await bus.open(subjects, cursor, BEGINNING, before)
    message = str(raised.value)
    assert f"created at {await created(own)}" in message
    assert f"one created at {before}" in message
    assert (
        """kubectl patch agent NAME --subresource=status --type=merge -p '{"status":{"cursor":null}}'"""
        in message
    )
    await until(lambda: _has_no_consumer(own))

    # And who begins with it reads all that is in it
    reader = await bus.open(subjects, 0, BEGINNING)
    assert reader.created == await created(own)
    assert data(await collect(reader, grown)) == list(range(grown))
    await reader.close()


async def _has_no_consumer(connection: Connection) -> bool:
    return not (await connection.api("CONSUMER.NAMES.HEED"))["consumers"]


async def test_a_cursor_that_does_not_know_its_stream_is_refused_beyond_the_end(
    own: Connection, namespace: str, subjects: list[str]
) -> None:
    bus = JetStreamBus(own)
    [sequence] = await send(bus, namespace, 0)

    with pytest.raises(
        StreamReplaced, match=f"stream HEED ends at {sequence}, and {sequence + 5} was read from it"
    ):
        await bus.open(subjects, sequence + 5, BEGINNING)

    reader = await bus.open(subjects, sequence, BEGINNING)
    await reader.close()


async def test_a_stream_restored_to_before_the_cursor_is_refused_until_the_cursor_is_moved(
    own: Connection, namespace: str, subjects: list[str]
) -> None:
    # Given a backup, and events that came after it
    bus, before = JetStreamBus(own), await created(own)
    kept = await send(bus, namespace, 0, 1, 2)
    backup = await back_up(own)
    lost = await send(bus, namespace, 3, 4)

    # When the stream is restored
    await own.api("STREAM.DELETE.HEED")
    await restore(own, *backup)
    await send(bus, namespace, 5)

    # Then the cursor is not where it was
    with pytest.raises(StreamReplaced):
        await bus.open(subjects, lost[-1], BEGINNING, before)

    # Nor is it where the stream says that it is the same one
    end = kept[-1] + 1
    with pytest.raises(StreamReplaced, match=f"stream HEED ends at {end}, and {end + 1} was read from it"):
        await bus.open(subjects, end + 1, BEGINNING, await created(own))

    # And from the end of what was restored, reading goes on
    reader = await bus.open(subjects, kept[-1], BEGINNING)
    assert data(await collect(reader, 1)) == [5]
    await reader.close()


# ── while reading ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_that_is_deleted_loses_its_reader_at_once_and_is_said_to_be_missing(
    own: Connection, namespace: str, subjects: list[str]
) -> None:
    bus = JetStreamBus(own)
    [sequence] = await send(bus, namespace, 0)
    reader = await bus.open(subjects, sequence, BEGINNING)
    waiting = asyncio.create_task(reader.read(10, 60))
    await until(lambda: _is_waited_for(own))

    await own.api("STREAM.DELETE.HEED")

    with pytest.raises(ReaderLost):
        await asyncio.wait_for(waiting, SOON)
    await reader.close()
    for after in (0, sequence):
        with pytest.raises(StreamMissing, match="there is no stream HEED; a running operator makes it"):
            await bus.open(subjects, after, BEGINNING)
    with pytest.raises(StreamMissing):
        await bus.fetch([sequence])


async def _is_waited_for(connection: Connection) -> bool:
    """Whether the server has the reader's request for messages."""
    [consumer] = (await connection.api("CONSUMER.NAMES.HEED"))["consumers"]
    return bool((await connection.api(f"CONSUMER.INFO.HEED.{consumer}"))["num_waiting"])


@pytest.mark.parametrize("known", [True, False], ids=["known", "not known"])
async def test_a_stream_replaced_while_a_reader_is_being_opened_is_noticed(
    own: Connection, namespace: str, subjects: list[str], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    # Given a stream that is replaced right after the reader's consumer was made
    bus, before = JetStreamBus(own), await created(own)
    [cursor] = await send(bus, namespace, 0)
    await bus.bounds()  # what was known before must not count
    after_the_consumer(own, monkeypatch, replace)

    # When the reader is opened, then it is not: nobody could say which stream its messages would be from
    with pytest.raises(BusUnavailable, match="stream HEED was replaced just now"):
        await bus.open(subjects, cursor, BEGINNING, before if known else None)

    # And the next try finds the new stream
    with pytest.raises(StreamReplaced):
        await bus.open(subjects, cursor, BEGINNING, before)


# ── one question for all ────────────────────────────────────────────────────────────────────────────────────────────


async def test_readers_that_open_together_ask_together_and_after_their_consumers_were_made(
    bus: JetStreamBus, subjects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, calls = Connection.api, []

    async def noting(self: Connection, subject: str, request: Any = None) -> dict[str, Any]:
        if subject.startswith("STREAM.INFO"):
            calls.append("asked")
        answer = await api(self, subject, request)
        if subject.startswith("CONSUMER.CREATE"):
            calls.append("made")
        return answer

    monkeypatch.setattr(Connection, "api", noting)
    readers = await asyncio.gather(*(bus.open(subjects, 0, BEGINNING) for _ in range(200)))
    await asyncio.gather(*(reader.close() for reader in readers))

    assert calls.count("made") == 200
    assert calls.count("asked") <= 60
    assert calls[-1] == "asked"


async def test_who_asks_while_an_answer_is_on_its_way_gets_the_next_one(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a question that has been asked and is not answered yet
    surveyor, asked, answer = StreamBoundsCache(connection, names.STREAM), [], asyncio.Event()
    api = Connection.api

    async def slow(self: Connection, subject: str, request: Any = None) -> dict[str, Any]:
        asked.append(subject)
        await answer.wait()
        return await api(self, subject, request)

    monkeypatch.setattr(Connection, "api", slow)
    first = asyncio.create_task(surveyor.fresh())
    await until(lambda: len(asked) == 1)

    # When others want to know
    others = [asyncio.create_task(surveyor.fresh()) for _ in range(5)]
    await asyncio.sleep(0)
    answer.set()
    await first

    # Then the answer that was under way is not theirs, and one more is enough for them all
    await asyncio.gather(*others)
    assert len(asked) == 2


async def test_an_answer_that_fails_fails_for_all_who_wait_for_it_and_for_nobody_after(
    own: Connection,
) -> None:
    surveyor = StreamBoundsCache(own, names.STREAM)
    await own.api("STREAM.DELETE.HEED")

    outcomes = await asyncio.gather(*(surveyor.fresh() for _ in range(20)), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {StreamMissing}
    await ensure_streams(own, StreamSettings())
    assert (await surveyor.fresh()).last == 0


# ── made again ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def _exist(connection: Connection) -> bool:
    return set((await connection.api("STREAM.NAMES"))["streams"] or ()) == {names.STREAM, names.DEAD_STREAM}


async def test_streams_that_are_deleted_are_made_again_with_a_warning(
    own: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "CHECK_INTERVAL_S", 0.05)
    keeping = asyncio.create_task(keep_streams(own, StreamSettings(), lambda _: None))
    await own.api("STREAM.DELETE.HEED")
    await own.api("STREAM.DELETE.HEED_DEAD")

    await until(lambda: _exist(own))
    await until(lambda: len(_anew(caplog)) == 2)
    keeping.cancel()

    assert sorted(vars(record)["stream"] for record in _anew(caplog)) == ["HEED", "HEED_DEAD"]
    assert vars(_anew(caplog)[0])["lost"] == "what it held, and what was published since"


def _anew(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [
        record for record in caplog.records if record.message == "stream was missing and was created again"
    ]


async def test_a_broker_that_comes_back_without_its_streams_gets_them_at_once(
    own_server: NatsServer, own: Connection
) -> None:
    # Given an operator that has looked after its streams, and does so again in a while
    await own.api("STREAM.DELETE.HEED_DEAD")
    keeping = asyncio.create_task(keep_streams(own, StreamSettings(), lambda _: None))
    await until(lambda: _exist(own))

    # When the broker loses them
    own_server.kill()
    await until(lambda: not own.is_connected)
    shutil.rmtree(own_server.directory / "js")
    own_server.start()

    # Then they are there as soon as it is
    await until(lambda: own.is_connected)
    await until(lambda: _exist(own))
    keeping.cancel()


async def test_a_stream_that_cannot_be_used_any_more_is_said_aloud_and_ends_nothing(
    own: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an operator that runs, and a stream that someone edits
    monkeypatch.setattr(streams, "CHECK_INTERVAL_S", 0.05)
    keeping = asyncio.create_task(keep_streams(own, StreamSettings(), lambda _: None))
    config = (await own.api("STREAM.INFO.HEED"))["config"]
    await own.api("STREAM.UPDATE.HEED", {**config, "subjects": ["heed.events.>"]})

    # Then it says so, and goes on
    await until(lambda: any(record.message == "stream loses or refuses events" for record in caplog.records))
    assert not keeping.done()

    # And when the stream is gone, it makes it again as it should be
    await own.api("STREAM.DELETE.HEED")
    await until(lambda: _anew(caplog) != [])
    keeping.cancel()
    assert (await own.api("STREAM.INFO.HEED"))["config"]["subjects"] == ["heed.>"]
