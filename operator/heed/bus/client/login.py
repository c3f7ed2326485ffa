"""Who we are to the broker, by the settings: credentials, an NKey, a token, or a user with a password; one of them.

A secret in a file is read again at every connect, so that it can be rotated. No error shows a secret.
"""

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from heed.bus.client.addresses import Login, find_login, parse_addresses
from heed.errors import InvalidSettings
from heed.settings import Settings


def login_options(settings: Settings) -> dict[str, Any]:
    """The client library's options of the one way to log in that the settings name. Raises InvalidSettings."""
    ways = {
        "HEED_NATS_CREDENTIALS": settings.nats_credentials,
        "HEED_NATS_NKEY": settings.nats_nkey,
        "HEED_NATS_TOKEN": settings.nats_token,
        "HEED_NATS_TOKEN_FILE": settings.nats_token_file,
        "HEED_NATS_USER": settings.nats_user,
        "HEED_NATS_URL with a user or token": find_login(parse_addresses(settings.nats_url)),
    }
    named = [name for name, value in ways.items() if value is not None]
    if len(named) > 1:
        raise InvalidSettings(f"{' and '.join(named)}: the broker is told one of them; leave out the other")
    _check_password(settings)
    match named:
        case ["HEED_NATS_CREDENTIALS"]:
            return {"user_credentials": _with_nkeys(str(settings.nats_credentials), named[0])}
        case ["HEED_NATS_NKEY"]:
            return _nkey_options(_with_nkeys(str(settings.nats_nkey), named[0]))
        case ["HEED_NATS_TOKEN_FILE"]:
            return {"token": secret_reader(str(settings.nats_token_file), named[0])}
        case ["HEED_NATS_TOKEN"]:
            return {"token": settings.nats_token}
        case ["HEED_NATS_USER"]:
            return {"user": settings.nats_user, "password": _password(settings)}
        case [_]:
            return _url_options(find_login(parse_addresses(settings.nats_url)))
    return {}


def check_file(path: str, variable: str) -> str:
    """The path, if a file exists there. Raises InvalidSettings."""
    if not Path(path).is_file():
        raise InvalidSettings(f"{variable}={path}: no such file")
    return path


def secret_reader(path: str, variable: str) -> Callable[[], str]:
    """A function that reads a secret from its file, without the line's end; while unreadable, it returns the last one.

    Raises InvalidSettings where it cannot be read now.
    """
    known = _secret(check_file(path, variable), variable)

    def read() -> str:
        nonlocal known
        with suppress(InvalidSettings):  # it is being replaced
            known = _secret(path, variable)
        return known

    return read


def _secret(path: str, variable: str) -> str:
    try:
        text = Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"{variable}={path}: {type(error).__name__}; give a file with a secret"
        ) from None
    if not text:
        raise InvalidSettings(f"{variable}={path}: the file is empty; it has to hold the secret")
    return text


def _check_password(settings: Settings) -> None:
    given = [
        name
        for name, value in (
            ("HEED_NATS_PASSWORD", settings.nats_password),
            ("HEED_NATS_PASSWORD_FILE", settings.nats_password_file),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise InvalidSettings(f"{' and '.join(given)}: give one of them")
    if given and settings.nats_user is None:
        raise InvalidSettings(f"{given[0]} needs the name of the user; give it in HEED_NATS_USER")
    if settings.nats_user is not None and not given:
        raise InvalidSettings("HEED_NATS_USER needs HEED_NATS_PASSWORD or HEED_NATS_PASSWORD_FILE")


def _password(settings: Settings) -> str | Callable[[], str] | None:
    if settings.nats_password_file is None:
        return settings.nats_password
    return secret_reader(settings.nats_password_file, "HEED_NATS_PASSWORD_FILE")


def _url_options(login: Login | None) -> dict[str, Any]:
    if login is None or login.token is not None:
        return {} if login is None else {"token": login.token}
    return {"user": login.user, "password": login.password}


def _with_nkeys(path: str, variable: str) -> str:
    check_file(path, variable)
    if importlib.util.find_spec("nkeys") is None:
        raise InvalidSettings(f"{variable} needs the package nkeys; install nats-py[nkeys]")
    return path


def _nkey_options(path: str) -> dict[str, Any]:
    from heed.bus.auth.jwt import NatsKey  # nkeys: not everybody has credentials

    seed = _secret(path, "HEED_NATS_NKEY").strip()
    try:
        key = NatsKey.of_seed(seed)
    except InvalidSettings as error:
        raise InvalidSettings(f"HEED_NATS_NKEY={path}: {error}") from None
    if not key.public.startswith("U"):
        raise InvalidSettings(f"HEED_NATS_NKEY={path}: the seed is not a user's; those begin with SU")
    return {"nkeys_seed_str": key.seed}
