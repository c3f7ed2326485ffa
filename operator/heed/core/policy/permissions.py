"""What one Agent may do: all policies that select it and all grants to its namespace, compiled into one value.

The semantics are those of NetworkPolicy, aspect by aspect: what no policy names is open; what one names is restricted
to what any of them allows. Permissions are plain data: they can be compared, and sent to another process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.api.agent import AgentMetadata
from heed.api.event_grant import EventGrant
from heed.api.fields import parse_duration
from heed.api.policy import AgentPolicy, PolicyLimits
from heed.core.policy.egress import Egress, EgressRule, parse_authority
from heed.core.policy.pod_rules import (
    find_pod,
    glob_matches,
    holds_expression,
    pod_images,
    pod_service_accounts,
)
from heed.core.type_patterns import covers, matches

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class VisibleEvents:
    """Events of a namespace: those whose type matches a pattern."""

    namespace: str
    pattern: str

    def covers(self, namespace: str, pattern: str) -> bool:
        """Whether all that a subscription would see is among them."""
        return self.namespace == namespace and covers(self.pattern, pattern)

    def __str__(self) -> str:
        return f"{self.pattern} of {self.namespace}"


@dataclass(frozen=True, slots=True)
class CreatableKind:
    """A kind of objects that resource tasks may create."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


@dataclass(frozen=True, slots=True)
class AllowList:
    """One thing that policies restrict: what they allow of it, and who they are (`demo/strict`)."""

    allowed: tuple[Any, ...]
    policies: tuple[str, ...]

    def refusal(self, what: str) -> str:
        """Why `what` is refused, in a sentence that names the policies."""
        shown = [str(item) for item in self.allowed[:_SHOWN]]
        more = f" and {len(self.allowed) - _SHOWN} more" if len(self.allowed) > _SHOWN else ""
        allowed = ", ".join(shown) + more if shown else "nothing"
        return f"{_named(self.policies)} no {what}; allowed: {allowed}"


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that there may be of something, and the policies that say so."""

    most: int
    policies: tuple[str, ...]

    def refusal(self, what: str) -> str:
        """Why there may not be more."""
        return f"{_named(self.policies)} at most {self.most} {what}"


@dataclass(frozen=True, slots=True)
class ShortestPeriod:
    """The shortest time that may be between two ticks of a timer, in seconds, and the policies that say so."""

    seconds: int
    policies: tuple[str, ...]

    def refusal(self, period: int) -> str:
        """Why there may not be ticks that are closer."""
        return (
            f"{_named(self.policies)} no ticks within {self.seconds} s of each other (limits.minTimerPeriod); "
            f"it has some that are {period} s apart"
        )


@dataclass(frozen=True, slots=True)
class ModelQuota:
    """What a policy allows calls of models to take on a day. `cost` is an amount as the policy has it."""

    policy: str
    tokens: int | None = None
    cost: str | None = None
    turns: int | None = None
    tool_calls: int | None = None


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much there may be; None is as much as there is room for."""

    sessions: Quota | None = None
    pending_tasks: Quota | None = None
    tasks_per_minute: Quota | None = None
    hops: Quota | None = None
    timers: Quota | None = None
    timer_period: ShortestPeriod | None = None
    models: tuple[ModelQuota, ...] = ()


