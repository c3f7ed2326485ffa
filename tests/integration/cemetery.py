"""Dead letters in a namespace of a test's own, and what becomes of them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.client.connection import Connection
from heed.bus.codec.dead_letter import OriginalMessage, encode_dead_letter
from heed.bus.consumer.reader import decode_message
from heed.bus.dead_letters import DeadLetterFilter, DeadLetterStore
from heed.bus.jetstream import JetStreamBus
from heed.cli.main import main
from heed.core.events import Event, Received
from tests.integration.engine.oracle import message_ids, opened
from tests.integration.waiting import SOON
from tests.nats_server import NatsServer

AGENT = "researcher"
TYPE = "com.example.asked"
NOW = "2026-01-31T12:00:00.000000Z"
CAUSE = DeadLetterCause("TemplateFailed", "spec.handlers[0].state: no such key: topic", "begin", 3)
TASK = DeadLetterCause(
    "ExpressionFailed", "broken", "conclude", 3, task='{"id":"t-1","name":"t","input":{"é":1}}'
)
PROGRAM = [sys.executable, "-c", "from heed.cli.main import main; main(prog_name='heed')"]
PATHS = {"PYTHONPATH": str(Path(__file__).parents[2] / "operator")}
Run = Callable[..., Awaitable[Result]]


class Cemetery:
    """Letters in a namespace of the test's own, and what was made of them."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.connection, self.namespace = connection, namespace
        self.bus = JetStreamBus(connection)

    async def bury(
        self, id: str, cause: DeadLetterCause = CAUSE, agent: str = AGENT, type_: str = TYPE, data: Any = None
    ) -> int:
        """An event, and its letter; the letter's id."""
        event = Event(id, "/test", type_, data, datacontenttype="application/json")
        sequence = await self.bus.publish(names.event_subject(self.namespace, type_), event)
        return await self.write(sequence, cause, agent)

    async def write(self, sequence: int, cause: DeadLetterCause = CAUSE, agent: str = AGENT) -> int:
        """The letter of the event at a place of the stream."""
        subject = names.dead_subject(self.namespace, agent)
        owed = OutboxMessage(sequence, 0, subject, NOW, letter=cause)
        await self.bus.publish_owed(names.letter_id(f"uid-{agent}", sequence), owed, look_first=False)
        last = await self.connection.api(f"STREAM.MSG.GET.{names.DEAD_STREAM}", {"last_by_subj": subject})
        return int(last["message"]["seq"])

    async def redriven(self, agent: str = AGENT) -> list[Received]:
        """What was sent again to an Agent."""
        subject = names.redrive_subject(self.namespace, agent, ">")
        found: list[Received] = []
        async with opened(self.connection, names.STREAM, [subject]) as pull:
            while len(found) < pull.pending:
                for item in await pull.take(500, SOON):
                    message = item.message
                    found.append(
                        decode_message(
                            item.sequence, NOW, message.subject, message.headers or {}, message.data
                        )
                    )
        return found

    async def marks(self, agent: str = AGENT) -> int:
        """How many marks there are."""
        subject = names.redriven_subject(self.namespace, agent)
        return len(await message_ids(self.connection, names.DEAD_STREAM, subject))

    async def pending(self) -> list[int]:
        """Letters that nobody redrove."""
        found = DeadLetterStore(self.connection).find(DeadLetterFilter(self.namespace, redriven=False))
        return [item.letter.id async for batch in found for item in batch]


def running(server: NatsServer) -> Run:
    """Runs `heed dead` against a server."""

    async def run(*arguments: object) -> Result:
        words = ["dead", *map(str, arguments)]
        environment = {"HEED_NATS_URL": server.url, "HEED_NAMESPACE": None}
        return await asyncio.to_thread(CliRunner().invoke, main, words, env=environment)

    return run


def events(received: list[Received]) -> list[str]:
    """The ids of events that have to be well-formed."""
    assert all(isinstance(item.event, Event) for item in received), received
    return [item.event.id for item in received if isinstance(item.event, Event)]


async def bury_quickly(cemetery: Cemetery, subject: str, dead: str, number: int) -> None:
    """A letter of an event that was in the stream once."""
    headers = {"ce-id": str(number), "ce-source": "/test", "ce-type": TYPE, "ce-specversion": "1.0"}
    original = OriginalMessage(subject, headers, b'{"topic": "tides"}')
    written, payload = encode_dead_letter(
        OutboxMessage(number, 0, dead, NOW, letter=CAUSE), CAUSE, original, 10**6
    )
    id = names.letter_id(cemetery.namespace, number)
    await cemetery.bus.store(dead, {**written, "Nats-Msg-Id": id}, payload)


async def places(connection: Connection, subject: str) -> list[int]:
    """The sequences of dead letters or marks on a subject."""
    found, sequence = list[int](), 1
    while True:
        try:
            request = {"seq": sequence, "next_by_subj": subject}
            answer = await connection.api(f"STREAM.MSG.GET.{names.DEAD_STREAM}", request)
        except Exception as error:
            if "no message found" in str(error):
                return found
            raise
        found.append(int(answer["message"]["seq"]))
        sequence = found[-1] + 1
