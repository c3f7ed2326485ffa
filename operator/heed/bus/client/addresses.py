"""Addresses of brokers, as `HEED_NATS_URL` gives them: parsed as Go's NATS client does it, and shown without secrets.

User, password and token in a URL are percent-decoded, once. No message of this module shows what might be
a part of a secret.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from heed.errors import InvalidSettings

SCHEMES: Final = ("nats", "tls", "ws", "wss")
_SCHEME: Final = re.compile(r"([A-Za-z][-+.A-Za-z0-9]*)://")
_RAW: Final = re.compile(r"[/?#]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
ENCODE_REMEDY: Final = (
    "percent-encode it (/ as %2F, @ as %40, a comma as %2C, % as %25), or give it in a setting of its own"
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a broker: a user with a password, or a token."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """One broker. `url` has no user, password or token."""

    url: str
    login: Login | None = None


def parse_addresses(urls: str) -> tuple[Address, ...]:
    """The addresses in a comma-separated list. Raises InvalidSettings, which shows no secret."""
    return tuple(_parse(url.strip(), place) for place, url in enumerate(urls.split(","), 1))


def find_login(addresses: tuple[Address, ...]) -> Login | None:
    """The login in the addresses, if any. Raises InvalidSettings where they have several."""
    found = {address.login for address in addresses if address.login is not None}
    if len(found) > 1:
        raise InvalidSettings(
            "HEED_NATS_URL names several users; give one of them to all, as nodes of one cluster know the same"
        )
    return next(iter(found), None)


def public_url(urls: str) -> str:
    """The broker's URLs without user, password and token, for logs and errors. Raises InvalidSettings."""
    return ",".join(address.url for address in parse_addresses(urls))


def _parse(url: str, place: int) -> Address:
    named = _SCHEME.match(url)
    scheme, rest = (named[1].lower(), url[named.end() :]) if named else ("nats", url)
    if scheme not in SCHEMES:
        raise _refused(
            place, f"{scheme}:// is not spoken by a NATS server; write nats://, tls://, ws:// or wss://"
        )
    userinfo, at, host = rest.rpartition("@")
    if _RAW.search(userinfo):
        raise _refused(
            place, f"a raw /, ? or # stands before the @; where it is part of a password, {ENCODE_REMEDY}"
        )
    _check_host(f"{scheme}://{host}", place)
    return Address(f"{scheme}://{host.rstrip('/')}", _login(userinfo, place) if at else None)


def _check_host(url: str, place: int) -> None:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        message = "there is no host, or its port is no number; write nats://host:4222"
        raise _refused(place, f"{message}. Where a comma, / or @ is part of a password, {ENCODE_REMEDY}")


def _login(userinfo: str, place: int) -> Login:
    user, colon, password = userinfo.partition(":")
    if colon:
        return Login(user=_decoded(user, place), password=_decoded(password, place))
    return Login(token=_decoded(user, place))


def _decoded(text: str, place: int) -> str:
    if not _BAD_ESCAPE.search(text):
        try:
            return unquote_to_bytes(text).decode()
        except UnicodeError:
            pass
    raise _refused(
        place,
        f"before the @ stands a % that begins no percent-encoded UTF-8; where it is meant, {ENCODE_REMEDY}",
    )


def _refused(place: int, message: str) -> InvalidSettings:
    return InvalidSettings(f"HEED_NATS_URL, address {place}: {message}")