NO_QUOTAS: Final = Quotas()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What an Agent may do. An aspect that is None is not restricted. `namespace` is the Agent's."""

    namespace: str = ""
    subscriptions: AllowList | None = None  # of VisibleEvents
    emissions: AllowList | None = None  # of patterns
    kinds: AllowList | None = None
    images: AllowList | None = None  # of globs
    service_accounts: AllowList | None = None
    resources: AllowList | None = None  # of CreatableKinds
    egress: AllowList | None = None  # of EgressRules
    limits: Quotas = NO_QUOTAS
    grants: tuple[VisibleEvents, ...] = ()  # of other namespaces, to this one

    def grant_problem(self, pattern: str, namespace: str) -> str | None:
        """Why the Agent may not see these events of another namespace, as far as that is for grants to say."""
        if any(grant.covers(namespace, pattern) for grant in self.grants):
            return None
        granted = [str(grant.pattern) for grant in self.grants if grant.namespace == namespace]
        shown = f"granted: {', '.join(granted[:_SHOWN])}" if granted else "nothing is granted"
        mine = f" to {self.namespace}" if self.namespace else ""
        return f"no EventGrant of namespace {namespace} grants {pattern}{mine}; {shown}"

    def policy_problem(self, pattern: str, namespace: str | None = None) -> str | None:
        """Why the Agent may not subscribe, as far as that is for policies to say. None is its own namespace."""
        namespace = namespace or self.namespace
        aspect = self.subscriptions
        if aspect is None or any(item.covers(namespace, pattern) for item in aspect.allowed):
            return None
        return aspect.refusal(f"subscription to {VisibleEvents(namespace, pattern)}")

    def subscription_problem(self, pattern: str, namespace: str | None = None) -> str | None:
        """Why the Agent may not subscribe to events of a namespace (None: its own), or None where it may."""
        refused = self.policy_problem(pattern, namespace)
        if refused is not None or namespace is None or namespace == self.namespace:
            return refused
        return self.grant_problem(pattern, namespace)

    def emission_problem(self, type_: str) -> str | None:
        """Why the Agent may not emit events of a type, or None where it may."""
        aspect = self.emissions
        if aspect is None or any(matches(pattern, type_) for pattern in aspect.allowed):
            return None
        return aspect.refusal(f"emission of {type_}")

    def declared_emission_problem(self, pattern: str) -> str | None:
        """Why the Agent's code may not declare that it emits all types of a pattern, or None where it may."""
        aspect = self.emissions
        if aspect is None or any(covers(allowed, pattern) for allowed in aspect.allowed):
            return None
        return aspect.refusal(f"emission of {pattern}")

    def publishing_problem(self, patterns: Iterable[str]) -> str | None:
        """Why a task of the Agent may not broadcast all types of these patterns, or None where it may."""
        aspect = self.emissions
        for pattern in patterns:
            if aspect is not None and not any(covers(allowed, pattern) for allowed in aspect.allowed):
                return aspect.refusal(f"emission of {pattern} by a task")
        return None

    def kind_problem(self, kind: str) -> str | None:
        """Why the Agent may not start tasks of a kind, or None where it may."""
        aspect = self.kinds
        return None if aspect is None or kind in aspect.allowed else aspect.refusal(f"task of kind {kind}")

    def resource_problem(self, group: str, kind: str) -> str | None:
        """Why the Agent may not create objects of a kind, or None where it may.

        What pods they lead to is not known: where these are restricted, the kind must be named.
        """
        wanted = CreatableKind(group, kind)
        if self.resources is not None:
            return None if wanted in self.resources.allowed else self.resources.refusal(f"resource {wanted}")
        hidden = next(filter(None, (self.images, self.service_accounts)), None)
        if hidden is None:
            return None
        return (
            f"{_named(hidden.policies)} only some images or service accounts, and what {wanted} runs is not known; "
            "a policy must name it in tasks.resources"
        )

    def egress_rules(self, networks: Sequence[str] = ()) -> Egress:
        """What calls may reach; `networks` are let through for all hosts that they may."""
        if self.egress is None:
            return Egress(networks=tuple(networks))
        return Egress(self.egress.allowed, tuple(networks), self.egress.policies)

    def egress_problem(self, url: Any) -> str | None:
        """Why a call may not go to a URL, by its host and port, or None where it may, or where it is no URL."""
        found = parse_authority(url)
        return None if found is None else self.egress_rules().find_host_refusal(*found)

    def job_problem(self, spec: Mapping[str, Any], *, literal: bool = False) -> str | None:
        """Why a Job of this JobSpec may not be started, or None where it may.

        With `literal`, it is a template: what depends on expressions is passed over, and to be asked again.
        """
        if self.images is None and self.service_accounts is None:
            return None
        return next(self._job_problems(spec, literal), None)

    def _job_problems(self, spec: Mapping[str, Any], literal: bool) -> Iterator[str]:
        pod = find_pod(spec)
        checks = (
            (self.images, "image", glob_matches, pod_images(pod)),
            (self.service_accounts, "service account", str.__eq__, pod_service_accounts(pod)),
        )
        for aspect, noun, allows, found in checks:
            if aspect is None:
                continue
            for value in found:
                if literal and holds_expression(value):
                    continue
                if not (isinstance(value, str) and any(allows(item, value) for item in aspect.allowed)):
                    yield aspect.refusal(f"{noun} {value if isinstance(value, str) else 'that is no string'}")


UNRESTRICTED: Final = Permissions()


