"""Dialling a broker: what it is told of us, how often it is tried, and what is said where it does not take us."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from nats.aio.client import Client

from heed.bus.auth.jwt import NatsKey, SubjectPermissions, UserSigner, read_credentials
from heed.bus.client.connection import Connection, NotPermitted, connect
from heed.errors import BusUnavailable, InvalidSettings
from heed.settings import Settings
from tests.integration.waiting import until
from tests.patience import PATIENCE
from tests.unit.inmemory import turns

INFO = {
    "server_id": "S",
    "version": "2.14.3",
    "headers": True,
    "max_payload": 4096,
    "nonce": "once",
    "jetstream": True,
    "auth_required": True,
}


@dataclass
class Greeter:
    """No more of a broker than its greeting: it says `says` to whoever connects, or hangs up."""

    port: int = 0
    info: dict[str, Any] = field(default_factory=lambda: dict(INFO))
    says: bytes = b""
    connects: list[dict[str, Any]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    forbids: bytes = b""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(b"INFO " + json.dumps(self.info).encode() + b"\r\n")
        while line := await reader.readline():
            verb, _, rest = line.strip().partition(b" ")
            self.lines.append(line.strip())
            if verb == b"CONNECT":
                self.connects.append(json.loads(rest))
                if self.says:
                    writer.write(self.says)
            elif verb == b"PING":
                writer.write(b"PONG\r\n")
            elif verb in (b"PUB", b"HPUB") and self.forbids:
                writer.write(b"-ERR '" + self.forbids + b"'\r\n")
        writer.close()

    def hang_up(self) -> None:
        """On everybody."""
        for writer in self.writers:
            writer.close()
        self.writers.clear()


@pytest.fixture
async def greeter() -> AsyncIterator[Greeter]:
    made = Greeter()
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()
    made.hang_up()


async def dialled(greeter: Greeter, **settings: Any) -> Connection:
    """A connection to it, made within two tries."""
    return await asyncio.wait_for(
        connect(Settings(nats_url=greeter.url, **settings), "me", attempts=2), PATIENCE
    )


async def refused(greeter: Greeter, attempts: int = 1) -> str:
    """Why no connection comes about."""
    with pytest.raises(BusUnavailable) as raised:
        await asyncio.wait_for(connect(Settings(nats_url=greeter.url), "me", attempts), PATIENCE)
    return str(raised.value).removeprefix(f"cannot connect to {greeter.url}: ")


async def test_a_broker_is_told_who_we_are(greeter: Greeter) -> None:
    connection = await dialled(greeter, nats_user="u", nats_password="p")

    [told] = greeter.connects
    assert (told["name"], told["user"], told["pass"]) == ("me", "u", "p")
    assert (connection.name, connection.url) == ("me", greeter.url)
    assert (connection.max_payload, connection.server_version) == (4096, (2, 14, 3))
    assert connection.is_connected and connection.epoch == 1 and connection.errors == {}
    await connection.close()
    assert (connection.is_connected, connection.server_version) == (False, ())


async def test_credentials_that_are_given_are_those_that_are_shown(greeter: Greeter) -> None:
    text = UserSigner(NatsKey.new("account")).credentials("me", SubjectPermissions(), now=1, lifetime=None)
    token, key = read_credentials(text)

    connection = await connect(Settings(nats_url=greeter.url), "me", 2, credentials=text)

    [told] = greeter.connects
    assert told["jwt"] == token
    padding = "=" * (-len(told["sig"]) % 4)
    assert base64.urlsafe_b64decode(told["sig"] + padding) == key.sign(b"once")
    await connection.close()


@pytest.mark.parametrize("words", ["Authorization Violation", "AUTHORIZATION VIOLATION"])
async def test_a_broker_that_does_not_know_us_wants_another_login(greeter: Greeter, words: str) -> None:
    greeter.says = f"-ERR '{words}'\r\n".encode()

    said = await refused(greeter)

    ways = "HEED_NATS_CREDENTIALS, _NKEY, _TOKEN, or _USER with _PASSWORD"
    assert said.lower() == f"nats: 'authorization violation'; the broker wants another login ({ways})".lower()


async def test_a_broker_that_is_not_there_has_to_be_started_or_named(greeter: Greeter) -> None:
    other = await asyncio.start_server(greeter.serve, "127.0.0.1", 0)
    greeter.port = other.sockets[0].getsockname()[1]
    other.close()
    await other.wait_closed()

    said = await refused(greeter)

    remedy = "start `heed dev`, or start a broker with JetStream (nats-server -js)"
    assert said.endswith(f"; {remedy}, or name another one with HEED_NATS_URL or --nats")
    assert "Connect" in said


@pytest.mark.parametrize("attempts", [1, 2])
async def test_it_is_tried_as_often_as_that_was_said(greeter: Greeter, attempts: int) -> None:
    greeter.says = b"-ERR 'Busy'\r\n"

    assert "Busy" in await refused(greeter, attempts)

    assert len(greeter.connects) == attempts


async def test_what_was_wrong_before_does_not_count_for_the_next_dialling(greeter: Greeter) -> None:
    greeter.says = b"-ERR 'Busy'\r\n"
    connection = Connection(Settings(nats_url=greeter.url), "me")
    for times in (1, 2):
        with pytest.raises(BusUnavailable):
            await asyncio.wait_for(connection.dial(2), PATIENCE)
        assert len(greeter.connects) == 2 * times
    assert connection.errors == {"client": 4}

    greeter.says = b""
    await asyncio.wait_for(connection.dial(1), PATIENCE)
    assert connection.is_connected
    await connection.close()


async def test_addresses_that_the_library_refuses_are_a_setting_to_mend() -> None:
    with pytest.raises(
        InvalidSettings, match=r"^HEED_NATS_URL=ws://a,nats://b: .*mixing.*; write nats://host:4222$"
    ):
        await connect(Settings(nats_url="ws://secret@a,nats://b"), "me", 1)


async def test_what_the_broker_forbids_is_known_at_once(greeter: Greeter) -> None:
    greeter.forbids = b'Permissions Violation for Publish to "A.b"'
    connection = await dialled(greeter)

    with pytest.raises(NotPermitted, match=r"^the credentials do not allow to publish on A\.b; use others"):
        await connection.request("A.b", timeout=PATIENCE)

    assert connection.errors == {"client": 1, "refused": 1}
    await connection.close()


async def test_a_loss_and_a_return_are_logged_counted_and_told(
    greeter: Greeter, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await dialled(greeter)
    changes: asyncio.Queue[bool] = asyncio.Queue()
    end = connection.watch(lambda: changes.put_nowait(connection.is_connected))

    with caplog.at_level(logging.INFO):
        for times in (1, 2):
            greeter.hang_up()
            told = [await asyncio.wait_for(changes.get(), PATIENCE) for _ in range(2)]

            assert told == [False, True]
            assert (connection.errors["disconnected"], connection.epoch) == (times, 1 + 2 * times)
    end()
    await connection.close()

    assert changes.empty(), "nobody watches any more"
    ours = [item for item in caplog.records if item.name == "heed.bus.client.connection"]
    lost = [item for item in ours if item.message == "broker lost"]
    back = [item for item in ours if item.message == "broker reconnected"]
    assert [len(lost), len(back)] == [2, 2]
    assert {vars(item)["url"] for item in (*lost, *back)} == {greeter.url}
    assert connection.errors["disconnected"] == 2, "that it was closed is no loss"


async def test_waiting_for_a_connection_says_why_there_is_none(greeter: Greeter) -> None:
    connection = Connection(Settings(nats_url=greeter.url), "me")
    with pytest.raises(BusUnavailable) as raised:
        await connection.ready(0)
    assert str(raised.value) == f"no connection to {greeter.url}; is the broker running?"

    greeter.says = b"-ERR 'Busy'\r\n"
    with suppress(BusUnavailable):
        await asyncio.wait_for(connection.dial(1), PATIENCE)
    with pytest.raises(BusUnavailable) as raised:
        await connection.ready(0)
    assert str(raised.value) == f"no connection to {greeter.url}: nats: 'Busy'; is the broker running?"

    greeter.says = b""
    await asyncio.wait_for(connection.dial(1), PATIENCE)
    await connection.ready(0)
    await connection.close()


async def test_a_connection_that_is_lost_before_anybody_looked_is_made_again(
    greeter: Greeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a loop so busy that the library is done, and the connection lost, before the next step
    connect_as_ever = Client.connect

    async def connect_slowly(client: Client, **options: Any) -> None:
        await connect_as_ever(client, **options)
        greeter.hang_up()
        await until(lambda: not client.is_connected)

    monkeypatch.setattr(Client, "connect", connect_slowly)

    connection = await dialled(greeter)
    await connection.ready(PATIENCE)

    assert connection.is_connected and connection.server_version == (2, 14, 3)
    assert len(greeter.connects) == 2
    await connection.close()


async def test_a_request_goes_out_once_there_is_a_connection(greeter: Greeter) -> None:
    greeter.forbids = b'Permissions Violation for Publish to "a.b"'
    connection = Connection(Settings(nats_url=greeter.url), "me")
    asking = asyncio.create_task(connection.request("a.b", timeout=PATIENCE))
    await turns()
    assert not asking.done()

    await asyncio.wait_for(connection.dial(1), PATIENCE)

    with pytest.raises(NotPermitted):
        await asking
    await connection.close()


async def test_a_request_without_a_connection_says_so(greeter: Greeter) -> None:
    connection = Connection(Settings(nats_url=greeter.url), "me")

    with pytest.raises(BusUnavailable, match=r"^no connection to .*; is the broker running\?$"):
        await connection.request("a.b", timeout=0)

    await connection.close()
    with pytest.raises(BusUnavailable, match="ConnectionClosedError"):
        await connection.request("a.b", timeout=PATIENCE)
