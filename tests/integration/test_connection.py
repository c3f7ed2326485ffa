"""The connection: never given up, clear where it cannot be made, and closed without waiting."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from heed.bus.client import connection as connection_module
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


# --- a broker that hangs with its connections open ------------------------------------------------------------------

MANY, LARGE = 200, b"x" * 100_000  # more than the sockets and the client between them take


async def ask_much(connection: Connection, timeout: float) -> list[BaseException | None]:
    """What becomes of many large requests at once."""

    async def ask() -> BaseException | None:
        try:
            await connection.request("nobody.listens", LARGE, timeout=timeout)
        except BaseException as error:
            return error
        return None

    return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(MANY))), SOON)


async def test_a_request_that_is_cancelled_as_its_answer_comes_is_cancelled(bare: Connection) -> None:
    responder = await connect(Settings(nats_url=bare.url), "responder", attempts=3)

    async def answer(message: Msg) -> None:
        # The reply's future is set when the message comes, and the task that waits for it goes on only after that
        (reply,) = bare.client._resp_map.values()
        reply.add_done_callback(lambda _: asking.cancel())
        await message.respond(b"here")

    await responder.client.subscribe("question", cb=answer)
    await responder.client.flush()
    asking = asyncio.create_task(bare.request("question"))
    await asyncio.wait({asking})

    assert asking.cancelled()
    await responder.close()


async def test_a_broker_that_hangs_keeps_no_request_waiting(own: Connection, own_server: NatsServer) -> None:
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        found = await ask_much(own, timeout=0.5)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    assert {type(error) for error in found} == {BusUnavailable}
    assert sum("has not taken what was sent" in str(error) for error in found) > 0
    assert own.client.pending_data_size < connection_module.MAX_UNSENT_BYTES + 2 * len(LARGE)
    assert await own.api("INFO")


async def test_a_broker_that_takes_nothing_is_given_up_and_dialled_again(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "STALLED_TIMEOUT_S", 1)
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        await ask_much(connection, timeout=0.5)
        await until(lambda: not connection.is_connected)
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    await until(lambda: connection.is_connected)
    assert await connection.api("INFO")
    await connection.close()