def resolve_permissions(
    agent: AgentMetadata, policies: Iterable[AgentPolicy], grants: Iterable[EventGrant] = ()
) -> Permissions:
    """What an Agent may do by the policies of its namespace that select it, and the grants of others to it.

    `policies` and `grants` may be more than concern it. A policy that cannot be read is to come as `closed_policy`.
    """
    selecting = sorted(
        (
            item
            for item in policies
            if item.metadata.namespace == agent.namespace and item.spec.agent_selector.selects(agent.labels)
        ),
        key=lambda item: item.metadata.name,
    )
    own = agent.namespace
    return Permissions(
        namespace=own,
        subscriptions=unite_allowed(
            selecting,
            lambda spec: spec.subscriptions,
            lambda item: VisibleEvents(item.namespace or own, item.type),
        ),
        emissions=unite_allowed(selecting, lambda spec: spec.emissions, lambda item: item.type),
        kinds=unite_allowed(selecting, lambda spec: spec.tasks and spec.tasks.kinds),
        images=unite_allowed(selecting, lambda spec: spec.tasks and spec.tasks.images),
        service_accounts=unite_allowed(selecting, lambda spec: spec.tasks and spec.tasks.service_accounts),
        resources=unite_allowed(
            selecting,
            lambda spec: spec.tasks and spec.tasks.resources,
            lambda item: CreatableKind(item.group, item.kind),
        ),
        egress=unite_allowed(
            selecting,
            lambda spec: spec.egress,
            lambda item: EgressRule(item.host, tuple(item.ports), tuple(item.networks)),
        ),
        limits=Quotas(
            sessions=_cap(selecting, lambda limits: limits.sessions),
            pending_tasks=_cap(selecting, lambda limits: limits.pending_tasks),
            tasks_per_minute=_cap(selecting, lambda limits: limits.tasks_per_minute),
            hops=_cap(selecting, lambda limits: limits.hops),
            timers=_cap(selecting, lambda limits: limits.timers),
            timer_period=_shortest_period(selecting),
            models=tuple(_model_quotas(selecting)),
        ),
        grants=tuple(_granted(own, grants)),
    )


def unite_allowed(
    policies: Sequence[AgentPolicy],
    field: Callable[[Any], Sequence[Any] | None],
    item: Callable[[Any], Any] = str,
) -> AllowList | None:
    """The union of what the policies that have a field allow; None where none has it."""
    having = [policy for policy in policies if field(policy.spec) is not None]
    if not having:
        return None
    allowed = dict.fromkeys(item(each) for policy in having for each in field(policy.spec) or ())
    return AllowList(tuple(allowed), tuple(map(_name, having)))


def _model_quotas(policies: Sequence[AgentPolicy]) -> Iterator[ModelQuota]:
    for policy in policies:
        limits = None if policy.spec.limits is None else policy.spec.limits.model
        if limits is not None:
            yield ModelQuota(
                _name(policy),
                limits.tokens_per_day,
                limits.cost_per_day,
                limits.turns_per_day,
                limits.tool_calls_per_day,
            )


def _cap(policies: Sequence[AgentPolicy], field: Callable[[PolicyLimits], int | None]) -> Quota | None:
    """The largest of a limit, where one is set."""
    found = {
        _name(policy): most
        for policy in policies
        if policy.spec.limits is not None and (most := field(policy.spec.limits)) is not None
    }
    if not found:
        return None
    most = max(found.values())
    return Quota(most, tuple(name for name, limit in found.items() if limit == most))


def _shortest_period(policies: Sequence[AgentPolicy]) -> ShortestPeriod | None:
    """The shortest of the shortest periods, where one is set."""
    found = {
        _name(policy): parse_duration(period)
        for policy in policies
        if policy.spec.limits is not None and (period := policy.spec.limits.min_timer_period) is not None
    }
    if not found:
        return None
    least = min(found.values())
    return ShortestPeriod(least, tuple(name for name, seconds in found.items() if seconds == least))


def _granted(namespace: str, grants: Iterable[EventGrant]) -> list[VisibleEvents]:
    """What other namespaces grant to this one, in an order of its own."""
    found = {
        VisibleEvents(grant.metadata.namespace, type_)
        for grant in grants
        if any(item.namespace == namespace for item in grant.spec.from_)
        for type_ in grant.spec.types
    }
    return sorted(found, key=lambda item: (item.namespace, item.pattern))


def _name(policy: AgentPolicy) -> str:
    return f"{policy.metadata.namespace}/{policy.metadata.name}"


def _named(policies: Sequence[str]) -> str:
    """The beginning of a sentence about what policies allow."""
    if len(policies) == 1:
        return f"{names.AGENT_POLICY} {policies[0]} allows"
    return f"AgentPolicies {', '.join(policies)} allow"
