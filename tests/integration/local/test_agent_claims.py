"""An Agent is run by one `heed dev` on a broker, whatever happens to that one."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE, Popen

import nats
import pytest
from nats.aio.client import Client

from heed.local.agent_claims import AgentClaims, AgentTaken
from heed.local.ledger_store import open_ledgers
from tests.nats_server import NatsServer

HOLDER = """
import asyncio, sys
from pathlib import Path
import nats
from heed.local.agent_claims import AgentClaims
from heed.local.ledger_store import open_ledgers

async def main():
    client = await nats.connect(sys.argv[1])
    claims = AgentClaims(await open_ledgers(client.jetstream()), client, Path("first"))
    await claims.open()
    await claims.take("demo", "researcher")
    print("taken", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
async def clients(own_server: NatsServer) -> AsyncIterator[list[Client]]:
    made = [await nats.connect(own_server.url) for _ in range(2)]
    yield made
    for client in made:
        await client.close()


async def claims(client: Client, folder: str = "folder") -> AgentClaims:
    made = AgentClaims(await open_ledgers(client.jetstream()), client, Path(folder))
    await made.open()
    return made


async def test_a_second_one_is_refused_and_told_who_the_first_is(clients: list[Client]) -> None:
    first, second = [await claims(client, name) for client, name in zip(clients, "ab", strict=True)]
    await first.take("demo", "researcher")
    await first.take("demo", "researcher")

    with pytest.raises(
        AgentTaken, match=r"demo/researcher is run by another `heed dev` .*/a\); stop that one"
    ):
        await second.take("demo", "researcher")
    await second.take("demo", "scribe")


async def test_what_is_released_and_what_a_lost_connection_held_is_free(clients: list[Client]) -> None:
    first, second = [await claims(client) for client in clients]
    await first.take("demo", "released")
    await first.take("demo", "left")
    first.release("demo", "released")

    await second.take("demo", "released")
    with pytest.raises(AgentTaken):
        await second.take("demo", "left")
    await clients[0].close()
    await second.take("demo", "left")


async def test_of_many_at_once_one_wins(clients: list[Client]) -> None:
    several = [await claims(client) for client in clients * 4]

    outcomes = await asyncio.gather(
        *(each.take("demo", "researcher") for each in several), return_exceptions=True
    )

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AgentTaken) for outcome in outcomes) == len(several) - 1


async def test_one_that_crashed_holds_nothing_and_one_that_is_stopped_holds_on(
    own_server: NatsServer, clients: list[Client], environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", HOLDER, own_server.url]
    second = await claims(clients[0])
    with Popen(command, env=environment, stdout=PIPE, text=True) as process:  # noqa: ASYNC220
        try:
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == "taken\n"

            process.send_signal(signal.SIGSTOP)
            with pytest.raises(AgentTaken, match=f"process {process.pid} on"):
                await second.take("demo", "researcher")
        finally:
            process.kill()
    await second.take("demo", "researcher")
