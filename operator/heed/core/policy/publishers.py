"""Who may send events to Agents through the gateway, by the AgentPolicies of the namespace.

As with every aspect of an AgentPolicy, what one names is restricted to what any of them allows. Where none names
publishers, the service accounts of the namespace itself may publish, since who runs there is let in already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from heed.api.policy import AgentPolicy, AllowedPublisher
from heed.core.type_patterns import matches

ACCOUNT_USER_PREFIX: Final = "system:serviceaccount:"
ACCOUNTS_GROUP_PREFIX: Final = "system:serviceaccounts:"
ALL_TYPES: Final = (">",)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes: user and groups as the API server knows them."""

    user: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PublishingRule:
    """One user or one group, and patterns of the types that they may publish."""

    types: tuple[str, ...]
    user: str | None = None
    group: str | None = None

    def concerns(self, publisher: Publisher) -> bool:
        """Whether the publisher is meant."""
        return self.user == publisher.user if self.user is not None else self.group in publisher.groups


@dataclass(frozen=True, slots=True)
class PublishingRules:
    """All rules for one address: a namespace, or an Agent. `policies` are those that say so; none: the default."""

    rules: tuple[PublishingRule, ...]
    policies: tuple[str, ...] = ()

    def refusal(self, publisher: Publisher) -> str | None:
        """Why the publisher may publish nothing at all here, or None."""
        if any(rule.concerns(publisher) and rule.types for rule in self.rules):
            return None
        return f"{publisher.user} may not publish here: {self._reason()}"

    def type_refusal(self, publisher: Publisher, type_: str) -> str | None:
        """Why the publisher may not publish this type here, or None."""
        allowed = (pattern for rule in self.rules if rule.concerns(publisher) for pattern in rule.types)
        if any(matches(pattern, type_) for pattern in allowed):
            return None
        return f"{publisher.user} may not publish {type_} here: {self._reason()}"

    def _reason(self) -> str:
        if not self.policies:
            return "only service accounts of the namespace may, where no AgentPolicy names others in spec.publishers"
        allow = "AgentPolicies {} do" if len(self.policies) > 1 else "AgentPolicy {} does"
        return f"{allow.format(', '.join(self.policies))} not name them for it in spec.publishers"


def publishing_rules(
    namespace: str, policies: Iterable[AgentPolicy], labels: Mapping[str, str] | None = None
) -> PublishingRules:
    """The rules for an Agent with these labels; without, for broadcast events of the namespace.

    Broadcast events reach all Agents of a namespace: for them those policies count that select all Agents. `policies`
    may be of other namespaces, too; one that cannot be read is to come as `closed_policy`.
    """
    counting = sorted(
        (item for item in policies if item.metadata.namespace == namespace and _counts(item, labels)),
        key=lambda item: item.metadata.name,
    )
    if not counting:
        return PublishingRules((PublishingRule(ALL_TYPES, group=ACCOUNTS_GROUP_PREFIX + namespace),))
    rules = [_rule(publisher, namespace) for item in counting for publisher in _publishers(item)]
    names = tuple(f"{item.metadata.namespace}/{item.metadata.name}" for item in counting)
    return PublishingRules(tuple(dict.fromkeys(rules)), names)


def _counts(policy: AgentPolicy, labels: Mapping[str, str] | None) -> bool:
    selector = policy.spec.agent_selector
    if policy.spec.publishers is None:
        return False
    if labels is None:
        return selector.selects_all
    return selector.selects(labels)


def _publishers(policy: AgentPolicy) -> Sequence[AllowedPublisher]:
    return policy.spec.publishers or ()


def _rule(allowed: AllowedPublisher, namespace: str) -> PublishingRule:
    types = ALL_TYPES if allowed.types is None else tuple(allowed.types)
    if (account := allowed.service_account) is not None:
        user = f"{ACCOUNT_USER_PREFIX}{account.namespace or namespace}:{account.name}"
        return PublishingRule(types, user=user)
    return PublishingRule(types, user=allowed.user, group=allowed.group)
