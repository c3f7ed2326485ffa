"""Dead letters: nothing of the original is lost or changed, and the cause can be read from the headers."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.client.connection import Connection
from heed.bus.codec.cloudevents import decode, encode
from heed.bus.codec.dead_letter import read_original
from heed.bus.codec.redrive_headers import write_redrive
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event, Redrive
from tests.integration.waiting import until

LETTER = DeadLetterCause(
    "TemplateFailed", 'spec.handlers[0].state: no such key: "né"', handler="begin", generation=3
)
EVENT = Event(
    "1", "/shop", "a.b", {"n": 1}, extensions={"correlationid": "flow"}, datacontenttype="application/json"
)
NOW = "2026-01-31T12:00:00.000000Z"


@pytest.fixture
def subject(namespace: str) -> str:
    """Where the originals go."""
    return names.event_subject(namespace, "a.b")


@pytest.fixture
def dead(namespace: str) -> str:
    """Where the dead letters go."""
    return names.dead_subject(namespace, "agent")


async def letters(connection: Connection, dead: str) -> list[tuple[dict[str, str], bytes]]:
    """Headers and payload of the letters on a subject."""
    found, sequence = list[tuple[dict[str, str], bytes]](), 1
    while True:
        try:
            answer = await connection.api("STREAM.MSG.GET.HEED_DEAD", {"seq": sequence, "next_by_subj": dead})
        except Exception as error:
            if "no message found" in str(error):
                return found
            raise
        message: dict[str, Any] = answer["message"]
        original = read_original(message)
        found.append((original.headers, original.payload))
        sequence = message["seq"] + 1


def owed_letter(dead: str, sequence: int, letter: DeadLetterCause = LETTER, at: str = NOW) -> OutboxMessage:
    """A dead letter in an outbox."""
    return OutboxMessage(sequence, 0, dead, at, letter=letter)


async def test_a_letter_is_the_original_with_its_cause(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, EVENT)

    await bus.publish_owed("letter-1", owed_letter(dead, sequence), look_first=False)

    [(headers, payload)] = await letters(connection, dead)
    assert decode(headers, payload, subject) == EVENT
    causes = {name: unquote(value) for name, value in headers.items() if name.startswith("Heed-Dead-")}
    assert causes == {
        "Heed-Dead-Code": "TemplateFailed",
        "Heed-Dead-Message": LETTER.message,
        "Heed-Dead-Handler": "begin",
        "Heed-Dead-Generation": "3",
        "Heed-Dead-Attempt": "1",
        "Heed-Dead-Sequence": str(sequence),
        "Heed-Dead-Subject": subject,
        "Heed-Dead-Time": NOW,
    }
    assert [value for name, value in headers.items() if name.startswith("Nats-")] == ["letter-1"]


async def test_a_malformed_original_is_kept_byte_by_byte(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    theirs = {
        "X-Weird": "a  b",
        "ce-id": "%C0%A0",
        "heed-dead-code": "forged",
        "heed-redrive-task": "{}",
        "Nats-TTL": "",
        "Status": "503",
    }
    payload = bytes(range(256))
    await connection.request(subject, payload, theirs)
    reader = await bus.open([subject], 0, "1970-01-01T00:00:00Z")
    [received] = await reader.read(1, 5)
    await reader.close()

    await bus.publish_owed("letter-2", owed_letter(dead, received.sequence), look_first=False)

    [(headers, body)] = await letters(connection, dead)
    assert body == payload
    assert {name: headers[name] for name in ("X-Weird", "ce-id", "Status")} == {
        "X-Weird": "a  b",
        "ce-id": "%C0%A0",
        "Status": "503",
    }
    assert headers["Heed-Dead-Code"] == "TemplateFailed"
    assert not {"heed-dead-code", "heed-redrive-task", "Nats-TTL"} & set(headers)


async def test_the_letter_of_a_redriven_event_says_where_it_came_first(
    bus: JetStreamBus, connection: Connection, namespace: str, subject: str, dead: str
) -> None:
    headers, payload = encode(EVENT)
    again = write_redrive(Redrive("letter-1", 2, subject=subject))
    stored = await bus.store(
        names.redrive_subject(namespace, "agent", EVENT.type), {**headers, **again}, payload
    )

    await bus.publish_owed(
        "second", owed_letter(dead, stored.sequence, replace(LETTER, attempt=2)), look_first=False
    )

    [(headers, payload)] = await letters(connection, dead)
    assert decode(headers, payload, subject) == EVENT
    assert headers["Heed-Dead-Subject"] == subject
    assert headers["Heed-Dead-Attempt"] == "2"
    assert headers["Heed-Dead-Sequence"] == str(stored.sequence)
    assert not [name for name in headers if name.startswith("Heed-Redrive-")]


async def test_an_expired_original_leaves_an_empty_letter_that_says_so(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, EVENT)
    await connection.api("STREAM.MSG.DELETE.HEED", {"seq": sequence})

    await bus.publish_owed("letter-3", owed_letter(dead, sequence), look_first=False)

    [(headers, payload)] = await letters(connection, dead)
    assert payload == b""
    assert headers["Heed-Dead-Lost"] == "true"
    assert headers["Heed-Dead-Sequence"] == str(sequence)
    assert "Heed-Dead-Subject" not in headers


async def test_a_letter_that_would_be_too_large_goes_without_its_payload(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, Event("1", "/shop", "a.b", "x" * 1_048_300))

    await bus.publish_owed("letter-4", owed_letter(dead, sequence), look_first=False)

    [(headers, payload)] = await letters(connection, dead)
    assert payload == b""
    assert headers["Heed-Dead-Lost"] == "true"
    assert headers["ce-id"] == "1"


async def test_a_tasks_record_that_is_too_large_is_left_out_and_the_event_is_not(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, EVENT)
    small, large = (
        DeadLetterCause("Broken", "m", task='{"task": "t"}'),
        DeadLetterCause("Broken", "m" * 5000, task="é" * 50_000),
    )

    await bus.publish_owed("small", owed_letter(dead, sequence, small), look_first=False)
    await bus.publish_owed("large", owed_letter(dead, sequence, large), look_first=False)

    [(first, payload), (second, again)] = await letters(connection, dead)
    assert unquote(first["Heed-Dead-Task"]) == '{"task": "t"}'
    assert "Heed-Dead-Task" not in second
    assert second["Heed-Dead-Task-Lost"] == "true"
    assert len(second["Heed-Dead-Message"]) <= 1024
    assert payload == again == b'{"n":1}'


async def test_headers_at_the_brokers_limit_make_way_for_the_cause(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, Event("1", "/shop", "a.b", 1, extensions={"ext": "x" * 65_200}))

    await bus.publish_owed("letter-5", owed_letter(dead, sequence), look_first=False)

    [(headers, payload)] = await letters(connection, dead)
    assert headers["Heed-Dead-Code"] == "TemplateFailed"
    assert headers["Heed-Dead-Lost"] == "true"
    assert payload == b"1"


async def test_a_letter_is_found_after_the_brokers_window_for_duplicates(
    forgetful: Connection, subject: str, dead: str
) -> None:
    bus = JetStreamBus(forgetful)
    sequence = await bus.publish(subject, EVENT)
    reader = await bus.open([subject], 0, "1970-01-01T00:00:00Z")
    [received] = await reader.read(1, 5)
    await reader.close()
    letter = owed_letter(dead, sequence, at=received.at)
    await bus.publish_owed("mine", letter, look_first=False)

    async def forgotten() -> bool:
        await bus.publish_owed("probe", letter, look_first=False)
        return len(await letters(forgetful, dead)) > 2

    await until(forgotten)
    await JetStreamBus(forgetful).publish_owed("mine", letter, look_first=True)
    await JetStreamBus(forgetful).publish_owed("of another agent's life", letter, look_first=True)

    ids = [headers["Nats-Msg-Id"] for headers, _ in await letters(forgetful, dead)]
    assert ids == ["mine", "probe", "probe", "of another agent's life"]


async def test_many_letters_at_once_come_each_once(
    bus: JetStreamBus, connection: Connection, subject: str, dead: str
) -> None:
    sequence = await bus.publish(subject, EVENT)
    letter = owed_letter(dead, sequence)

    await asyncio.gather(*(bus.publish_owed(str(n % 10), letter, look_first=True) for n in range(50)))

    assert len(await letters(connection, dead)) == 10
