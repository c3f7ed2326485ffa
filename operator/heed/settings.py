"""Settings of a Heed process, read once from the environment in the composition root."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from heed.core.policy.addresses import parse_networks
from heed.errors import InvalidSettings

DEFAULT_NATS_URL = "nats://127.0.0.1:4222"
_AT_LEAST_ONE = frozenset(
    (
        "commit_rate",
        "commit_burst",
        "operator_commit_rate",
        "operator_commit_burst",
        "status_budget",
        "batch",
        "outbox_limit",
        "read_ahead",
        "decision_memory",
        "decision_cpu",
        "credentials_lifetime",
        "worker_credentials_lifetime",
        "replicas",
        "max_connections",
        "body_memory",
    )
)

_GROUPS = frozenset(("stream", "gateway"))  # settings with a prefix of their own
_EMPTY_IS_NONE = frozenset(("lease", "audience"))  # elsewhere the default stays


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Limits of the stream of events. Zero means no limit; ages are in seconds."""

    max_bytes: int = 1024**3
    max_age: int = 7 * 24 * 3600
    replicas: int = 1
    duplicate_window: int = 120
    dead_max_bytes: int = 256 * 1024**2
    dead_max_age: int = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Settings of `heed gateway`. Times are in seconds, sizes in bytes; a rate of zero is no limit."""

    url: str | None = None  # under which senders reach it: what Agents say as their address
    port: int = 8090
    certificate: str | None = None  # path of a folder with tls.crt and tls.key; none: plain HTTP
    audience: str | None = "heed"  # of the service account tokens that are taken; none: no such tokens
    tokens: str | None = None  # path of a folder with a file for each sender with a token of its own
    allowed_origins: str | None = None  # who may register it as a web hook: host names by commas, or *
    max_connections: int = 1000
    body_memory: int = 32 * 1024**2  # bytes of bodies held at a time, of all requests together
    body_timeout: int = 10  # for a body to come whole
    keepalive_timeout: int = 30  # for the next request's headers to come whole
    drain: int = 5  # goes on accepting requests for so long once it is told to stop, and is not ready
    sender_rate: int = 200  # events per second of one sender
    sender_burst: int = 1000
    subscriptions: int = 1  # 0: no events are delivered to Subscriptions
    subscriptions_credentials: str | None = None  # path of a .creds file that may read events; none: the same
    sink_networks: str | None = None  # networks of sinks that would be refused: loopback, link-local
    link_keys: str | None = None  # path of a folder with the keys of approval links
    link_secret: str | None = (
        None  # instead, a Secret of its namespace that it fills; neither: there are no links
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Rates and budgets are in bytes per second and bytes."""

    nats_url: str = field(default=DEFAULT_NATS_URL, repr=False)  # which may hold a password
    nats_credentials: str | None = None  # path of a .creds file
    nats_user: str | None = None
    nats_password: str | None = field(default=None, repr=False)
    nats_password_file: str | None = None  # instead, read again at every connect
    nats_token: str | None = field(default=None, repr=False)
    nats_token_file: str | None = None  # instead, read again at every connect
    nats_nkey: str | None = None  # path of the seed of a user's NKey
    nats_domain: str | None = None  # of JetStream, where it is another one than the broker's own
    nats_ca: str | None = None  # path of a CA certificate
    nats_cert: str | None = None  # path of our own certificate, for brokers that ask for one
    nats_key: str | None = None  # path of its key
    nats_signing_key: str | None = None  # path of the seed that signs the credentials of Jobs
    nats_account: str | None = None  # public key of the account that it is a signing key of
    nats_worker_signing_key: str | None = None  # path of the seed that signs the credentials of workers
    nats_worker_account: str | None = None  # public key of the account that it is a signing key of
    nats_keys_secret: str | None = None  # beside the lease: keys that Heed makes itself, instead
    call_networks: str | None = (
        None  # that are not public, and that all calls may reach where policies allow it
    )
    task_nats_url: str | None = None  # of the broker as Jobs see it; else nats_url
    credentials_lifetime: int = 24 * 3600  # seconds, of Jobs without a timeout
    worker_image: str | None = None  # Heed's own, of workers that make calls; none: they are run elsewhere
    worker_credentials_lifetime: int = 30 * 24 * 3600  # seconds, of an Agent's workers
    namespace: str | None = None  # watch one namespace only
    lease: str | None = "heed-operator"  # that replicas compete for; none: one operator, without a standby
    lease_namespace: str | None = None  # the pod's own; outside a cluster `namespace`, or default
    identity: str | None = None  # of this replica: the pod's name; outside a cluster host and process
    log_format: str = "text"  # text | json
    log_level: str = "info"
    health_port: int = 8080  # 0: none
    webhook_port: int = 0  # of validating admission; 0: none
    webhook_secret: str | None = None  # beside the lease; where certificates of Heed's own are kept
    webhook_service: str | None = None  # that the API server calls: what Heed's own certificate is for
    webhook_configuration: str | None = None  # the ValidatingWebhookConfiguration that is to trust it
    webhook_certificate: str | None = None  # path of a folder with tls.crt and tls.key of somebody else
    answer_policy: str | None = None  # the ValidatingAdmissionPolicy that vouches for who answers approvals
    answer_retention: int = 3600  # seconds that an ApprovalAnswer is kept once it is known what became of it
    metrics_port: int = 9090  # 0: none
    commit_rate: int = 512 * 1024  # bytes of status written per second and Agent
    commit_burst: int = 1024 * 1024
    operator_commit_rate: int = 2 * 1024 * 1024  # the same of all Agents together
    operator_commit_burst: int = 16 * 1024 * 1024
    status_budget: int = 1024 * 1024  # most bytes of an Agent's object; what needs more waits
    batch: int = 2000  # most events in one commit
    outbox_limit: int = 2000  # most messages under way before an Agent reads no further
    decision_memory: int = 256 * 1024**2  # most bytes that one costly decision may take
    decision_cpu: int = 2  # most seconds of CPU time that one costly decision may take
    read_ahead: int = (
        64 * 1024**2
    )  # most bytes of events that were read and are not durable, of all Agents together
    stream: StreamSettings = field(default_factory=StreamSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)

    @property
    def call_network_list(self) -> tuple[str, ...]:
        """The networks of `call_networks`. Raises InvalidSettings for what is none."""
        try:
            return tuple(map(str, parse_networks(self.call_networks or "")))
        except ValueError as error:
            raise InvalidSettings(f"HEED_CALL_NETWORKS: {error}; write them as 10.0.0.0/8,fd00::/8") from None

    def local(self, url: str) -> "Settings":
        """The settings for the broker that `heed dev` started at a URL: without credentials, as it has no users."""
        theirs = {item.name: item.default for item in fields(self) if item.name.startswith("nats_")}
        return replace(self, **{**theirs, "nats_url": url})  # type: ignore[arg-type]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Settings from `HEED_<FIELD>`, `HEED_STREAM_<FIELD>` and `HEED_GATEWAY_<FIELD>`.

        Raises InvalidSettings naming the variable.
        """
        variables = os.environ if environment is None else environment
        stream = StreamSettings(**_read(StreamSettings, "HEED_STREAM_", variables))
        gateway = GatewaySettings(**_read(GatewaySettings, "HEED_GATEWAY_", variables))
        return cls(stream=stream, gateway=gateway, **_read(cls, "HEED_", variables))


def _read(model: type, prefix: str, variables: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in fields(model):
        name = prefix + item.name.upper()
        text = variables.get(name)
        if text is None or item.name in _GROUPS:
            continue
        if item.type is int:
            if not text.isdecimal():
                raise InvalidSettings(f"{name}={text!r}: not a whole number; give digits only")
            values[item.name] = int(text)
            if item.name in _AT_LEAST_ONE and values[item.name] == 0:
                raise InvalidSettings(f"{name}=0: nothing would ever be done; give 1 or more")
        elif text or item.default is None or item.name in _EMPTY_IS_NONE:
            values[item.name] = text or None
    return values
