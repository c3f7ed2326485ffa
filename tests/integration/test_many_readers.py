"""Many readers of one connection: what they ask for together is what the broker can send at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import MAX_CONCURRENT_OPENS, JetStreamBus
from heed.core.events import Event, Received
from heed.engine.ports import Reader
from heed.settings import Settings
from tests.integration.reading import BEGINNING, data
from tests.integration.waiting import until
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE

MIB = 1024**2
MAX_PENDING = 4 * MIB  # a sixteenth of what nats-server keeps for a connection by default
READ_AHEAD = 4 * MIB  # a sixteenth of the default, too
LARGE = 200_000
READERS = 40


@pytest.fixture
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that soon ends a connection which falls behind."""
    require_nats_server()
    folder = tmp_path_factory.mktemp("nats")
    (folder / "nats.conf").write_text(f"max_pending: {MAX_PENDING}\n")
    with NatsServer(folder, "-c", str(folder / "nats.conf")) as server:
        yield server


@asynccontextmanager
async def connected(server: NatsServer, name: str = "test") -> AsyncIterator[Connection]:
    settings = Settings(nats_url=server.url, read_ahead=READ_AHEAD)
    connection = await connect(settings, name, attempts=3)
    try:
        await ensure_streams(connection, settings.stream)
        yield connection
    finally:
        await connection.close()


async def publish(server: NatsServer, namespace: str, *sizes: int) -> None:
    """Events with so many characters of data, on a connection of their own."""
    subject = names.event_subject(namespace, "a.b")
    async with connected(server, "publisher") as connection:
        bus = JetStreamBus(connection)
        for number, size in enumerate(sizes):
            await bus.publish(subject, Event(f"{number}-{size}", "/test", "a.b", "x" * size))


async def opened(bus: JetStreamBus, namespace: str, count: int = READERS) -> list[Reader]:
    subjects = [names.event_subject(namespace, ">")]
    return list(await asyncio.gather(*(bus.open(subjects, 0, BEGINNING) for _ in range(count))))


async def drain(reader: Reader, count: int, *, release: bool = True) -> list[Received]:
    """Read so many events; each one is durable as soon as it was read."""
    found: list[Received] = []
    while len(found) < count:
        got = await reader.read(100, 10.0)
        found += got
        if got and release:
            reader.release(got[-1].sequence)
    return found


def ended_connections(server: NatsServer) -> int:
    return (server.directory / "server.log").read_text().count("Slow Consumer")


async def close(readers: Sequence[Reader]) -> None:
    await asyncio.gather(*(reader.close() for reader in readers))


async def test_a_backlog_that_all_read_does_not_cost_the_connection(
    narrow: NatsServer, namespace: str
) -> None:
    # Given 160 MB to read, forty times what the broker keeps for a connection
    await publish(narrow, namespace, *[LARGE] * 20)
    async with connected(narrow) as connection:
        readers = await opened(JetStreamBus(connection), namespace)

        # When all read at once
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*(drain(reader, 20) for reader in readers))

        # Then every one has read all of it, once and in order, and the connection never fell behind
        assert all(data(items) == ["x" * LARGE] * 20 for items in found)
        assert all(
            sorted({item.sequence for item in items}) == [i.sequence for i in items] for items in found
        )
        assert connection.errors["disconnected"] == 0
        assert (connection.credits.in_flight, connection.credits.held) == (0, 0)
        await close(readers)
    assert ended_connections(narrow) == 0


async def test_an_event_that_all_wait_for_does_not_cost_the_connection(
    narrow: NatsServer, namespace: str
) -> None:
    async with connected(narrow) as connection:
        # Given readers with nothing to read
        readers = await opened(JetStreamBus(connection), namespace)
        reading = [asyncio.create_task(drain(reader, 10)) for reader in readers]

        # When large events come, each of them for all
        await publish(narrow, namespace, *[LARGE] * 10)

        # Then
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*reading)
        assert all(data(items) == ["x" * LARGE] * 10 for items in found)
        assert connection.errors["disconnected"] == 0
        await close(readers)
    assert ended_connections(narrow) == 0


async def test_messages_of_any_size_come_in_order(narrow: NatsServer, namespace: str) -> None:
    # Given messages larger than what may be in flight, larger than a standing request, and small ones
    sizes = [10, 900_000, 10, 300_000, *[1000] * 30, 1_000_000, 10, 70_000, 1_040_000]
    await publish(narrow, namespace, *sizes)
    async with connected(narrow) as connection:
        readers = await opened(JetStreamBus(connection), namespace, 5)

        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*(drain(reader, len(sizes)) for reader in readers))

        assert all([len(str(item)) for item in data(items)] == sizes for items in found)
        await close(readers)


async def test_readers_that_are_stuck_with_what_they_hold_stop_no_other(
    narrow: NatsServer, namespace: str
) -> None:
    await publish(narrow, namespace, *[LARGE] * 30)
    async with connected(narrow) as connection:
        bus = JetStreamBus(connection)
        # Given readers whose Agents make nothing durable
        stuck = await opened(bus, namespace, 20)
        held = [asyncio.create_task(drain(reader, 30, release=False)) for reader in stuck]
        await until(lambda: connection.credits.held >= READ_AHEAD, PATIENCE)

        # When another one reads
        [reader] = await opened(bus, namespace, 1)

        # Then it goes on, and the others hold no more than their share and what they had asked for
        async with asyncio.timeout(PATIENCE):
            assert len(await drain(reader, 30)) == 30
        assert not any(task.done() for task in held)
        assert connection.credits.held < 2 * READ_AHEAD + 20 * 2 * LARGE
        for task in held:
            task.cancel()
        await close([*stuck, reader])
        assert connection.credits.held == 0


async def test_after_a_lost_connection_readers_come_back_few_at_a_time(
    narrow: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, most = 0, 0
    api = Connection.api

    async def counted(self: Connection, subject: str, request: Any = None) -> dict[str, Any]:
        nonlocal making, most
        making += (makes := subject.startswith("CONSUMER.CREATE"))
        most = max(most, making)
        try:
            return await api(self, subject, request)
        finally:
            making -= makes

    await publish(narrow, namespace, *[LARGE] * 5)
    monkeypatch.setattr(Connection, "api", counted)
    async with connected(narrow) as connection:
        bus = JetStreamBus(connection)
        # Given many readers that lose their connection
        readers = await opened(bus, namespace)
        narrow.kill()
        await until(lambda: not connection.is_connected, PATIENCE)
        await close(readers)
        assert (connection.credits.in_flight, connection.credits.held) == (0, 0)
        narrow.start()
        await connection.ready(PATIENCE)

        # When all are opened again at once
        readers = await opened(bus, namespace)
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*(drain(reader, 5) for reader in readers))

        # Then
        assert most == MAX_CONCURRENT_OPENS < READERS
        assert all(len(items) == 5 for items in found)
        assert connection.errors["disconnected"] == 1
        await close(readers)


async def test_large_messages_fetched_by_their_places_do_not_cost_the_connection(
    narrow: NatsServer, namespace: str
) -> None:
    await publish(narrow, namespace, *[900_000] * 20)
    async with connected(narrow) as connection:
        bus = JetStreamBus(connection)
        places, found = list(range(1, 21)), list[Received | None]()

        while len(found) < len(places):
            got = await bus.fetch(places[len(found) :])
            assert 0 < len(got) < 20, "not all are held at once"
            found += got

        assert [item.sequence for item in found if item] == places
        assert connection.errors["disconnected"] == 0
    assert ended_connections(narrow) == 0
