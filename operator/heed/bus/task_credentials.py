"""What a Job gets to talk to the broker with: where it is, and, where the broker asks for that, who the Job is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heed import names
from heed.bus.auth import accounts
from heed.bus.auth.jwt import SubjectPermissions, UserSigner
from heed.bus.auth.signing_key import read_signing_key
from heed.bus.client.addresses import public_url
from heed.core.effects import TaskWork
from heed.settings import DEFAULT_NATS_URL, Settings
from heed.util.clock import unix_time

CREDENTIALS_GRACE_S = (
    300  # seconds that credentials outlive their task: for what is said last, and clocks that differ
)
MAX_JOB_SUBSCRIPTIONS = 32  # of one Job at a time


@dataclass(frozen=True, slots=True)
class TaskCredentials:
    """The broker's URL for Jobs, and what signs their credentials; without it they need none, or get none from us."""

    url: str = DEFAULT_NATS_URL
    signer: UserSigner | None = None
    lifetime: int = 24 * 3600  # seconds, of tasks without a timeout

    @classmethod
    def of(cls, settings: Settings, keys: Mapping[str, str] | None = None) -> "TaskCredentials":
        """From the settings; `keys` are a broker's own (see accounts.KEY_FILES). Raises InvalidSettings."""
        url = settings.task_nats_url or public_url(settings.nats_url)
        return cls(url, _signer(settings, keys), settings.credentials_lifetime)

    def credentials(self, work: TaskWork) -> str:
        """A .creds file of the Job's own, valid for its task's timeout and a grace, or for `lifetime`. Secret."""
        assert self.signer is not None
        lifetime = self.lifetime if work.timeout is None else work.timeout + CREDENTIALS_GRACE_S
        name = f"job {work.agent}/{work.attempt_id}"
        return self.signer.credentials(name, task_permissions(work), now=int(unix_time()), lifetime=lifetime)


def task_permissions(work: TaskWork) -> SubjectPermissions:
    """A Job may say how its task goes and what came of it, and broadcast what its Agent may emit; nothing else."""
    agent = work.agent
    said = (
        names.task_subject(agent.namespace, agent.name, work.attempt_id, type_)
        for type_ in (names.TASK_PROGRESS, names.TASK_RESULT)
    )
    events = (
        names.event_subject(agent.namespace, pattern)
        for pattern in work.publish or ()
        if names.is_pattern(pattern)
    )
    return SubjectPermissions(
        publish=(*said, *events),
        deny=accounts.reserved_subjects(agent.namespace),
        subscribe=(f"{names.task_inbox(agent.namespace, agent.name, work.attempt_id)}.>",),
        subscriptions=MAX_JOB_SUBSCRIPTIONS,
    )


def _signer(settings: Settings, keys: Mapping[str, str] | None) -> UserSigner | None:
    if keys is not None:
        return UserSigner.of(keys[accounts.ACCOUNT_SEED], keys[accounts.ACCOUNT_PUBLIC])
    if settings.nats_signing_key is None:
        return None
    variables = ("HEED_NATS_SIGNING_KEY", "HEED_NATS_ACCOUNT")
    return read_signing_key(Path(settings.nats_signing_key), settings.nats_account, variables)
