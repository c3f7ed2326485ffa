"""Publishing: stored once per source and id, also when an outbox is paid long after its first try."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.codec.cloudevents import decode
from heed.bus.codec.dead_letter import measure_headers, original_message
from heed.bus.dead_letters import DeadLetterFilter, DeadLetterStore
from heed.bus.jetstream import JetStreamBus, message_id
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent, StreamConflict
from heed.settings import Settings, StreamSettings
from tests.builders.events import owed_event
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer, require_nats_server

BEGINNING = "1970-01-01T00:00:00Z"
TYPE = "com.example.order.placed"
EVENT = Event(
    "1",
    "/shop",
    TYPE,
    {"total": 9.5, "note": "né"},
    time="2026-01-31T12:00:00Z",
    datacontenttype="application/json",
    extensions={"correlationid": "flow 1"},
)


@pytest.fixture
def subject(namespace: str) -> str:
    """Where the events of a test go."""
    return names.event_subject(namespace, TYPE)


async def stored(bus: JetStreamBus, *subjects: str) -> list[Event]:
    """The events on these subjects."""
    reader = await bus.open(subjects, 0, BEGINNING)
    events: list[Event] = []
    while received := await reader.read(100, 0.1):
        events += [item.event for item in received if isinstance(item.event, Event)]
    await reader.close()
    return events


async def test_an_event_arrives_as_it_was_published(bus: JetStreamBus, subject: str) -> None:
    sequence = await bus.publish(subject, EVENT)

    reader = await bus.open([subject], 0, BEGINNING)
    [received] = await reader.read(10, SOON)
    await reader.close()

    assert (received.sequence, received.subject, received.event) == (sequence, subject, EVENT)


async def test_a_retry_is_stored_once_and_told_the_first_sequence(bus: JetStreamBus, subject: str) -> None:
    first = await bus.publish(subject, EVENT)
    again = await bus.publish(subject, EVENT)

    assert again == first
    assert len(await stored(bus, subject)) == 1


async def test_ids_are_told_apart_by_source_and_by_subject(
    bus: JetStreamBus, namespace: str, subject: str
) -> None:
    inbox = names.inbox_subject(namespace, "agent", TYPE)

    await bus.publish(subject, EVENT)
    await bus.publish(subject, replace(EVENT, source="/other"))
    await bus.publish(inbox, EVENT)

    assert len(await stored(bus, subject, inbox)) == 3


async def test_duplicates_are_wanted_where_that_is_said(bus: JetStreamBus, subject: str) -> None:
    await bus.publish(subject, EVENT, deduplicate=False)
    await bus.publish(subject, EVENT, deduplicate=False)

    assert len(await stored(bus, subject)) == 2


@pytest.mark.parametrize(
    "event",
    [
        replace(EVENT, data="x" * 1_048_577),
        replace(EVENT, extensions={"ext": "x" * 70_000}),
        replace(EVENT, data={"a": object()}),
    ],
)
async def test_what_the_broker_can_never_take_is_malformed_and_breaks_no_connection(
    bus: JetStreamBus, connection: Connection, subject: str, event: Event
) -> None:
    epoch = connection.epoch

    with pytest.raises(MalformedEvent):
        await bus.publish(subject, event)

    await bus.publish(subject, EVENT)
    assert connection.epoch == epoch


async def test_a_subject_that_is_none_is_malformed(bus: JetStreamBus) -> None:
    with pytest.raises(MalformedEvent, match=r"cannot be published on 'heed\.events\.a b'"):
        await bus.publish("heed.events.a b", EVENT)


async def test_without_a_stream_the_bus_is_unavailable(bus: JetStreamBus) -> None:
    with pytest.raises(BusUnavailable, match="does the stream exist"):
        await bus.publish("elsewhere.events", EVENT)


async def test_a_broker_that_dies_during_a_request_fails_it_at_once(
    own_server: NatsServer, forgetful: Connection, subject: str
) -> None:
    bus = JetStreamBus(forgetful)
    silent = await forgetful.client.subscribe("silence")
    asking = asyncio.create_task(forgetful.request("silence", timeout=60))
    await silent.next_msg(timeout=SOON)

    own_server.kill()
    with pytest.raises(BusUnavailable, match="was lost before silence was answered"):
        await asyncio.wait_for(asking, SOON)

    own_server.start()
    await until(lambda: forgetful.is_connected)
    await bus.publish(subject, EVENT)


# ── an outbox ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_outbox_is_paid_with_the_event_as_it_was_decided(bus: JetStreamBus, subject: str) -> None:
    await bus.publish_owed("id", owed_event(EVENT, subject), look_first=False)
    await bus.publish_owed("id", owed_event(EVENT, subject), look_first=True)

    assert await stored(bus, subject) == [EVENT]


async def pass_the_window(bus: JetStreamBus, namespace: str) -> None:
    """Wait until the broker has forgotten the ids of all that was published before this call."""
    probe = names.event_subject(namespace, "probe")
    first = await bus.publish(probe, replace(EVENT, type="probe"))

    async def forgotten() -> bool:
        return await bus.publish(probe, replace(EVENT, type="probe")) != first

    await until(forgotten)


async def test_an_owed_event_is_found_after_the_brokers_window_for_duplicates(
    forgetful: Connection, namespace: str, subject: str
) -> None:
    bus = JetStreamBus(forgetful)
    cause = await bus.publish(names.event_subject(namespace, "cause"), replace(EVENT, type="cause"))
    await bus.publish_owed("id", owed_event(EVENT, subject, cause), look_first=False)
    await bus.publish(subject, replace(EVENT, id="of someone else"))
    await pass_the_window(bus, namespace)

    # The crash: another process finds the event in its outbox and cannot know that it was published.
    await JetStreamBus(forgetful).publish_owed("id", owed_event(EVENT, subject, cause), look_first=True)

    assert [event.id for event in await stored(bus, subject)] == ["1", "of someone else"]


async def test_an_owed_event_that_is_not_there_is_published_although_others_are(
    forgetful: Connection, namespace: str, subject: str
) -> None:
    bus = JetStreamBus(forgetful)
    await bus.publish(subject, replace(EVENT, source="/other"))
    await bus.publish(names.inbox_subject(namespace, "agent", TYPE), EVENT)

    await bus.publish_owed("id", owed_event(EVENT, subject), look_first=True)

    assert [event.source for event in await stored(bus, subject)] == ["/other", "/shop"]


async def test_a_whole_outbox_is_looked_up_in_one_pass(
    forgetful: Connection, namespace: str, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = JetStreamBus(forgetful)
    events = [replace(EVENT, id=str(number)) for number in range(300)]
    await asyncio.gather(*(bus.publish(subject, event) for event in events[::2]))
    await pass_the_window(bus, namespace)

    requests: list[str] = []
    api = Connection.api

    async def counting(self: Connection, name: str, request: Any = None) -> dict[str, Any]:
        requests.append(name)
        return await api(self, name, request)

    monkeypatch.setattr(Connection, "api", counting)
    again = JetStreamBus(forgetful)
    await asyncio.gather(
        *(again.publish_owed(event.id, owed_event(event, subject), look_first=True) for event in events)
    )

    assert sorted(int(event.id) for event in await stored(bus, subject)) == list(range(300))
    assert requests.count("CONSUMER.CREATE.HEED") <= 3


async def test_a_later_look_sees_what_came_in_between(
    forgetful: Connection, namespace: str, subject: str
) -> None:
    bus, other = JetStreamBus(forgetful), JetStreamBus(forgetful)
    await bus.publish_owed("a", owed_event(replace(EVENT, id="a"), subject), look_first=True)
    await other.publish_owed("b", owed_event(replace(EVENT, id="b"), subject), look_first=False)
    await pass_the_window(bus, namespace)

    await bus.publish_owed("b", owed_event(replace(EVENT, id="b"), subject), look_first=True)
    await bus.publish_owed("a", owed_event(replace(EVENT, id="a"), subject), look_first=True)

    assert [event.id for event in await stored(bus, subject)] == ["a", "b"]


async def test_an_outbox_that_holds_no_event_is_malformed(bus: JetStreamBus, subject: str) -> None:
    with pytest.raises(MalformedEvent, match="id in the outbox is not JSON"):
        await bus.publish_owed("id", OutboxMessage(1, 0, subject, BEGINNING, event="{"), look_first=False)


async def test_an_id_that_somebody_took_on_another_subject_suppresses_nothing(
    connection: Connection, bus: JetStreamBus, namespace: str
) -> None:
    # Given a publisher that knows which Nats-Msg-Id an event is going to have
    event = Event("e-1", "/test", "com.example.asked")
    subject = names.event_subject(namespace, event.type)
    squat = {"Nats-Msg-Id": message_id(subject, event)}
    await connection.client.jetstream().publish(f"{subject}.elsewhere", b"", headers=squat)

    # When the event comes
    sequence = await bus.publish(subject, event)

    # Then it is stored all the same
    stored = await connection.client.jetstream().get_msg(names.STREAM, sequence)
    assert stored.subject == subject


async def test_an_id_that_outlived_its_message_suppresses_nothing(
    connection: Connection, bus: JetStreamBus, subject: str
) -> None:
    # Given an event whose message is gone, while the broker still knows its id
    stream = connection.client.jetstream()
    first = await bus.publish(subject, EVENT)
    await stream.purge_stream(names.STREAM, subject=subject)

    # When it is published again
    again = await bus.publish(subject, EVENT)

    # Then it is in the stream: what is acknowledged is stored
    assert again > first
    assert await stored(bus, subject) == [EVENT]


# ── what can never be published ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection to a broker that takes no more than 8 KiB."""
    require_nats_server()
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 8192\n")
    with NatsServer(tmp_path / "server", "-c", str(config)) as server:
        connection = await connect(Settings(nats_url=server.url), "test", attempts=3)
        await ensure_streams(connection, StreamSettings())
        yield connection
        await connection.close()


