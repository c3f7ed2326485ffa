"""Credentials for the broker: signed statements (NATS JWTs) of who someone is, what they may do, and for how long.

The broker accepts every user whose JWT an account's key has signed; nothing has to be entered there for a Job that
runs for a minute. https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
Time comes in as an argument, in seconds since the epoch. No seed is ever part of a message, a log line or a `repr`.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import nkeys

from heed.errors import InvalidSettings

KeyKind = Literal["operator", "account", "user"]
_PREFIXES: Final = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}
_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")
_SECOND_NS: Final = 1_000_000_000
CLAIMS_VERSION: Final = 2  # of the claims


@dataclass(frozen=True, slots=True)
class NatsKey:
    """A key pair as its seed, which is secret. `public` is what others know it by."""

    seed: str = field(repr=False)
    public: str

    @classmethod
    def new(cls, kind: KeyKind) -> "NatsKey":
        """A new one."""
        return cls.of_seed(nkeys.encode_seed(os.urandom(32), _PREFIXES[kind]).decode())  # type: ignore[no-untyped-call]

    @classmethod
    def of_seed(cls, seed: str) -> "NatsKey":
        """The key pair of a seed, as `nk` and `nsc` write them. Raises InvalidSettings, which does not show it."""
        seed = seed.strip()
        try:
            key = cls(seed, _pair(seed).public_key.decode().rstrip("="))
            right = _is_as_written(seed)
        except (nkeys.NkeysError, ValueError, IndexError):
            raise InvalidSettings(
                "this is no seed of a NATS key; it begins with S and has 58 characters"
            ) from None
        if not right:  # the library takes it for the seed of another key
            raise InvalidSettings("a character of this seed is wrong: its checksum differs; copy it again")
        return key

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature."""
        signature: bytes = _pair(self.seed).sign(message)  # type: ignore[no-untyped-call]
        return signature


def _is_as_written(key: str) -> bool:
    """Whether a key in base 32 has the checksum (CRC-16/XMODEM, little endian) that ends it."""
    raw = base64.b32decode(key + "=" * (-len(key) % 8))
    return binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")


def _pair(seed: str) -> nkeys.KeyPair:
    pair: nkeys.KeyPair = nkeys.from_seed(bytearray(seed.encode()))  # type: ignore[no-untyped-call]
    return pair


@dataclass(frozen=True, slots=True)
class SubjectPermissions:
    """What a user may publish and subscribe to, as NATS subjects with wildcards; nothing else. `deny` wins."""

    publish: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    subscriptions: int = -1  # how many at the same time; -1 is any number
    replies: int = (
        0  # how many times a message may be answered on its reply subject, which needs no `publish` then
    )
    reply_lifetime: int = 0  # seconds after its arrival in which it may be


@dataclass(frozen=True, slots=True)
class UserSigner:
    """What signs users: an account's own key, or a signing key of an account, which then has to be named."""

    key: NatsKey
    account: str | None = None

    @classmethod
    def of(cls, seed: str, account: str | None = None) -> "UserSigner":
        """The signer with an account's seed, for `account` where that is a signing key's. Raises InvalidSettings."""
        key = NatsKey.of_seed(seed)
        if not key.public.startswith("A"):
            raise InvalidSettings("the seed is not an account's; those begin with SA")
        if account is not None and not re.fullmatch(r"A[A-Z2-7]{55}", account):
            raise InvalidSettings("the account is no public key of an account; those begin with A")
        if account is not None and not _is_as_written(account):
            raise InvalidSettings("a character of the account is wrong: its checksum differs; copy it again")
        return cls(key, None if account in (None, key.public) else account)

    def credentials(self, name: str, grants: SubjectPermissions, *, now: int, lifetime: int | None) -> str:
        """Credentials of a new user: a .creds file's content, valid for `lifetime` seconds (None: for ever). Secret."""
        user = NatsKey.new("user")
        nats = {
            **_permissions(grants),
            "subs": grants.subscriptions,
            "data": -1,
            "payload": -1,
            "allowed_connection_types": [
                "STANDARD",
                "WEBSOCKET",
            ],  # no leaf nodes, which forward others' messages
            "type": "user",
            "version": CLAIMS_VERSION,
        }
        if self.account is not None:
            nats["issuer_account"] = self.account
        expiry = None if lifetime is None else now + lifetime
        return render_credentials(
            encode_token(self.key, user.public, name, nats, now=now, expiry=expiry), user
        )


def _permissions(grants: SubjectPermissions) -> dict[str, Any]:
    """The permission claims. Where there are no subjects, all are denied, as an empty list would allow everything."""
    publish: dict[str, Any] = {"allow": list(grants.publish)} if grants.publish else {"deny": [">"]}
    if grants.publish and grants.deny:
        publish["deny"] = list(grants.deny)
    claims = {
        "pub": publish,
        "sub": {"allow": list(grants.subscribe)} if grants.subscribe else {"deny": [">"]},
    }
    if grants.replies:
        claims["resp"] = {"max": grants.replies, "ttl": grants.reply_lifetime * _SECOND_NS}
    return claims


def encode_token(
    signer: NatsKey, subject: str, name: str, nats: dict[str, Any], *, now: int, expiry: int | None = None
) -> str:
    """A JWT in which `signer` makes the claims `nats` about the key `subject`."""
    claims: dict[str, Any] = {"iat": now, "iss": signer.public, "name": name, "sub": subject, "nats": nats}
    if expiry is not None:
        claims["exp"] = expiry
    claims["jti"] = base64.b32encode(hashlib.sha256(_json(claims)).digest()).decode().rstrip("=")
    signed = f"{_encoded(_json(_HEADER))}.{_encoded(_json(claims))}"
    return f"{signed}.{_encoded(signer.sign(signed.encode()))}"


def render_credentials(jwt: str, user: NatsKey) -> str:
    """The content of a .creds file in the format that every NATS client reads."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "This file is a secret: everybody who has it may do what it allows.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def read_credentials(text: str) -> tuple[str, NatsKey]:
    """The JWT and the key in a .creds file. Raises InvalidSettings, whose message shows neither."""
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        raise InvalidSettings("these are no NATS credentials; write them with `heed credentials` or nsc")
    return jwt[1], NatsKey.of_seed(seed[1])


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
