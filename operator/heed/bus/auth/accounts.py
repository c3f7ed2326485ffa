"""The broker's accounts, and the users that an installation begins with: all that nats-server needs for JWT mode.

There are two accounts. The streams live in one, where only Heed and those who run it have users. Publishers and Jobs
have theirs in the other one, which may ask the first one to store messages (a service import), and nothing else.

That is not for tidiness. The server confirms each stored message with a message of its own, which the permissions of
the publisher do not bound, and which in the streams' own account could be stored, too. From the other account
confirmations come back to that account, where no stream listens, and are not handed on by the import a second time.
"""

from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.bus.auth.jwt import CLAIMS_VERSION, NatsKey, SubjectPermissions, UserSigner, encode_token

AUTH_CONF: Final = "auth.conf"
ACCOUNT_SEED: Final = "account.seed"
ACCOUNT_PUBLIC: Final = "account.pub"
STREAMS_SEED: Final = "streams.seed"
OPERATOR_CREDS: Final = "operator.creds"
PUBLISHER_CREDS: Final = "publisher.creds"
ADMIN_CREDS: Final = "admin.creds"
GATEWAY_CREDS: Final = "gateway.creds"
SUBSCRIPTIONS_CREDS: Final = "subscriptions.creds"
KEY_FILES: Final = (
    AUTH_CONF,
    ACCOUNT_SEED,
    ACCOUNT_PUBLIC,
    STREAMS_SEED,
    OPERATOR_CREDS,
    PUBLISHER_CREDS,
    ADMIN_CREDS,
    GATEWAY_CREDS,
    SUBSCRIPTIONS_CREDS,
)
LATER_FILES: Final = frozenset(
    (GATEWAY_CREDS, SUBSCRIPTIONS_CREDS)
)  # which keys made by an earlier release lack; see `add_later_files`

_STREAMS: Final = (names.STREAM, names.DEAD_STREAM)
_READING: Final = (
    "STREAM.INFO.{}",
    "STREAM.MSG.GET.{}",
    "CONSUMER.CREATE.{}",
    "CONSUMER.INFO.{}.*",
    "CONSUMER.MSG.NEXT.{}.*",
    "CONSUMER.DELETE.{}.*",
)
_UNLIMITED: Final = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
_JETSTREAM: Final = {
    "mem_storage": -1,
    "disk_storage": -1,
    "streams": -1,
    "consumer": -1,
    "mem_max_stream_bytes": -1,
    "disk_max_stream_bytes": -1,
    "max_bytes_required": False,
}

# What `heed operator` does, and no more. The streams are made, never changed or deleted.
OPERATOR_PERMISSIONS: Final = SubjectPermissions(
    publish=(
        "heed.events.>",
        "heed.inbox.>",
        f"{names.DEAD_STREAM_SUBJECTS[0]}",
        *(f"$JS.API.STREAM.CREATE.{stream}" for stream in _STREAMS),
        *("$JS.API." + item.format(stream) for stream in _STREAMS for item in _READING),
    ),
    subscribe=(f"{names.INBOX_PREFIX}.>",),
)
# Everything in the streams' account: for people, never for programs.
ADMIN_PERMISSIONS: Final = SubjectPermissions(publish=(">",), subscribe=(">",))


def publisher_permissions(namespace: str = "*", pattern: str = ">") -> SubjectPermissions:
    """Permissions to publish broadcast events of a namespace whose types match a pattern, with acknowledgements."""
    return SubjectPermissions(
        publish=(names.event_subject(namespace, pattern),),
        deny=reserved_subjects(namespace),
        subscribe=("_INBOX.>",),
    )


def gateway_permissions() -> SubjectPermissions:
    """Permissions of the gateway: to publish events, broadcast and to one Agent, and to see nothing but replies.

    A user of the clients' account: who takes over the gateway can publish what it could, and reads no stream.
    """
    return SubjectPermissions(
        publish=("heed.events.>", "heed.inbox.>"),
        deny=(*reserved_subjects("*"), "heed.inbox.*.*.dev.heed.>", "heed.inbox.*.*.dev.heed"),
        subscribe=(f"{names.INBOX_PREFIX}.>",),
    )


def subscriptions_permissions() -> SubjectPermissions:
    """Permissions to deliver events of Subscriptions: to read the stream of events, and to write dead letters.

    A user of the streams' account, as consumers are made there. It publishes no events.
    """
    events = names.STREAM
    return SubjectPermissions(
        publish=(
            names.DEAD_STREAM_SUBJECTS[0],
            *("$JS.API." + item.format(names.DEAD_STREAM) for item in _READING),
            f"$JS.API.STREAM.MSG.GET.{events}",
            f"$JS.API.CONSUMER.CREATE.{events}.*",
            f"$JS.API.CONSUMER.INFO.{events}.*",
            f"$JS.API.CONSUMER.LIST.{events}",
            f"$JS.API.CONSUMER.MSG.NEXT.{events}.*",
            f"$JS.API.CONSUMER.DELETE.{events}.*",
            f"$JS.ACK.{events}.>",
        ),
        subscribe=(f"{names.INBOX_PREFIX}.>",),
    )


