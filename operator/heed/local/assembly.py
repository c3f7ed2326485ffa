"""The composition root of `heed dev`: state folder, broker, and the DevServer that runs the Agents."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.code_workers import NatsCodeWorkers
from heed.bus.jetstream import JetStreamBus
from heed.engine.deciders import Deciders
from heed.local import presence
from heed.local.agent_claims import AgentClaims
from heed.local.console import Console
from heed.local.dev_server import DevServer, commit_rate_for
from heed.local.ledger_store import ConnectedBucket
from heed.local.nats_server import run_local_server
from heed.local.process.state_files import lock_folder
from heed.local.stub_script import StubScript
from heed.local.unheeded_events import watch_unheeded
from heed.sandbox.decision_pool import DecisionPool
from heed.settings import Settings
from heed.util.aio import stop
from heed.util.clock import timestamp

CONNECT_ATTEMPTS: Final = 3  # connections tried to a broker that somebody named
STREAM_BEGINNING: Final = "1970-01-01T00:00:00Z"


@asynccontextmanager
async def open_dev_server(
    paths: Sequence[Path],
    folder: Path,
    console: Console,
    settings: Settings,
    *,
    url: str | None,
    port: int | None,
    script: StubScript | None = None,
) -> AsyncIterator[DevServer]:
    """A running DevServer on the broker at `url`, or on its own nats-server at `port` (None: any free port).

    A `script` says what becomes of tasks that nothing here runs.

    Raises InvalidSettings, BusUnavailable, StreamConflict, LedgerUnavailable, AgentTaken.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_folder(folder))
        presence.remove(folder)
        stack.callback(presence.remove, folder)
        server: str | None = None
        if url is None:
            started = await stack.enter_async_context(run_local_server(folder / "nats", port=port))
            url, server, settings = started.url, started.id, settings.local(started.url)
            if started.note is not None:
                console.say(started.note)
        connection = await connect(replace(settings, nats_url=url), "heed dev", attempts=CONNECT_ATTEMPTS)
        stack.push_async_callback(connection.close)
        await ensure_streams(connection, settings.stream)
        ledgers = ConnectedBucket(connection, settings.nats_domain)
        await ledgers.open()
        claims = AgentClaims(ledgers, connection.client, folder)
        await claims.open()
        following = asyncio.create_task(claims.serve(connection))
        stack.push_async_callback(stop, following)
        pool = DecisionPool(settings.decision_memory, settings.decision_cpu)
        deciders = Deciders(pool, NatsCodeWorkers(connection))
        bus = JetStreamBus(connection)
        bench = DevServer(paths, folder, (url, server), bus, ledgers, claims, console, deciders)
        bench.script = script
        bench.allow_networks(settings.call_network_list)
        bench.pace = commit_rate_for(connection.max_payload)
        stack.push_async_callback(bench.close)
        await bench.refresh()
        watching = asyncio.create_task(_watch(bench, console, timestamp(), (await bus.bounds())[1]))
        stack.push_async_callback(stop, watching)
        yield bench


async def _watch(bench: DevServer, console: Console, since: str, last: int) -> None:
    """Report unheeded events: on a shared broker, only of the namespaces of these Agents.

    `since` is when it began, `last` what the stream held then. Of one that was empty everything is told: an event may
    come before this task has its first turn, and the broker's clock may be another.
    """
    own = None if bench.server is not None else {item.namespace for item in bench.listeners}
    since = since if last else STREAM_BEGINNING
    await watch_unheeded(bench.bus, own, lambda: bench.listeners, console, last, since)
