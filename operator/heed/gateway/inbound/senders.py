"""Senders of events: who they are, by which means, and what they may publish where."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from heed.api.policy import AgentPolicy
from heed.core.policy.publishers import Publisher, PublishingRules, publishing_rules
from heed.core.type_patterns import matches

ANY_NAMESPACE = "*"


@dataclass(frozen=True, slots=True)
class EventAddress:
    """Where events are sent: a namespace, or one Agent, whose labels are known where it exists."""

    namespace: str
    agent: str | None = None
    labels: Mapping[str, str] | None = None


class Sender(Protocol):
    """A sender. `name` is for rate limits and logs."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def refusal(self, address: EventAddress) -> str | None:
        """Why it may publish nothing at all there, or None."""
        ...

    def type_refusal(self, address: EventAddress, type_: str) -> str | None:
        """Why it may not publish events of this type there, or None."""
        ...


class Authenticator(Protocol):
    """Tells who sends a request."""

    async def authenticate(self, request: web.Request) -> Sender:
        """The sender. Raises RequestRefused."""
        ...


@dataclass(frozen=True, slots=True)
class AnonymousSender:
    """A sender that reaches `heed dev` on this machine: it may publish everything."""

    name: str = "anonymous"

    def refusal(self, address: EventAddress) -> str | None:
        """None."""
        return None

    def type_refusal(self, address: EventAddress, type_: str) -> str | None:
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class TokenSender:
    """A sender with a token of its own, which says what it may publish. Policies of namespaces do not bind it."""

    name: str
    namespaces: tuple[str, ...]  # or ANY_NAMESPACE
    types: tuple[str, ...]  # patterns

    def refusal(self, address: EventAddress) -> str | None:
        """Why it may publish nothing at all there, or None."""
        if address.namespace in self.namespaces or ANY_NAMESPACE in self.namespaces:
            return None
        return f"the token of {self.name} is not for namespace {address.namespace}"

    def type_refusal(self, address: EventAddress, type_: str) -> str | None:
        """Why it may not publish events of this type there, or None."""
        if any(matches(pattern, type_) for pattern in self.types):
            return self.refusal(address)
        return f"the token of {self.name} is not for events of type {type_}"


@dataclass(frozen=True, slots=True)
class ClusterSender:
    """A sender that the API server knows, whom the AgentPolicies of a namespace let publish. `policies` gives those."""

    publisher: Publisher
    policies: Callable[[str], Iterable[AgentPolicy]]

    @property
    def name(self) -> str:
        """The user."""
        return self.publisher.user

    def refusal(self, address: EventAddress) -> str | None:
        """Why it may publish nothing at all there, or None."""
        return self._rules(address).refusal(self.publisher)

    def type_refusal(self, address: EventAddress, type_: str) -> str | None:
        """Why it may not publish events of this type there, or None."""
        return self._rules(address).type_refusal(self.publisher, type_)

    def _rules(self, address: EventAddress) -> PublishingRules:
        return publishing_rules(address.namespace, self.policies(address.namespace), address.labels)
