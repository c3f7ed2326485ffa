"""What a worker gets to talk to the broker with: its URL, and credentials where the broker asks for some."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heed import names
from heed.bus.auth.accounts import WORKERS_SEED
from heed.bus.auth.jwt import SubjectPermissions, UserSigner
from heed.bus.auth.signing_key import read_signing_key
from heed.bus.client.addresses import public_url
from heed.core.effects import AgentRef
from heed.settings import DEFAULT_NATS_URL, Settings

DEFAULT_LIFETIME_S: Final = 30 * 24 * 3600
MAX_WORKER_SUBSCRIPTIONS: Final = 32  # of one worker at a time
REPLY_LIFETIME_S: Final = 60  # in which a decide request may be answered; Heed waits for half of it
KEYS_WITHOUT_WORKERS: Final = (
    "the broker's keys were made by an earlier release, whose accounts have no place for workers; "
    "make new keys, as docs/broker-security.md says"
)


@dataclass(frozen=True, slots=True)
class WorkerCredentials:
    """The broker's URL for workers, and what signs their credentials; without it they get none from Heed.

    `missing` says why there is no signer, and what to do, where workers cannot log in without one; else it is None.
    `image` is Heed's own, of the workers that make the calls of Agents without code; None: they are run elsewhere.
    """

    url: str = DEFAULT_NATS_URL
    signer: UserSigner | None = None
    lifetime: int = DEFAULT_LIFETIME_S  # seconds
    missing: str | None = None
    image: str | None = None

    @classmethod
    def of(cls, settings: Settings, keys: Mapping[str, str] | None = None) -> "WorkerCredentials":
        """From the settings; `keys` are a broker's own (see accounts.KEY_FILES). Raises InvalidSettings."""
        url = settings.task_nats_url or public_url(settings.nats_url)
        signer, missing = _find_signer(settings, keys)
        return cls(url, signer, settings.worker_credentials_lifetime, missing, settings.worker_image)

    def credentials(self, agent: AgentRef, *, now: int) -> str:
        """A .creds file for the workers of an Agent, valid from `now` (Unix time) for `lifetime`. Secret."""
        assert self.signer is not None
        grants = worker_permissions(agent.namespace, agent.name)
        return self.signer.credentials(f"worker {agent}", grants, now=now, lifetime=self.lifetime)


def worker_permissions(namespace: str, agent: str) -> SubjectPermissions:
    """A worker may answer for its Agent, take its work and say how that goes; nothing of any other Agent.

    A user of the workers' account, which passes on no more than that to the account of the streams.
    """
    consumers = [
        f"{names.WORK_STREAM}.{names.work_consumer(namespace, pool)}"
        for pool in (agent, names.call_pool(agent))
    ]
    said = (
        names.task_subject(namespace, agent, "*", type_)
        for type_ in (names.TASK_DONE, names.TASK_PROGRESS, names.TASK_TURN)
    )
    transcripts = names.transcript_subject(namespace, agent, ">")
    return SubjectPermissions(
        publish=(
            *said,
            transcripts,
            f"$JS.API.DIRECT.GET.{names.TRANSCRIPT_STREAM}.{transcripts}",
            *(f"$JS.API.CONSUMER.MSG.NEXT.{consumer}" for consumer in consumers),
            *(f"$JS.ACK.{consumer}.>" for consumer in consumers),
        ),
        subscribe=(
            names.decide_subject(namespace, agent, "*"),
            names.stop_subject(namespace, agent, "*"),
            f"{names.worker_inbox(namespace, agent)}.>",
        ),
        subscriptions=MAX_WORKER_SUBSCRIPTIONS,
        replies=1,
        reply_lifetime=REPLY_LIFETIME_S,
    )


def _find_signer(settings: Settings, keys: Mapping[str, str] | None) -> tuple[UserSigner | None, str | None]:
    if keys is not None:
        seed = keys.get(WORKERS_SEED)
        return (None, KEYS_WITHOUT_WORKERS) if seed is None else (UserSigner.of(seed), None)
    if settings.nats_worker_signing_key is None:
        return None, None
    path = Path(settings.nats_worker_signing_key)
    if not path.exists():  # the chart names a file that a Secret of an earlier release does not have
        return None, f"HEED_NATS_WORKER_SIGNING_KEY={path}: there is no such file; {KEYS_WITHOUT_WORKERS}"
    variables = ("HEED_NATS_WORKER_SIGNING_KEY", "HEED_NATS_WORKER_ACCOUNT")
    return read_signing_key(path, settings.nats_worker_account, variables), None
