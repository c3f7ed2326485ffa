"""The `Agent` custom resource, v1alpha1. The CRD, the validation and the docs of fields all come from here."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from pydantic.alias_generators import to_camel

from heed.api.fields import (
    DNS_LABEL_PATTERN,
    Cel,
    Duration,
    Label,
    Model,
    Namespace,
    TypePattern,
    parse_duration,
)
from heed.api.handler import HandlerSpec
from heed.api.llm_task import ModelBudgetsSpec
from heed.api.status import FreeMap
from heed.api.task import MAX_SLOTS, TaskSpec
from heed.api.timer import TimerSpec

MAX_EXPRESSIONS = 1000  # of one Agent

MAX_EXPRESSIONS_CHARS = 64 * 1024  # characters of them all

MAX_TEMPLATE_VALUES = 10_000  # in all templates of an Agent: literals, lists and maps

MAX_HANDLERS = 64

MAX_SUBSCRIPTIONS = 32

MAX_TASKS = 32

MAX_TIMERS = 32

MAX_REPLICAS = 10_000  # of an Agent's workers

MAX_RATE_EVENTS = 1_000_000  # events of a rate limit, and of its burst


class SubscriptionSpec(Model):
    """Broadcast events that it heeds, of the Agent's namespace or of one that grants them."""

    type: Annotated[
        TypePattern, Field(description="NATS pattern over the CloudEvents type, such as com.example.*.")
    ]
    namespace: Annotated[
        Namespace | None,
        Field(
            description="The namespace whose events these are; the Agent's own if not given. Another one needs an "
            "EventGrant there."
        ),
    ] = None
    where: Annotated[
        Cel | None, Field(description="CEL over `event`; where it is false, the event is ignored.")
    ] = None


class SessionSpec(Model):
    """How events are grouped, and how long a group is remembered."""

    key: Annotated[
        Cel,
        Field(
            description="CEL over `event` that gives the session's key. An event without a correlationid has its id "
            "as event.correlationid."
        ),
    ] = "event.correlationid"
    idle_timeout: Annotated[
        Duration,
        Field(
            description="A session without pending tasks and held events is forgotten when no event came for so long."
        ),
    ] = "24h"
    max_age: Annotated[
        Duration | None,
        Field(
            description="A session ends so long after its first event, whatever goes on in it; its pending tasks are "
            "cancelled unheard."
        ),
    ] = None
    on_expire: Annotated[
        Literal["Forget", "Emit"],
        Field(
            description="What becomes of a session that is idle or old. Forget: nothing says so. Emit: "
            "dev.heed.session.expired comes to the Agent's inbox, with the session's last state."
        ),
    ] = "Forget"


class RateLimitSpec(Model):
    """How many events are decided in a time; the rest waits in the stream."""

    events: Annotated[
        int, Field(ge=1, le=MAX_RATE_EVENTS, description="How many events handlers run for in that time.")
    ]
    per: Annotated[Duration, Field(description="The time, such as 1s, 1m or 1h.")] = "1s"
    burst: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_RATE_EVENTS,
            description="How many may be decided at once after a quiet time: those of one second by default, and "
            "one at least.",
        ),
    ] = None

    @property
    def interval_s(self) -> float:
        """Seconds between two events at the full rate."""
        return parse_duration(self.per) / self.events

    @property
    def at_once(self) -> int:
        """How many events may be decided at once."""
        return self.burst or max(1, self.events // max(1, parse_duration(self.per)))

    def __str__(self) -> str:
        return f"{self.events} event{'s' if self.events != 1 else ''} per {self.per}"


class WorkerSpec(Model):
    """Who runs the functions of `call` and of `function` tasks: pods of a template, or workers that users run."""

    digest: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{8,64}$",
            max_length=64,
            description="Which code it is, as `heed build` says it: only what workers of this code answer counts.",
        ),
    ]
    template: Annotated[
        FreeMap | None,
        Field(
            description="The pods of a Deployment of workers that Heed keeps, as in a Deployment: `metadata` and "
            "`spec`. The container `worker`, or the only one, runs `heed worker`. Without it workers are run elsewhere."
        ),
    ] = None
    replicas: Annotated[
        StrictInt | None,
        Field(
            ge=0,
            le=MAX_REPLICAS,
            description="How many pods; 1 at first, and then what an autoscaler or `kubectl scale` says, if not given.",
        ),
    ] = None
    address: Annotated[
        Literal["External"] | None,
        Field(description="External: workers are run elsewhere, as where there is no template."),
    ] = None


class AgentSpec(Model):
    """Which events the Agent heeds, what it remembers, how it reacts."""

    suspend: Annotated[
        StrictBool,
        Field(
            description="Read no events until this is false again: they wait in the stream, as long as that keeps "
            "them. Running tasks go on, deadlines hold, and what was decided is still done."
        ),
    ] = False
    rate_limit: Annotated[
        RateLimitSpec | None,
        Field(
            description="How many events handlers may run for in a time. The ends of tasks and what is due do not "
            "count, but wait behind what is held back."
        ),
    ] = None
    subscribe: Annotated[
        list[SubscriptionSpec],
        Field(
            min_length=1,
            max_length=MAX_SUBSCRIPTIONS,
            description="Broadcast events it heeds. Events in its own inbox (task ends, ticks, direct messages) always "
            "come. May be left out where there are timers.",
        ),
    ] = []
    session: Annotated[SessionSpec, Field(description="How events are grouped into sessions.")] = (
        SessionSpec()
    )
    tasks: Annotated[
        dict[Label, TaskSpec],
        Field(max_length=MAX_TASKS, description="The work that handlers may start, by name."),
    ] = {}
    timers: Annotated[
        dict[Label, TimerSpec],
        Field(max_length=MAX_TIMERS, description="What happens at a time, by name."),
    ] = {}
    max_concurrent_tasks: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=MAX_SLOTS,
            description="How many tasks of all names run at once, waits and approvals not counted; others are queued.",
        ),
    ] = None
    model_budgets: Annotated[
        ModelBudgetsSpec,
        Field(description="What `llm` tasks may spend together: in a session, and on a day."),
    ] = ModelBudgetsSpec()
    worker: Annotated[
        WorkerSpec | None,
        Field(description="The Agent's code; needed where handlers or tasks name functions."),
    ] = None
    handlers: Annotated[
        list[HandlerSpec],
        Field(
            min_length=1,
            max_length=MAX_HANDLERS,
            description="The reactions; every one that matches runs, in order.",
        ),
    ]


class AgentMetadata(BaseModel):
    """The part of Kubernetes' object metadata that an Agent's decisions may depend on."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)]
    namespace: Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)] = "default"
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}


class Agent(BaseModel):
    """An Agent: which CloudEvents it heeds, what it remembers per session, how it reacts."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    metadata: AgentMetadata
    spec: AgentSpec
