"""Ways to log in, at brokers that ask for them: whatever a password is made of, and from wherever it comes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from heed.bus.auth.jwt import NatsKey
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.errors import BusUnavailable, InvalidSettings
from heed.settings import Settings
from tests.integration.waiting import until
from tests.nats_server import NatsServer, require_nats_server

PASSWORD = "a/b@c:d%e,f?g#h é"


def server(folder: Path, authorization: str) -> NatsServer:
    """A server with an `authorization` block."""
    require_nats_server()
    (folder / "nats.conf").write_text(f"authorization {{ {authorization} }}\n")
    return NatsServer(folder / "nats", "-c", str(folder / "nats.conf"))


@pytest.fixture
def with_password(tmp_path: Path) -> Iterator[NatsServer]:
    with server(tmp_path, f'user: heed, password: "{PASSWORD}"') as found:
        yield found


@pytest.fixture
def with_token(tmp_path: Path) -> Iterator[NatsServer]:
    with server(tmp_path, f'token: "{PASSWORD}"') as found:
        yield found


async def works(settings: Settings) -> bool:
    """Whether the broker takes it, and JetStream answers."""
    connection = await connect(settings, "test", attempts=1)
    try:
        return "streams" in await connection.api("INFO")
    finally:
        await connection.close()


async def test_a_password_in_the_url_is_percent_decoded(with_password: NatsServer) -> None:
    url = with_password.url.replace("//", f"//heed:{quote(PASSWORD, safe='')}@")
    assert await works(Settings(nats_url=url))


async def test_a_token_in_the_url_is_percent_decoded(with_token: NatsServer) -> None:
    url = with_token.url.replace("//", f"//{quote(PASSWORD, safe='')}@")
    assert await works(Settings(nats_url=url))


async def test_user_and_password_have_settings_of_their_own(
    with_password: NatsServer, tmp_path: Path
) -> None:
    settings = Settings(nats_url=with_password.url, nats_user="heed")
    (tmp_path / "password").write_text(PASSWORD + "\n")

    assert await works(replace(settings, nats_password=PASSWORD))
    assert await works(replace(settings, nats_password_file=str(tmp_path / "password")))
    with pytest.raises(BusUnavailable, match="Authorization Violation") as raised:
        await works(replace(settings, nats_password="secret"))
    assert "secret" not in str(raised.value)


async def test_a_token_has_settings_of_its_own(with_token: NatsServer, tmp_path: Path) -> None:
    settings = Settings(nats_url=with_token.url)
    (tmp_path / "token").write_text(PASSWORD)

    assert await works(replace(settings, nats_token=PASSWORD))
    assert await works(replace(settings, nats_token_file=str(tmp_path / "token")))


async def test_an_nkey_is_a_file_with_its_seed(tmp_path: Path) -> None:
    key = NatsKey.new("user")
    (tmp_path / "user.nk").write_text(key.seed + "\n")
    (tmp_path / "other.nk").write_text(NatsKey.new("account").seed)
    with server(tmp_path, f"users: [{{nkey: {key.public}}}]") as found:
        settings = Settings(nats_url=found.url)

        assert await works(replace(settings, nats_nkey=str(tmp_path / "user.nk")))
        with pytest.raises(InvalidSettings, match=r"HEED_NATS_NKEY=.*: the seed is not a user's"):
            await works(replace(settings, nats_nkey=str(tmp_path / "other.nk")))


async def test_a_password_that_changes_in_its_file_is_used_at_the_next_connect(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("former")
    with server(tmp_path, "user: heed, password: former") as found:
        settings = Settings(
            nats_url=found.url, nats_user="heed", nats_password_file=str(tmp_path / "password")
        )
        connection = await connect(settings, "test", attempts=3)
        found.stop()
        await until(lambda: not connection.is_connected)
        (tmp_path / "nats.conf").write_text("authorization { user: heed, password: latter }\n")
        (tmp_path / "password").write_text("latter")
        found.start()

        await until(lambda: connection.is_connected)
        assert "streams" in await connection.api("INFO")
        await connection.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nats_user": "a"}, "HEED_NATS_USER needs HEED_NATS_PASSWORD or HEED_NATS_PASSWORD_FILE"),
        (
            {"nats_password": "secret"},
            "HEED_NATS_PASSWORD needs the name of the user; give it in HEED_NATS_USER",
        ),
        (
            {"nats_user": "a", "nats_password": "secret", "nats_password_file": "/x"},
            "HEED_NATS_PASSWORD and HEED_NATS_PASSWORD_FILE: give one of them",
        ),
        ({"nats_token": "secret", "nats_token_file": "/x"}, "HEED_NATS_TOKEN and HEED_NATS_TOKEN_FILE"),
        (
            {"nats_url": "nats://a:secret@host", "nats_token": "secret"},
            "HEED_NATS_TOKEN and HEED_NATS_URL with a user or token: the broker is told one of them",
        ),
        ({"nats_token_file": "/does/not/exist"}, "HEED_NATS_TOKEN_FILE=/does/not/exist: no such file"),
        ({"nats_nkey": "/does/not/exist"}, "HEED_NATS_NKEY=/does/not/exist: no such file"),
        ({"nats_domain": "a.b"}, "HEED_NATS_DOMAIN='a.b': a domain has no dots"),
        ({"nats_url": "nats://a:sec/ret@host"}, r"HEED_NATS_URL, address 1: a raw /"),
    ],
)
def test_settings_that_contradict_each_other_are_errors_without_secrets(
    given: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidSettings, match=said) as raised:
        Connection(replace(Settings(), **given), "test")  # type: ignore[arg-type]
    assert "sec" not in str(raised.value)


def test_settings_show_no_secret() -> None:
    settings = Settings(nats_url="nats://a:hidden@h", nats_password="hidden", nats_token="hidden")
    assert "hidden" not in repr(settings)


async def test_streams_are_in_the_domain_that_the_settings_name(tmp_path: Path) -> None:
    """Heed is connected to a leaf node, and its streams are at the hub."""
    require_nats_server()
    for name in ("hub", "leaf"):
        (tmp_path / name).mkdir()
    (tmp_path / "hub.conf").write_text(
        'jetstream { domain: hub }\nleafnodes { listen: "127.0.0.1:-1" }\nserver_name: hub\n'
    )
    with NatsServer(tmp_path / "hub", "-c", str(tmp_path / "hub.conf")) as hub:
        remote = hub.leaf_port()
        (tmp_path / "leaf.conf").write_text(
            "jetstream { domain: leaf }\nserver_name: leaf\n"
            f'leafnodes {{ remotes: [{{url: "nats://127.0.0.1:{remote}"}}] }}\n'
        )
        with NatsServer(tmp_path / "leaf", "-c", str(tmp_path / "leaf.conf")) as leaf:
            settings = Settings(nats_url=leaf.url, nats_domain="hub")
            connection = await connect(settings, "test", attempts=3)
            await until(lambda: _answers(connection))
            await ensure_streams(connection, settings.stream)

            there = await connect(Settings(nats_url=hub.url), "hub", attempts=3)
            here = await connect(Settings(nats_url=leaf.url), "leaf", attempts=3)
            assert (await there.api("INFO"))["streams"] == 2
            assert (await here.api("INFO"))["streams"] == 0
            await _read_what_is_published(connection)
            for item in (connection, there, here):
                await item.close()


async def _answers(connection: Connection) -> bool:
    try:
        await connection.api("INFO")
    except BusUnavailable:
        return False
    return True


async def _read_what_is_published(connection: Connection) -> None:
    from heed import names
    from heed.bus.jetstream import JetStreamBus
    from heed.core.events import Event

    bus = JetStreamBus(connection)
    subject = names.event_subject("demo", "com.example.a")
    sequence = await bus.publish(subject, Event("1", "/s", "com.example.a", {"n": 1}))
    reader = await bus.open([subject], 0, "2026-01-01T00:00:00Z")
    found = await reader.read(10, 5.0)
    assert [item.sequence for item in found] == [sequence]
    await reader.close()
