"""Ledgers in JetStream KV: compare-and-swap, and there again after a restart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import nats
import pytest
from nats.aio.client import Client

from heed.api.status import Cursor, Totals
from heed.core.ledger.ledger import Ledger
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable
from heed.local.ledger_store import BUCKET, KeyValueLedgerStore, open_ledgers
from tests.integration.local.runs import until
from tests.nats_server import NatsServer

SINCE = "2026-11-01T12:00:00.000000Z"
LATER = "2026-11-05T12:00:00.000000Z"


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    async def quiet(_: Exception) -> None:
        pass

    client = await nats.connect(
        server.url, error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.05
    )
    try:
        yield client
    finally:
        await client.close()


async def store(client: Client, since: str = SINCE, timeout: float = 5) -> KeyValueLedgerStore:
    bucket = await open_ledgers(client.jetstream(timeout=timeout))
    return KeyValueLedgerStore(bucket, "demo", "researcher", since=since)


def decided(ledger: Ledger, sequence: int) -> Ledger:
    return replace(ledger, cursor=Cursor("HEED", sequence), totals=Totals(handled=sequence))


async def test_an_agent_never_seen_before_has_an_empty_ledger(own_server: NatsServer) -> None:
    async with connected(own_server) as client:
        stored = await (await store(client)).load()

    assert stored.ledger == Ledger()
    assert stored.size > 0


async def test_of_two_writers_from_the_same_base_the_second_conflicts(own_server: NatsServer) -> None:
    async with connected(own_server) as one, connected(own_server) as other:
        first, second = await store(one), await store(other)
        base, same = await first.load(), await second.load()

        after = await first.commit(base, decided(base.ledger, 7))
        with pytest.raises(LedgerConflict):
            await second.commit(same, decided(same.ledger, 9))

        assert (await second.load()).ledger.cursor.sequence == 7
        await second.commit(after, decided(after.ledger, 9))
        assert (await first.load()).ledger.totals.handled == 9


async def test_cursor_and_totals_are_one_write(own_server: NatsServer) -> None:
    async with connected(own_server) as client:
        ledger = await store(client)
        base = await ledger.load()
        before = (await client.jetstream().stream_info(f"KV_{BUCKET}")).state.last_seq

        await ledger.commit(base, decided(base.ledger, 7))

        assert (await client.jetstream().stream_info(f"KV_{BUCKET}")).state.last_seq == before + 1


async def test_ledger_and_identity_survive_a_restart_of_the_server(own_server: NatsServer) -> None:
    async with connected(own_server) as client:
        ledger = await store(client)
        before = await ledger.identify()
        base = await ledger.load()
        await ledger.commit(base, decided(base.ledger, 42))
    own_server.stop()
    own_server.start()

    async with connected(own_server) as client:
        ledger = await store(client, since=LATER)
        assert await ledger.identify() == before
        assert (await ledger.load()).ledger.cursor.sequence == 42
    assert before.since == SINCE


async def test_an_agent_whose_ledger_was_thrown_away_is_another_one(own_server: NatsServer) -> None:
    async with connected(own_server) as client:
        old = await store(client)
        before = await old.identify()
        await client.jetstream().delete_key_value(BUCKET)

        after = await (await store(client, since=LATER)).identify()

        assert after.uid != before.uid
        with pytest.raises(LedgerGone):
            await old.load()


async def test_a_server_that_is_away_makes_the_ledger_unavailable_until_it_is_back(
    own_server: NatsServer,
) -> None:
    async with connected(own_server) as client:
        ledger = await store(client, timeout=0.2)
        base = await ledger.load()
        own_server.stop()

        with pytest.raises(LedgerUnavailable):
            await ledger.load()
        with pytest.raises(LedgerUnavailable):
            await ledger.commit(base, decided(base.ledger, 1))

        own_server.start()
        await until(lambda: client.is_connected, "the client is connected again")
        assert (await ledger.load()).ledger == base.ledger
