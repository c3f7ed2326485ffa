"""How the broker is dialled, by the settings: servers, logins, certificates and pauses."""

import base64
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heed import names
from heed.bus.auth.jwt import NatsKey, SubjectPermissions, UserSigner, read_credentials
from heed.bus.client.connect_options import LIBRARY_BUFFER_BYTES, api_prefix, build_options
from heed.errors import InvalidSettings
from heed.settings import Settings

SETTINGS = Settings(nats_url="nats://one:4222, tls://two:4223")


def refused(settings: Settings) -> str:
    with pytest.raises(InvalidSettings) as caught:
        build_options(settings, "test")
    return str(caught.value)


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_connection_is_never_given_up_and_has_a_name() -> None:
    chosen = build_options(SETTINGS, "test")

    pick = chosen.pop("reconnect_to_server_handler")
    assert callable(pick)
    assert chosen == {
        "servers": ["nats://one:4222", "tls://two:4223"],
        "name": "test",
        "inbox_prefix": names.INBOX_PREFIX,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 1,
        "ping_interval": 20,
        "pending_size": LIBRARY_BUFFER_BYTES,
    }


@pytest.mark.parametrize(
    ("reconnects", "longest"), [(0, 0.05), (1, 0.1), (3, 0.4), (7, 6.4), (8, 6.4), (500, 6.4)]
)
def test_the_server_that_failed_least_is_next_after_a_pause_that_grows(
    reconnects: int, longest: float
) -> None:
    pick = build_options(SETTINGS, "test")["reconnect_to_server_handler"]
    worse, best = SimpleNamespace(reconnects=reconnects + 1), SimpleNamespace(reconnects=reconnects)

    picked = [pick([worse, best], {}) for _ in range(200)]

    assert all(server is best for server, _ in picked)
    pauses = [pause for _, pause in picked]
    assert longest / 2 <= min(pauses) < longest * 0.6
    assert longest * 0.9 < max(pauses) <= longest


@pytest.mark.parametrize(("domain", "prefix"), [(None, "$JS.API"), ("hub", "$JS.hub.API")])
def test_the_api_of_a_domain_has_its_name(domain: str | None, prefix: str) -> None:
    assert api_prefix(domain) == prefix


@pytest.mark.parametrize("domain", ["", "a.b", "a b", "*", ">", "hub.", "hub\n"])
def test_what_names_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        api_prefix(domain)

    assert str(caught.value) == f"HEED_NATS_DOMAIN={domain!r}: a domain has no dots, spaces, * and >"


# ── logins ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def login(settings: Settings) -> dict[str, Any]:
    """What the options have beside those of everybody; what reads a secret is asked."""
    usual = build_options(SETTINGS, "test")
    own = {key: value for key, value in build_options(settings, "test").items() if key not in usual}
    return {key: value() if callable(value) else value for key, value in own.items()}


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ({}, {}),
        ({"nats_url": "nats://u:p%40@one"}, {"user": "u", "password": "p@"}),
        ({"nats_url": "nats://secret@one"}, {"token": "secret"}),
        ({"nats_token": "t"}, {"token": "t"}),
        ({"nats_user": "u", "nats_password": "p"}, {"user": "u", "password": "p"}),
        ({"nats_token_file": "{file}"}, {"token": "in it"}),
        ({"nats_user": "u", "nats_password_file": "{file}"}, {"user": "u", "password": "in it"}),
        ({"nats_credentials": "{file}"}, {"user_credentials": "{file}"}),
    ],
)
def test_the_way_to_log_in_that_the_settings_name(
    given: dict[str, str], own: dict[str, str], tmp_path: Path
) -> None:
    file = written(tmp_path, "secret", "in it\r\n")

    found = login(Settings(**{key: value.format(file=file) for key, value in given.items()}))  # type: ignore[arg-type]

    assert found == {key: value.format(file=file) for key, value in own.items()}


