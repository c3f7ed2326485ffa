"""The connection: never given up, clear where it cannot be made, and closed without waiting."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from heed.bus.client.addresses import public_url
from heed.bus.client.connection import Connection, connect
from heed.errors import BusUnavailable, InvalidSettings
from heed.settings import Settings
from tests.integration.waiting import SOON, until
from tests.nats_server import NatsServer


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://user:secret@host:4222", "nats://host:4222"),
        ("nats://token@host", "nats://host"),
        ("host:4222", "nats://host:4222"),
        ("nats://a:b@one, tls://c:d@two:4443", "nats://one,tls://two:4443"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown


async def test_a_broker_that_is_away_is_named_without_its_password(own_server: NatsServer) -> None:
    own_server.stop()
    url = own_server.url.replace("//", "//user:secret@")

    with pytest.raises(
        BusUnavailable,
        match=r"cannot connect to nats://127.0.0.1:\d+: .*; start `heed dev`, or start a broker",
    ) as raised:
        await asyncio.wait_for(connect(Settings(nats_url=url), "test", attempts=1), SOON)

    assert "secret" not in str(raised.value)


async def test_connecting_goes_on_until_the_broker_is_there(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.stop()
    connecting = asyncio.create_task(connect(Settings(nats_url=own_server.url), "test"))
    await until(lambda: "broker not reached" in caplog.messages)
    own_server.start()

    connection = await asyncio.wait_for(connecting, SOON)
    assert connection.is_connected
    await connection.close()


async def test_giving_up_to_connect_leaves_nothing_behind(own_server: NatsServer) -> None:
    own_server.stop()
    connecting = asyncio.create_task(connect(Settings(nats_url=own_server.url), "test"))
    await asyncio.sleep(0.05)
    connecting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_watchers_learn_of_every_loss_and_every_return(
    own_server: NatsServer, bare: Connection
) -> None:
    seen: list[bool] = []
    end = bare.watch(lambda: seen.append(bare.is_connected))
    epoch = bare.epoch

    own_server.kill()
    own_server.start()
    await until(lambda: len(seen) == 2)
    end()

    assert seen == [False, True]
    assert bare.epoch == epoch + 2
    assert (await bare.api("INFO"))["streams"] == 0


async def test_a_connection_that_the_broker_ends_for_good_is_made_again(bare: Connection) -> None:
    first = bare.client
    # What the client library takes for an error after which it never connects again.
    await first._process_err("'Authorization Violation'")
    await until(lambda: bare.client is not first and bare.is_connected)

    assert (await bare.api("INFO"))["streams"] == 0


async def test_closing_does_not_wait_for_a_broker_that_is_away(
    own_server: NatsServer, bare: Connection
) -> None:
    own_server.kill()

    await asyncio.wait_for(bare.close(), SOON)

    assert not bare.is_connected


async def test_credentials_and_certificates_have_to_exist(own_server: NatsServer, tmp_path: Path) -> None:
    settings = Settings(nats_url=own_server.url)
    missing = str(tmp_path / "missing")

    with pytest.raises(InvalidSettings, match=r"HEED_NATS_CREDENTIALS=.*no such file"):
        await connect(replace(settings, nats_credentials=missing), "test")
    with pytest.raises(InvalidSettings, match=r"HEED_NATS_CA=.*no such file"):
        await connect(replace(settings, nats_ca=missing), "test")
    (tmp_path / "missing").write_text("nothing")
    with pytest.raises(InvalidSettings, match="give a file of CA certificates in PEM"):
        await connect(replace(settings, nats_ca=missing), "test")


async def test_a_server_without_jetstream_is_told_apart(bare: Connection) -> None:
    with pytest.raises(BusUnavailable, match=r"nothing at .* answers to nobody.listens; is JetStream on"):
        await bare.request("nobody.listens")


async def test_what_goes_wrong_is_counted_by_kind(bare: Connection, own_server: NatsServer) -> None:
    with pytest.raises(BusUnavailable):
        await bare.request("nobody.listens")
    with pytest.raises(BusUnavailable):
        await bare.api("STREAM.CREATE.bad", {"name": "another"})
    with pytest.raises(BusUnavailable):
        await bare.api("STREAM.INFO.missing")  # an answer, and no error
    assert bare.errors == {"no_responders": 1, "refused": 1}

    own_server.stop()
    await until(lambda: bare.errors["client"] > 0)  # it is tried again

    assert bare.errors["disconnected"] == 1