def emitted_event(namespace: str, **changes: Any) -> Event:
    """An event as an Agent emits it."""
    return replace(EVENT, source=names.agent_source(namespace, "agent"), **changes)


@pytest.mark.parametrize(
    ("change", "whole"),
    [({"data": "x" * 9000}, False), ({"extensions": {"ext": "a " * 1800}, "data": "x" * 1500}, True)],
    ids=["larger than the broker takes", "as large once it is encoded"],
)
async def test_an_owed_event_that_the_broker_never_takes_ends_as_one_dead_letter(
    narrow: Connection,
    namespace: str,
    subject: str,
    change: dict[str, Any],
    whole: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = emitted_event(namespace, **change)
    debt = owed_event(event, subject, 7)

    # When it is paid, and after a crash paid again
    await JetStreamBus(narrow).publish_owed("id", debt, look_first=False)
    await JetStreamBus(narrow).publish_owed("id", debt, look_first=True)

    # Then it is in no stream of events, and once among the Agent's dead letters
    assert await stored(JetStreamBus(narrow), subject) == []
    found = [
        item
        async for batch in DeadLetterStore(narrow).find(DeadLetterFilter(namespace), payloads=True)
        for item in batch
    ]
    [letter] = [item.letter for item in found]
    assert (letter.agent, letter.cause("Code"), letter.cause("Sequence")) == ("agent", "Unpublishable", "7")
    assert letter.cause("Subject") == subject
    assert "more than the broker takes" in (letter.cause("Message") or "")
    assert "the Agent emitted it" in (letter.refusal or "")
    original = original_message(letter)
    if whole:
        assert decode(original.headers, original.payload, subject) == event
    else:
        assert (original.payload, letter.headers["Heed-Dead-Lost"]) == (b"", "true")
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.message == "event cannot be published, dead-lettered"


async def test_a_dead_letter_of_an_event_that_is_nearly_all_headers_fits_the_broker(
    narrow: Connection, namespace: str
) -> None:
    # Given a message as large as the broker takes, of headers only
    bus, subject = JetStreamBus(narrow), names.event_subject(namespace, EVENT.type)
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": EVENT.type}
    headers["ce-ext"] = "x" * (narrow.max_payload - measure_headers({**headers, "ce-ext": ""}))
    sequence = (await bus.store(subject, headers, b"")).sequence

    # When its letter is owed
    letter = OutboxMessage(
        sequence,
        0,
        names.dead_subject(namespace, "agent"),
        BEGINNING,
        letter=DeadLetterCause("BadEvent", "é" * 900),
    )
    await bus.publish_owed("id", letter, look_first=False)

    # Then it is there, without what does not fit
    [found] = [
        item async for batch in DeadLetterStore(narrow).find(DeadLetterFilter(namespace)) for item in batch
    ]
    assert (found.letter.cause("Code"), found.letter.cause("Sequence")) == ("BadEvent", str(sequence))
    assert found.letter.headers["Heed-Dead-Lost"] == "true"
    assert "ce-ext" not in found.letter.headers


async def test_a_broker_that_takes_too_little_is_refused_with_the_remedy(tmp_path: Path) -> None:
    require_nats_server()
    (tmp_path / "nats.conf").write_text("max_payload: 4096\n")
    with NatsServer(tmp_path / "server", "-c", str(tmp_path / "nats.conf")) as server:
        connection = await connect(Settings(nats_url=server.url), "test", attempts=3)
        with pytest.raises(
            StreamConflict, match=r"4096 bytes at most, and Heed needs 8192; raise its max_payload"
        ):
            await ensure_streams(connection, StreamSettings())
        await connection.close()


async def test_a_broker_that_takes_less_than_agents_may_emit_is_told(
    narrow: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await ensure_streams(narrow, StreamSettings())
    assert "the broker takes less than Agents may emit; raise its max_payload" in caplog.messages


async def test_what_the_broker_takes_after_all_is_not_dead_lettered(
    narrow: Connection, namespace: str, subject: str
) -> None:
    await JetStreamBus(narrow).publish_owed(
        "id", owed_event(emitted_event(namespace), subject, 7), look_first=False
    )

    assert len(await stored(JetStreamBus(narrow), subject)) == 1
    assert [batch async for batch in DeadLetterStore(narrow).find(DeadLetterFilter(namespace)) if batch] == []