def observer_permissions(namespace: str = "*", pattern: str = ">") -> SubjectPermissions:
    """Permissions to see broadcast events of a namespace as they come, and to publish nothing, not even requests.

    A user of the streams' account: in the other one, only what its own users publish would be seen.
    """
    return SubjectPermissions(subscribe=(names.event_subject(namespace, pattern),))


def reserved_subjects(namespace: str) -> tuple[str, ...]:
    """The broadcast subjects of Heed's own types, reserved for the operator."""
    return (names.event_subject(namespace, "dev.heed.>"), names.event_subject(namespace, "dev.heed"))


def make_broker_keys(now: int) -> Mapping[str, str]:
    """New keys of a broker in JWT mode, by file name (KEY_FILES). The NATS operator's keys are discarded.

    `auth.conf` is what a broker is run with; all other files are secret, except ACCOUNT_PUBLIC.
    """
    root, system = NatsKey.new("operator"), NatsKey.new("account")
    streams, clients = NatsKey.new("account"), NatsKey.new("account")
    jwts = {
        system.public: _account(root, system, "SYS", {}, now),
        streams.public: _account(root, streams, "HEED", _exporting(), now),
        clients.public: _account(root, clients, "HEED_CLIENTS", _importing(streams, clients, now), now),
    }
    heed, tenants = UserSigner(streams), UserSigner(clients)
    return {
        AUTH_CONF: _configuration(_operator(root, system, now), system.public, jwts),
        ACCOUNT_SEED: clients.seed + "\n",
        ACCOUNT_PUBLIC: clients.public,
        STREAMS_SEED: streams.seed + "\n",
        OPERATOR_CREDS: heed.credentials("heed-operator", OPERATOR_PERMISSIONS, now=now, lifetime=None),
        ADMIN_CREDS: heed.credentials("heed-admin", ADMIN_PERMISSIONS, now=now, lifetime=None),
        PUBLISHER_CREDS: tenants.credentials("publisher", publisher_permissions(), now=now, lifetime=None),
        GATEWAY_CREDS: _gateway_credentials(tenants, now),
        SUBSCRIPTIONS_CREDS: _subscriptions_credentials(heed, now),
    }


def add_later_files(keys: Mapping[str, str], now: int) -> Mapping[str, str]:
    """What keys of an earlier release lack (LATER_FILES), made with their own account seeds; empty for others."""
    made = {
        GATEWAY_CREDS: (ACCOUNT_SEED, _gateway_credentials),
        SUBSCRIPTIONS_CREDS: (STREAMS_SEED, _subscriptions_credentials),
    }
    return {
        file: make(UserSigner.of(keys[seed]), now) for file, (seed, make) in made.items() if file not in keys
    }


def _gateway_credentials(clients: UserSigner, now: int) -> str:
    return clients.credentials("heed-gateway", gateway_permissions(), now=now, lifetime=None)


def _subscriptions_credentials(streams: UserSigner, now: int) -> str:
    permissions = subscriptions_permissions()
    return streams.credentials("heed-gateway-subscriptions", permissions, now=now, lifetime=None)


def _operator(root: NatsKey, system: NatsKey, now: int) -> str:
    nats = {"type": "operator", "version": CLAIMS_VERSION, "system_account": system.public}
    return encode_token(root, root.public, "heed", nats, now=now)


def _account(root: NatsKey, account: NatsKey, name: str, more: Mapping[str, Any], now: int) -> str:
    limits = {**_UNLIMITED, **more.get("limits", {})}
    nats = {"type": "account", "version": CLAIMS_VERSION, **more, "limits": limits}
    return encode_token(root, account.public, name, nats, now=now)


def _exporting() -> dict[str, Any]:
    subject = names.STREAM_SUBJECTS[0]
    return {
        "limits": _JETSTREAM,
        "exports": [{"name": "heed", "subject": subject, "type": "service", "token_req": True}],
    }


def _importing(streams: NatsKey, clients: NatsKey, now: int) -> dict[str, Any]:
    subject = names.STREAM_SUBJECTS[0]
    activation = {"type": "activation", "version": CLAIMS_VERSION, "subject": subject, "kind": "service"}
    imported = {
        "name": "heed",
        "subject": subject,
        "account": streams.public,
        "token": encode_token(streams, clients.public, "heed", activation, now=now),
        "type": "service",
    }
    return {"imports": [imported]}


def _configuration(operator: str, system: str, jwts: Mapping[str, str]) -> str:
    """The part of nats-server's configuration with operator, accounts and resolver, for an `include`."""
    accounts = "".join(f"  {account}: {jwt}\n" for account, jwt in jwts.items())
    return f"operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{accounts}}}\n"
