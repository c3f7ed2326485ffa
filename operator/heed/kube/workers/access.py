"""What workers get to talk to the broker with."""

from dataclasses import dataclass
from typing import Protocol

from heed.bus.auth.jwt import UserSigner
from heed.core.effects import AgentRef
from heed.settings import DEFAULT_NATS_URL


class WorkerAccess(Protocol):
    """The broker's URL, and what makes credentials for the worker of an Agent; without a signer they need none."""

    @property
    def url(self) -> str:
        """The broker as pods see it."""

    @property
    def signer(self) -> UserSigner | None:
        """What signs credentials."""

    @property
    def lifetime(self) -> int:
        """Seconds for which credentials are good."""

    def credentials(self, agent: AgentRef, digest: str) -> str:
        """A .creds file for workers of one Agent's code. Secret."""


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """A broker that asks workers for nothing."""

    url: str = DEFAULT_NATS_URL
    signer: UserSigner | None = None
    lifetime: int = 24 * 3600

    def credentials(self, agent: AgentRef, digest: str) -> str:
        """None are needed."""
        raise NotImplementedError
