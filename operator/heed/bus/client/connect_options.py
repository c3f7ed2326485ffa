"""How the broker is to be dialled, by the settings: servers, who we are, whom we trust, and how patiently."""

import base64
import re
import ssl
from typing import Any, Final

from nats.aio.client import Server

from heed import names
from heed.bus.client.addresses import parse_addresses
from heed.bus.client.login import check_file, login_options
from heed.errors import InvalidSettings
from heed.settings import Settings
from heed.util.backoff import Backoff

DIAL_BACKOFF: Final = Backoff(first_s=0.05, last_s=6.4, jitter=0.5)
PING_INTERVAL_S: Final = 20
# Beyond it the library has publishers wait for the socket, without a limit and deaf to being cancelled. Connection sees
# to it that much less is unsent.
LIBRARY_BUFFER_BYTES: Final = 256 * 1024 * 1024


def build_options(
    settings: Settings, name: str, credentials: str | None = None, inbox_prefix: str = names.INBOX_PREFIX
) -> dict[str, Any]:
    """The client library's options. `credentials` is the content of a .creds file. Raises InvalidSettings."""
    chosen: dict[str, Any] = {
        "servers": [address.url for address in parse_addresses(settings.nats_url)],
        "name": name,
        "inbox_prefix": inbox_prefix,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 1,
        "reconnect_to_server_handler": _next_server,
        "ping_interval": PING_INTERVAL_S,
        "pending_size": LIBRARY_BUFFER_BYTES,
    }
    if credentials is not None:
        chosen |= _in_memory(credentials)
    else:
        chosen |= login_options(settings)
    if settings.nats_ca is not None or settings.nats_cert is not None:
        chosen["tls"] = _tls(settings)
    return chosen


def api_prefix(domain: str | None) -> str:
    """The subject prefix of the JetStream API, with the domain if any. Raises InvalidSettings for an invalid domain."""
    if domain is None:
        return "$JS.API"
    if not re.fullmatch(r"[^\s.*>]+", domain):
        raise InvalidSettings(f"HEED_NATS_DOMAIN={domain!r}: a domain has no dots, spaces, * and >")
    return f"$JS.{domain}.API"


def _in_memory(credentials: str) -> dict[str, Any]:
    """Callbacks for credentials in no file: the library asks for the JWT, and to sign the server's nonce."""
    from heed.bus.auth.jwt import read_credentials  # nkeys: not everybody has credentials

    jwt, key = read_credentials(credentials)
    return {
        "user_jwt_cb": lambda: bytearray(jwt.encode()),
        "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
    }


def _tls(settings: Settings) -> ssl.SSLContext:
    """Whom we trust (else those whom the system trusts), and our own certificate for brokers that ask for one."""
    ca, certificate, key = settings.nats_ca, settings.nats_cert, settings.nats_key
    try:
        context = ssl.create_default_context(cafile=None if ca is None else check_file(ca, "HEED_NATS_CA"))
    except (ssl.SSLError, OSError) as error:
        raise InvalidSettings(f"HEED_NATS_CA={ca}: {error}; give a file of CA certificates in PEM") from None
    if certificate is not None:
        try:
            context.load_cert_chain(
                check_file(certificate, "HEED_NATS_CERT"),
                None if key is None else check_file(key, "HEED_NATS_KEY"),
            )
        except (ssl.SSLError, OSError) as error:
            remedy = "give a certificate and, in HEED_NATS_KEY, its key in PEM"
            raise InvalidSettings(f"HEED_NATS_CERT={certificate}: {error}; {remedy}") from None
    return context


def _next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """The server that failed least, after a pause that grows with its failures; jitter keeps a herd apart."""
    server = min(servers, key=lambda item: item.reconnects)
    return server, DIAL_BACKOFF.delay(server.reconnects + 1)
