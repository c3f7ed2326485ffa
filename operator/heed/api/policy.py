"""The `AgentPolicy` custom resource, v1alpha1: what the Agents of a namespace, and its gateway, may do."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, ValidationError, model_validator

from heed import names
from heed.api.fields import Duration, Model, Namespace, TypePattern, parse_duration
from heed.api.kube_object import KubeObject, ObjectMeta, parse_object
from heed.api.llm_task import MAX_TOKENS, Money
from heed.api.selectors import LabelSelector

MAX_POLICY_ITEMS: Final = 64
MAX_IMAGE_CHARS: Final = 512
MAX_TIMER_PERIOD_S: Final = 86400
SUBDOMAIN_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
USER_PATTERN: Final = r"^[!-~]+$"
KIND_PATTERN: Final = r"^[A-Z][A-Za-z0-9]*$"
HOST_PATTERN: Final = r"^[-a-z0-9.:_*]+$"


def _within_a_day(value: str) -> str:
    if not 1 <= parse_duration(value) <= MAX_TIMER_PERIOD_S:
        raise ValueError("is not between 1s and 1d; cron expressions are compared by their times of day")
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("is no network; write it as 10.96.0.0/12 or fd00::/8") from None
    return value


TaskKind = Literal["job", "wait", "approval", "resource", "http", "llm"]
ImagePattern = Annotated[str, Field(pattern=r"^\S+$", min_length=1, max_length=MAX_IMAGE_CHARS)]
ServiceAccount = Annotated[str, Field(pattern=SUBDOMAIN_PATTERN, min_length=1, max_length=253)]
UserName = Annotated[str, Field(pattern=USER_PATTERN, min_length=1, max_length=253)]
TimerPeriod = Annotated[Duration, AfterValidator(_within_a_day)]
Limit = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]


class AllowedSubscription(Model):
    """Events that may be subscribed to."""

    type: Annotated[TypePattern, Field(description="NATS pattern; an Agent's pattern must lie within it.")]
    namespace: Annotated[
        Namespace | None, Field(description="The namespace of the events; the policy's own if not given.")
    ] = None


class AllowedEmission(Model):
    """Events that may be emitted."""

    type: Annotated[
        TypePattern, Field(description="NATS pattern that the type of an emitted event must match.")
    ]


class AllowedType(Model):
    """Events that the gateway may take in, or give out."""

    type: Annotated[TypePattern, Field(description="NATS pattern that the type of an event must match.")]


class AllowedResource(Model):
    """A kind of objects that a resource task may create."""

    group: Annotated[
        str,
        Field(
            max_length=253,
            description="The API group, such as argoproj.io; empty for the core group of Pods and ConfigMaps.",
        ),
    ] = ""
    kind: Annotated[
        str, Field(pattern=KIND_PATTERN, max_length=63, description="The kind, such as Workflow.")
    ]


class AllowedTasks(Model):
    """Which tasks may run. An absent list restricts nothing; an empty one allows nothing."""

    kinds: Annotated[
        list[TaskKind] | None, Field(max_length=MAX_POLICY_ITEMS, description="Kinds of tasks, such as job.")
    ] = None
    images: Annotated[
        list[ImagePattern] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="Images of containers and image volumes, as the pod writes them; * stands for any characters.",
        ),
    ] = None
    service_accounts: Annotated[
        list[ServiceAccount] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="ServiceAccounts that pods may run as; one that names none runs as default.",
        ),
    ] = None
    resources: Annotated[
        list[AllowedResource] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="Kinds of objects that resource tasks may create. Where images or serviceAccounts are "
            "restricted, none but those named here: what their pods would be is not known.",
        ),
    ] = None


class AllowedEgress(Model):
    """Hosts that calls of `http` tasks may reach."""

    host: Annotated[
        str,
        Field(
            pattern=HOST_PATTERN,
            min_length=1,
            max_length=253,
            description="The host as the URL has it, such as api.example.com; * stands for any characters.",
        ),
    ]
    ports: Annotated[
        list[Annotated[StrictInt, Field(ge=1, le=65535)]],
        Field(max_length=MAX_POLICY_ITEMS, description="Ports; all, if not given."),
    ] = []
    networks: Annotated[
        list[Annotated[str, Field(max_length=64), AfterValidator(_network)]],
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="Networks that are not public, in which such a host may be: 10.96.0.0/12 for services of a "
            "cluster.",
        ),
    ] = []


class ModelLimits(Model):
    """What calls of models of one Agent may take on a day (UTC) of stream time. An absent one is no limit."""

    tokens_per_day: Annotated[
        StrictInt | None, Field(ge=0, le=MAX_TOKENS, description="Input and output of all calls.")
    ] = None
    cost_per_day: Annotated[
        Money | None,
        Field(
            description="By the prices of the tasks, all in one currency, with six decimal places at most."
        ),
    ] = None
    turns_per_day: Annotated[
        StrictInt | None, Field(ge=0, le=MAX_TOKENS, description="Calls of models that are answered.")
    ] = None
    tool_calls_per_day: Annotated[
        StrictInt | None, Field(ge=0, le=MAX_TOKENS, description="Calls of tools.")
    ] = None


class PolicyLimits(Model):
    """Quotas of one Agent. An absent one is no limit."""

    sessions: Annotated[Limit | None, Field(description="Sessions remembered at once.")] = None
    pending_tasks: Annotated[Limit | None, Field(description="Tasks pending at once.")] = None
    tasks_per_minute: Annotated[
        Limit | None, Field(description="Tasks started within a minute of stream time.")
    ] = None
    hops: Annotated[
        Limit | None, Field(description="heedhops of emitted events: decisions since the first event.")
    ] = None
    timers: Annotated[Limit | None, Field(description="Timers that it may have.")] = None
    min_timer_period: Annotated[
        TimerPeriod | None,
        Field(
            description="The shortest time between two ticks of a timer, a day at most, such as 1m. A cron expression "
            "is measured by its times of day. Of several policies the shortest counts."
        ),
    ] = None
    model: Annotated[
        ModelLimits | None,
        Field(
            description="What calls of models may take. Each policy counts for itself, and all have to hold."
        ),
    ] = None


class PublisherAccount(Model):
    """A service account."""

    name: Annotated[ServiceAccount, Field(description="Its name.")]
    namespace: Annotated[
        Namespace | None, Field(description="Its namespace; the policy's own if not given.")
    ] = None


class AllowedPublisher(Model):
    """Who may send events through the gateway: exactly one of a service account, a user and a group."""

    service_account: Annotated[
        PublisherAccount | None, Field(description="A service account of any namespace.")
    ] = None
    user: Annotated[
        UserName | None, Field(description="A user, as the API server names who has a token.")
    ] = None
    group: Annotated[
        UserName | None,
        Field(
            description="A group, such as system:serviceaccounts:shop for all service accounts of a namespace."
        ),
    ] = None
    types: Annotated[
        list[TypePattern] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="NATS patterns that the type must match; all if not given.",
        ),
    ] = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        given = [item for item in (self.service_account, self.user, self.group) if item is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of serviceAccount, user and group")
        return self


class AgentPolicySpec(Model):
    """Selects Agents and restricts them. Each part restricts only what it names; several policies add up."""

    agent_selector: Annotated[
        LabelSelector, Field(description="The Agents of the namespace it is for; {} selects all of them.")
    ]
    subscriptions: Annotated[
        list[AllowedSubscription] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="What may be subscribed to; an empty list allows nothing.",
        ),
    ] = None
    emissions: Annotated[
        list[AllowedEmission] | None,
        Field(max_length=MAX_POLICY_ITEMS, description="What may be emitted; an empty list allows nothing."),
    ] = None
    tasks: Annotated[AllowedTasks | None, Field(description="What may run as a task.")] = None
    publishers: Annotated[
        list[AllowedPublisher] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="Who may send events through the gateway: to the Agents that are selected, and, where all are, "
            "to the namespace. Where no policy says so, service accounts of the namespace may.",
        ),
    ] = None
    event_sources: Annotated[
        list[AllowedType] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="What EventSources of the namespace may publish; an empty list allows nothing. Needs "
            "agentSelector: {}, since all Agents may hear it.",
        ),
    ] = None
    deliveries: Annotated[
        list[AllowedType] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="What Subscriptions of the namespace may deliver to HTTP endpoints; their patterns must lie "
            "within these. An empty list allows nothing. Needs agentSelector: {}.",
        ),
    ] = None
    egress: Annotated[
        list[AllowedEgress] | None,
        Field(
            max_length=MAX_POLICY_ITEMS,
            description="What calls of http tasks may reach; an empty list allows nothing. Where no policy says so, "
            "any host that has a public address.",
        ),
    ] = None
    limits: Annotated[PolicyLimits | None, Field(description="How much of it.")] = None

    @model_validator(mode="after")
    def _selects_all_where_it_must(self) -> Self:
        given = {"eventSources": self.event_sources, "deliveries": self.deliveries}
        for name, items in given.items():
            if items is not None and not self.agent_selector.selects_all:
                raise ValueError(
                    f"{name} is for the whole namespace and needs agentSelector: {{}}; give it a policy of its own"
                )
        return self


class AgentPolicy(KubeObject):
    """An AgentPolicy: what the Agents that it selects may subscribe to, emit and run, and how much of it."""

    spec: AgentPolicySpec


def parse_policy(document: Mapping[str, Any]) -> AgentPolicy:
    """The AgentPolicy of a manifest. Raises InvalidManifest; see `closed_policy` for what counts then."""
    return parse_object(document, AgentPolicy, names.AGENT_POLICY)


def closed_policy(document: Mapping[str, Any]) -> AgentPolicy:
    """The fail-closed substitute of an unreadable AgentPolicy: it keeps the selector and allows nothing.

    Where the selector cannot be read either, it selects all Agents of its namespace.
    """
    spec = document.get("spec")
    try:
        selector = LabelSelector.model_validate(spec["agentSelector"] if isinstance(spec, dict) else {})
    except (KeyError, ValidationError):
        selector = LabelSelector()
    nothing = AgentPolicySpec(
        agent_selector=selector,
        subscriptions=[],
        emissions=[],
        tasks=AllowedTasks(kinds=[], images=[], service_accounts=[], resources=[]),
        publishers=[],
        event_sources=[] if selector.selects_all else None,
        deliveries=[] if selector.selects_all else None,
        egress=[],
        limits=PolicyLimits(
            sessions=0,
            pending_tasks=0,
            tasks_per_minute=0,
            hops=0,
            timers=0,
            model=ModelLimits(tokens_per_day=0),
        ),
    )
    return AgentPolicy(metadata=ObjectMeta.model_validate(document["metadata"]), spec=nothing)
