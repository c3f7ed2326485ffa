"""Transcripts on a real server in JWT mode: written by workers of their Agent, each place once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.bus.transcripts import RecordTooLarge, TaskTranscript, TranscriptStream
from heed.bus.worker_credentials import WorkerCredentials
from heed.core.effects import AgentRef
from heed.core.llm.transcript import Prompt
from heed.core.llm.transcript_record import TranscriptRecord
from heed.errors import BusUnavailable
from heed.settings import Settings, StreamSettings
from tests.integration.secured import SecuredBroker
from tests.nats_server import require_nats_server

AGENT = AgentRef("demo", "clerk", "uid-1")


def record(key: str, text: str = "Hello.") -> TranscriptRecord:
    """A record of a transcript."""
    return TranscriptRecord(key, Prompt.of("user", text))


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[SecuredBroker]:
    """A broker with the stream, as the operator makes it."""
    require_nats_server()
    broker = SecuredBroker(tmp_path)
    with broker.server:
        async with broker.heed() as operator:
            stream = TranscriptStream(operator, StreamSettings())
            await stream.prepare()
            await TranscriptStream(operator, StreamSettings()).prepare()  # another life
            yield broker


@asynccontextmanager
async def working(broker: SecuredBroker, agent: AgentRef = AGENT) -> AsyncIterator[Connection]:
    """A worker's connection, with the credentials of its Agent."""
    settings = Settings(nats_url=broker.server.url)
    credentials = WorkerCredentials.of(settings, broker.keys).credentials(agent, now=int(time.time()))
    inbox = names.worker_inbox(agent.namespace, agent.name)
    connection = await connect(settings, "worker", attempts=3, credentials=credentials, inbox_prefix=inbox)
    try:
        yield connection
    finally:
        await connection.close()


def transcript(connection: Connection, task: str = "ask-1") -> TaskTranscript:
    """A transcript as one worker has it."""
    return TaskTranscript(connection, AGENT.namespace, AGENT.name, task)


async def test_what_was_said_is_read_in_its_order_by_another_worker(broker: SecuredBroker) -> None:
    async with working(broker) as one, working(broker) as other:
        written = transcript(one)
        assert await written.read() == []
        for key in ("0/0", "1/answer", "2/0"):
            assert await written.append(record(key)) == record(key)

        assert [item.key for item in await transcript(other).read()] == ["0/0", "1/answer", "2/0"]
        assert await transcript(other, "ask-2").read() == []


async def test_of_two_workers_the_first_to_record_a_turn_is_the_one_that_counts(
    broker: SecuredBroker,
) -> None:
    async with working(broker) as one, working(broker) as other:
        first, second = transcript(one), transcript(other)
        await first.read()
        await second.read()

        found = await asyncio.gather(
            first.append(record("1/answer", "one")), second.append(record("1/answer", "two"))
        )

        assert found[0] == found[1]
        assert list(await transcript(one).read()) == [found[0]]


async def test_records_of_other_keys_are_passed_over(broker: SecuredBroker) -> None:
    async with working(broker) as one, working(broker) as other:
        late = transcript(one)
        await late.read()
        ahead = transcript(other)
        await ahead.read()
        await ahead.append(record("0/0"))
        await ahead.append(record("1/answer"))

        assert await late.append(record("0/0", "again")) == record("0/0")
        assert await late.append(record("2/0")) == record("2/0")
        assert [item.key for item in await transcript(one).read()] == ["0/0", "1/answer", "2/0"]


async def test_a_record_that_no_message_can_hold_is_said_to_be_one(broker: SecuredBroker) -> None:
    async with working(broker) as one:
        with pytest.raises(RecordTooLarge, match="more than the"):
            await transcript(one).append(record("0/0", "x" * one.max_payload))


async def test_workers_of_other_agents_reach_nothing_of_it(broker: SecuredBroker) -> None:
    async with working(broker) as one, working(broker, AgentRef("demo", "spy", "uid-2")) as spy:
        await transcript(one).append(record("0/0"))

        with pytest.raises(BusUnavailable):
            await transcript(spy).read()
        with pytest.raises(BusUnavailable):
            await transcript(spy).append(record("0/0", "forged"))
        assert list(await transcript(one).read()) == [record("0/0")]
