"""What EventSources of a namespace may publish, and its Subscriptions deliver, by the AgentPolicies there.

Both are for the namespace as a whole, so only policies count that select all Agents.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heed.api.policy import AgentPolicy
from heed.core.policy.permissions import AllowList, unite_allowed
from heed.core.type_patterns import covers, matches


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """Patterns of types, for each direction. An aspect that is None is not restricted."""

    event_sources: AllowList | None = None
    deliveries: AllowList | None = None

    def publishing_problem(self, type_: str) -> str | None:
        """Why an EventSource may not publish events of a type, or None where it may."""
        aspect = self.event_sources
        if aspect is None or any(matches(pattern, type_) for pattern in aspect.allowed):
            return None
        return aspect.refusal(f"event {type_} of an EventSource (spec.eventSources)")

    def delivery_problem(self, pattern: str) -> str | None:
        """Why a Subscription may not deliver all events of a pattern, or None where it may."""
        aspect = self.deliveries
        if aspect is None or any(covers(allowed, pattern) for allowed in aspect.allowed):
            return None
        return aspect.refusal(f"delivery of {pattern} by a Subscription (spec.deliveries)")


NO_RULES: Final = GatewayRules()
POLICY_REMEDY: Final = "change it, or ask who may change the policy"


def resolve_gateway_rules(namespace: str, policies: Iterable[AgentPolicy]) -> GatewayRules:
    """The rules of a namespace. `policies` may be of others, too; an unreadable one is to come as `closed_policy`."""
    counting = sorted(
        (
            item
            for item in policies
            if item.metadata.namespace == namespace and item.spec.agent_selector.selects_all
        ),
        key=lambda item: item.metadata.name,
    )
    return GatewayRules(
        unite_allowed(counting, lambda spec: spec.event_sources, lambda item: item.type),
        unite_allowed(counting, lambda spec: spec.deliveries, lambda item: item.type),
    )
