"""The broker's accounts, and the users that an installation begins with: all that nats-server needs for JWT mode.

There are three accounts. The streams live in one, where only Heed and those who run it have users. Publishers and Jobs
have theirs in the second one, which may ask the first one to store messages (a service import), and nothing else.
Workers have theirs in the third one: they answer the first one's requests, take work items, and tell of tasks.

That is not for tidiness. The server confirms each stored message with a message of its own, which the permissions of
the publisher do not bound, and which in the streams' own account could be stored, too. From the other account
confirmations come back to that account, where no stream listens, and are not handed on by the import a second time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.bus.auth.jwt import CLAIMS_VERSION, NatsKey, SubjectPermissions, UserSigner, encode_token

AUTH_CONF: Final = "auth.conf"
ACCOUNT_SEED: Final = "account.seed"
ACCOUNT_PUBLIC: Final = "account.pub"
STREAMS_SEED: Final = "streams.seed"
WORKERS_SEED: Final = "workers.seed"
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
    WORKERS_SEED,
    OPERATOR_CREDS,
    PUBLISHER_CREDS,
    ADMIN_CREDS,
    GATEWAY_CREDS,
    SUBSCRIPTIONS_CREDS,
)
ADDED_FILES: Final = frozenset((GATEWAY_CREDS, SUBSCRIPTIONS_CREDS))  # see `add_later_files`
# Which keys made by an earlier release lack. An account cannot be added: who could sign it was discarded.
LATER_FILES: Final = ADDED_FILES | {WORKERS_SEED}

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

_DECISIONS: Final = "heed-decide.>"
_CANCELLATIONS: Final = "heed-stop.>"
_WORK: Final = (  # what passes between the operator and workers
    _DECISIONS,
    _CANCELLATIONS,
    names.WORK_STREAM_SUBJECTS[0],
    f"$JS.API.STREAM.CREATE.{names.WORK_STREAM}",
    f"$JS.API.STREAM.MSG.GET.{names.WORK_STREAM}",
    f"$JS.API.STREAM.PURGE.{names.WORK_STREAM}",
    f"$JS.API.CONSUMER.DURABLE.CREATE.{names.WORK_STREAM}.*",
    f"$JS.API.STREAM.CREATE.{names.TRANSCRIPT_STREAM}",
)

# What `heed operator` does, and no more. The streams are made, never changed or deleted.
OPERATOR_PERMISSIONS: Final = SubjectPermissions(
    publish=(
        "heed.events.>",
        "heed.inbox.>",
        f"{names.DEAD_STREAM_SUBJECTS[0]}",
        *_WORK,
        *(f"$JS.API.STREAM.CREATE.{stream}" for stream in _STREAMS),
        *("$JS.API." + item.format(stream) for stream in _STREAMS for item in _READING),
    ),
    subscribe=(f"{names.INBOX_PREFIX}.>", names.task_subject("*", "*", "*", names.TASK_DONE)),
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
    workers = NatsKey.new("account")
    passed = passed_subjects(streams, clients, workers)
    jwts = {
        system.public: _account(root, system, "SYS", {}, now),
        streams.public: _account(
            root, streams, "HEED", _claims(passed, streams, now, limits=_JETSTREAM), now
        ),
        clients.public: _account(root, clients, "HEED_CLIENTS", _claims(passed, clients, now), now),
        workers.public: _account(root, workers, "HEED_WORKERS", _claims(passed, workers, now), now),
    }
    heed, tenants = UserSigner(streams), UserSigner(clients)
    return {
        AUTH_CONF: _configuration(_operator(root, system, now), system.public, jwts),
        ACCOUNT_SEED: clients.seed + "\n",
        ACCOUNT_PUBLIC: clients.public,
        STREAMS_SEED: streams.seed + "\n",
        WORKERS_SEED: workers.seed + "\n",
        OPERATOR_CREDS: heed.credentials("heed-operator", OPERATOR_PERMISSIONS, now=now, lifetime=None),
        ADMIN_CREDS: heed.credentials("heed-admin", ADMIN_PERMISSIONS, now=now, lifetime=None),
        PUBLISHER_CREDS: tenants.credentials("publisher", publisher_permissions(), now=now, lifetime=None),
        GATEWAY_CREDS: _gateway_credentials(tenants, now),
        SUBSCRIPTIONS_CREDS: _subscriptions_credentials(heed, now),
    }


def add_later_files(keys: Mapping[str, str], now: int) -> Mapping[str, str]:
    """What keys of an earlier release lack (ADDED_FILES), made with their own account seeds; empty for others."""
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


@dataclass(frozen=True, slots=True)
class PassedSubject:
    """A service of one account (`of`) that another one (`to`) may use: requests go there, replies come back."""

    name: str
    subject: str
    of: NatsKey
    to: NatsKey
    streamed: bool = False  # a request may have several replies
    part: bool = False  # of what is offered already: offers may not overlap


def passed_subjects(streams: NatsKey, clients: NatsKey, workers: NatsKey) -> tuple[PassedSubject, ...]:
    """All that passes between the accounts."""
    work, transcripts = names.WORK_STREAM, names.TRANSCRIPT_STREAM
    done, progress, turns = (
        names.task_subject("*", "*", "*", type_)
        for type_ in (names.TASK_DONE, names.TASK_PROGRESS, names.TASK_TURN)
    )
    return (
        PassedSubject("heed", names.STREAM_SUBJECTS[0], streams, clients),
        PassedSubject("task ends", done, streams, workers, part=True),
        PassedSubject("task progress", progress, streams, workers, part=True),
        PassedSubject("task turns", turns, streams, workers, part=True),
        PassedSubject("transcripts", names.TRANSCRIPT_STREAM_SUBJECTS[0], streams, workers),
        PassedSubject("transcripts read", f"$JS.API.DIRECT.GET.{transcripts}.>", streams, workers),
        PassedSubject("work", f"$JS.API.CONSUMER.MSG.NEXT.{work}.*", streams, workers, streamed=True),
        PassedSubject("work done", f"$JS.ACK.{work}.>", streams, workers),
        PassedSubject("decisions", _DECISIONS, workers, streams),
        PassedSubject("cancellations", _CANCELLATIONS, workers, streams),
    )


def _claims(
    passed: Iterable[PassedSubject], account: NatsKey, now: int, limits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What an account offers to others and uses of them."""
    exports = [_export(item) for item in passed if item.of is account and not item.part]
    imports = [_import(item, now) for item in passed if item.to is account]
    found = {"limits": limits or {}, "exports": exports, "imports": imports}
    return {name: value for name, value in found.items() if value}


def _export(item: PassedSubject) -> dict[str, Any]:
    export = {"name": item.name, "subject": item.subject, "type": "service", "token_req": True}
    return {**export, "response_type": "Stream"} if item.streamed else export


def _import(item: PassedSubject, now: int) -> dict[str, Any]:
    activation = {"type": "activation", "version": CLAIMS_VERSION, "subject": item.subject, "kind": "service"}
    return {
        "name": item.name,
        "subject": item.subject,
        "account": item.of.public,
        "token": encode_token(item.of, item.to.public, item.name, activation, now=now),
        "type": "service",
    }


def _configuration(operator: str, system: str, jwts: Mapping[str, str]) -> str:
    """The part of nats-server's configuration with operator, accounts and resolver, for an `include`."""
    accounts = "".join(f"  {account}: {jwt}\n" for account, jwt in jwts.items())
    return f"operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{accounts}}}\n"