def test_an_nkey_is_the_seed_in_its_file(tmp_path: Path) -> None:
    key = NatsKey.new("user")

    assert login(Settings(nats_nkey=written(tmp_path, "seed", f" {key.seed} \n"))) == {
        "nkeys_seed_str": key.seed
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"nats_token": "t", "nats_user": "u", "nats_password": "p"},
            "HEED_NATS_TOKEN and HEED_NATS_USER: the broker is told one of them; leave out the other",
        ),
        (
            {"nats_url": "nats://t@one", "nats_nkey": "/x"},
            "HEED_NATS_NKEY and HEED_NATS_URL with a user or token: "
            "the broker is told one of them; leave out the other",
        ),
        (
            {"nats_credentials": "/x", "nats_token_file": "/y"},
            "HEED_NATS_CREDENTIALS and HEED_NATS_TOKEN_FILE: the broker is told one of them; leave out the other",
        ),
        (
            {"nats_user": "u", "nats_password": "p", "nats_password_file": "/x"},
            "HEED_NATS_PASSWORD and HEED_NATS_PASSWORD_FILE: give one of them",
        ),
        (
            {"nats_password": "p"},
            "HEED_NATS_PASSWORD needs the name of the user; give it in HEED_NATS_USER",
        ),
        (
            {"nats_password_file": "/x"},
            "HEED_NATS_PASSWORD_FILE needs the name of the user; give it in HEED_NATS_USER",
        ),
        ({"nats_user": "u"}, "HEED_NATS_USER needs HEED_NATS_PASSWORD or HEED_NATS_PASSWORD_FILE"),
        ({"nats_credentials": "/nowhere"}, "HEED_NATS_CREDENTIALS=/nowhere: no such file"),
        ({"nats_nkey": "/nowhere"}, "HEED_NATS_NKEY=/nowhere: no such file"),
        ({"nats_token_file": "/nowhere"}, "HEED_NATS_TOKEN_FILE=/nowhere: no such file"),
        (
            {"nats_user": "u", "nats_password_file": "/nowhere"},
            "HEED_NATS_PASSWORD_FILE=/nowhere: no such file",
        ),
        ({"nats_ca": "/nowhere"}, "HEED_NATS_CA=/nowhere: no such file"),
        ({"nats_cert": "/nowhere"}, "HEED_NATS_CERT=/nowhere: no such file"),
    ],
)
def test_settings_that_cannot_be_used_are_named(given: dict[str, Any], said: str) -> None:
    assert refused(Settings(**given)) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n", "the file is empty; it has to hold the secret"),
        (b"\xff", "UnicodeDecodeError; give a file with a secret"),
    ],
)
def test_a_file_that_holds_no_secret_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)

    assert refused(Settings(nats_token_file=str(path))) == f"HEED_NATS_TOKEN_FILE={path}: {said}"


def test_an_nkey_has_to_be_a_users(tmp_path: Path) -> None:
    account = written(tmp_path, "account", NatsKey.new("account").seed)
    nothing = written(tmp_path, "nothing", "S3CRET")

    wrong = "the seed is not a user's; those begin with SU"
    assert refused(Settings(nats_nkey=account)) == f"HEED_NATS_NKEY={account}: {wrong}"
    wrong = "this is no seed of a NATS key; it begins with S and has 58 characters"
    assert refused(Settings(nats_nkey=nothing)) == f"HEED_NATS_NKEY={nothing}: {wrong}"


def test_a_secret_is_read_anew_and_the_former_one_is_good_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    read = build_options(Settings(nats_token_file=str(path)), "test")["token"]

    told = [read()]
    path.write_text("second")
    told.append(read())
    path.unlink()
    told.append(read())
    path.write_text("")
    told.append(read())

    assert told == ["first", "second", "second", "second"]


def test_credentials_in_memory_take_the_place_of_a_login() -> None:
    signer = UserSigner(NatsKey.new("account"))
    text = signer.credentials("me", SubjectPermissions(), now=1, lifetime=None)
    jwt = text.splitlines()[1]

    chosen = build_options(replace(SETTINGS, nats_token="t"), "test", text)

    assert "token" not in chosen
    assert bytes(chosen["user_jwt_cb"]()) == jwt.encode()
    _, key = read_credentials(text)
    assert base64.b64decode(chosen["signature_cb"]("nonce")) == key.sign(b"nonce")


# ── certificates ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_certificates_the_library_chooses_whom_to_trust() -> None:
    assert "tls" not in build_options(replace(SETTINGS, nats_key="/nowhere"), "test")


def test_files_that_hold_no_certificates_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, "file", "no PEM")

    said = refused(Settings(nats_ca=file))
    assert said.startswith(f"HEED_NATS_CA={file}: ")
    assert said.endswith("; give a file of CA certificates in PEM")
    said = refused(Settings(nats_cert=file))
    assert said.startswith(f"HEED_NATS_CERT={file}: ")
    assert said.endswith("; give a certificate and, in HEED_NATS_KEY, its key in PEM")
    assert refused(Settings(nats_cert=file, nats_key="/nowhere")) == "HEED_NATS_KEY=/nowhere: no such file"
