"""The `Agent` custom resource, v1alpha1. The CRD, the validation and the docs of fields all come from here."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema
from pydantic.alias_generators import to_camel

from heed import names
from heed.api.status import FreeJson, FreeMap

MAX_EXPRESSION_CHARS = 1024
MAX_EXPRESSIONS = 1000  # of one Agent
MAX_EXPRESSIONS_CHARS = 64 * 1024  # characters of them all
MAX_TEMPLATE_VALUES = 10_000  # in all templates of an Agent: literals, lists and maps
MAX_HANDLERS = 64
MAX_SUBSCRIPTIONS = 32
MAX_LIST_ITEMS = 16
MAX_TASKS = 32
MAX_APPROVERS = 64
MAX_TIMERS = 32
MAX_CRON_CHARS = 128
TASK_KINDS = ("job", "wait", "approval", "resource")  # members of a task, one of which says what its work is
MAX_RATE_EVENTS = 1_000_000  # events of a rate limit, and of its burst
MAX_ATTEMPTS = 100  # of one task
MAX_PRIORITY = 1000
MAX_SLOTS = 100_000  # tasks at once
MAX_LABEL_CHARS = 40
DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MAX_DURATION_S = 3650 * 86400  # seconds; a date so far away can still be written
DURATION_PATTERN = r"^([0-9]+(s|m|h|d))+$"

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATTERN_SCHEMA = r"^([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?$|^>$"


def parse_duration(duration: str) -> int:
    """The seconds of a duration such as `90s`, `10m`, `1h30m` or `7d`."""
    return sum(
        int(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(s|m|h|d)", duration)
    )


def _bounded(duration: str) -> str:
    if parse_duration(duration) > MAX_DURATION_S:
        raise ValueError(f"is too long; use at most {MAX_DURATION_S // 86400}d")
    return duration


def _type_pattern(value: str) -> str:
    if not names.is_pattern(value):
        raise ValueError(
            "is not a type pattern; use dot-separated tokens, * for one token, a last > for the rest, "
            "such as com.example.order.*"
        )
    return value


TypePattern = Annotated[
    str,
    Field(max_length=names.MAX_TYPE_CHARS),
    AfterValidator(_type_pattern),
    WithJsonSchema(
        {"type": "string", "maxLength": names.MAX_TYPE_CHARS, "minLength": 1, "pattern": _PATTERN_SCHEMA}
    ),
]
Cel = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]
Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=32), AfterValidator(_bounded)]
Label = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, min_length=1, max_length=MAX_LABEL_CHARS)]
Reason = Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=100)]
Namespace = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, min_length=1, max_length=63)]


class Model(BaseModel):
    """Base of the resource's models: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=False,
    )


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


class WaitSpec(Model):
    """A time to wait for: exactly one of `for` and `until`."""

    for_: Annotated[
        str | None,
        Field(
            alias="for",
            max_length=MAX_EXPRESSION_CHARS,
            description="How long, counted from the event that started the task: a duration such as 90s or 1h30m; may "
            "hold ${CEL}.",
        ),
    ] = None
    until: Annotated[
        str | None,
        Field(
            max_length=MAX_EXPRESSION_CHARS,
            description="Until when, in RFC 3339 with its offset; may hold ${CEL}. A time that is over ends at once.",
        ),
    ] = None


class ChoiceSpec(Model):
    """A choice of an approval."""

    name: Annotated[Label, Field(description="What the answer and the end of the task call it.")]
    label: Annotated[
        str | None,
        Field(
            min_length=1, max_length=MAX_LABEL_CHARS, description="What people read; the name if not given."
        ),
    ] = None


class ApproversSpec(Model):
    """Who may answer an approval, of those whom RBAC lets create ApprovalAnswers in the namespace."""

    users: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]],
        Field(
            max_length=MAX_APPROVERS,
            description="Users as the API server knows them; may hold ${CEL}. With users or groups, the one who "
            "answers has to be one of the users, or in one of the groups.",
        ),
    ] = []
    groups: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]],
        Field(max_length=MAX_APPROVERS, description="Groups as the API server knows them; may hold ${CEL}."),
    ] = []
    where: Annotated[
        Cel | None,
        Field(
            description="CEL over `answer` (user, groups, choice, fields, comment), `input`, `task` and `session` "
            "that has to be true, too."
        ),
    ] = None


class ApprovalSpec(Model):
    """A question to people. The task completes with the first valid answer."""

    title: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_EXPRESSION_CHARS,
            description="What is asked, in one line of at most 256 characters; may hold ${CEL} as in a `job`.",
        ),
    ]
    details: Annotated[
        str | None,
        Field(
            max_length=8192,
            description="What it takes to decide, in Markdown of at most 8 KiB; may hold ${CEL} as in a `job`.",
        ),
    ] = None
    choices: Annotated[
        list[ChoiceSpec],
        Field(min_length=1, max_length=MAX_LIST_ITEMS, description="What can be chosen."),
    ] = [ChoiceSpec(name="approve"), ChoiceSpec(name="reject")]
    fields: Annotated[
        FreeMap | None,
        Field(
            description="JSON Schema (draft 2020-12) of what the person fills in, a map; nothing, if not given."
        ),
    ] = None
    on_timeout: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_LABEL_CHARS,
            description="After the task's `timeout`: Fail with DeadlineExceeded, or the choice that is taken then.",
        ),
    ] = "Fail"
    approvers: Annotated[
        ApproversSpec | None,
        Field(
            description="Who may answer; everyone whom RBAC lets create ApprovalAnswers in the namespace, if not given."
        ),
    ] = None

    @property
    def template(self) -> dict[str, Any]:
        """The parts that may hold ${CEL}."""
        who = self.approvers or ApproversSpec()
        asked = (
            {"title": self.title} if self.details is None else {"title": self.title, "details": self.details}
        )
        return {**asked, "approvers": {"users": list(who.users), "groups": list(who.groups)}}


class ResourceSpec(Model):
    """Any object of Kubernetes, and when it counts as done. It is created in the Agent's namespace and watched."""

    template: Annotated[
        FreeMap,
        Field(
            description="The object: apiVersion and kind as they are, `metadata` with labels and annotations, and all "
            "else that the kind has. Other strings may hold ${CEL} as in a `job`. Heed gives it its name."
        ),
    ]
    succeeded: Annotated[
        Cel,
        Field(
            description="CEL over `object`, the live one; where it is true, the task has completed. A member that is "
            "not there means: not yet."
        ),
    ]
    failed: Annotated[
        Cel | None,
        Field(
            description="The same for a failure. It is asked first; without it the task never fails by itself."
        ),
    ] = None
    result: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the result once the task has completed.")
    ] = None
    progress: Annotated[
        Cel | None,
        Field(
            description="CEL over `object`; whenever its value changes, it is the data of a dev.heed.task.progress."
        ),
    ] = None
    reason: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the reason of a failure, in CamelCase.")
    ] = None
    message: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the message of a failure.")
    ] = None
    deletion: Annotated[
        Literal["AfterRetention", "Immediately", "Keep"],
        Field(
            description="What becomes of the object once the task's end is in the ledger: it is deleted after the "
            "task's `retention`, or at once, or left to be deleted with the Agent. One that is cancelled or too late "
            "is deleted in any case."
        ),
    ] = "AfterRetention"


class BackoffSpec(Model):
    """How long it takes until the next attempt: `initial`, then `factor` times as long with each one, at most `max`."""

    initial: Annotated[Duration, Field(description="After the first attempt.")] = "10s"
    factor: Annotated[
        float, Field(ge=1, le=100, strict=True, description="By how much longer with each attempt.")
    ] = 2
    max: Annotated[Duration, Field(description="It never takes longer.")] = "10m"
    jitter: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            strict=True,
            description="Up to this share of it is left out, so that not all come again at once.",
        ),
    ] = 0.1


class RetrySpec(Model):
    """Further attempts at a task that failed. Handlers hear of the last one only."""

    attempts: Annotated[
        StrictInt,
        Field(
            ge=1, le=MAX_ATTEMPTS, description="How many attempts there are at most, the first one included."
        ),
    ]
    backoff: Annotated[BackoffSpec, Field(description="When the next attempt starts.")] = BackoffSpec()
    reasons: Annotated[
        list[Reason],
        Field(
            max_length=MAX_LIST_ITEMS,
            description="Reasons, or causes, of the failures that are tried again; all that may pass if not given. "
            "Never tried again is what was cancelled, refused as invalid or by a policy, or past its timeout.",
        ),
    ] = []


class TaskSpec(Model):
    """Long or costly work that handlers start. Its end comes back as dev.heed.task.completed or .failed.

    Exactly one of its kinds says what the work is.
    """

    job: Annotated[
        FreeMap | None,
        Field(
            description="A batch/v1 JobSpec, and `metadata` with labels and annotations of the Job. Every string in "
            "it may hold ${CEL} over `task`, `input`, `event`, `state`, `agent` and `session`."
        ),
    ] = None
    wait: Annotated[
        WaitSpec | None,
        Field(
            description="Nothing but time: the task completes when it is over. Strings may hold ${CEL} as in a `job`."
        ),
    ] = None
    approval: Annotated[
        ApprovalSpec | None,
        Field(description="A question to people: the task completes with their answer."),
    ] = None
    resource: Annotated[
        ResourceSpec | None,
        Field(description="An object of another kind: it is created, and CEL over it says when it is done."),
    ] = None
    timeout: Annotated[
        Duration | None,
        Field(
            description="The task fails with DeadlineExceeded so long after the event that started it, however many "
            "attempts there were."
        ),
    ] = None
    attempt_timeout: Annotated[
        Duration | None,
        Field(description="An attempt fails with DeadlineExceeded so long after it was to start."),
    ] = None
    retry: Annotated[
        RetrySpec | None, Field(description="Further attempts where one fails; none if not given.")
    ] = None
    max_concurrent: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=MAX_SLOTS,
            description="How many of this task run at once; others are queued, and sessions take turns.",
        ),
    ] = None
    priority: Annotated[
        StrictInt,
        Field(
            ge=-MAX_PRIORITY,
            le=MAX_PRIORITY,
            description="Of the tasks that are queued, those of a higher priority start first.",
        ),
    ] = 0
    retention: Annotated[
        Duration,
        Field(description="How long the finished Job or resource is kept once its end is in the ledger."),
    ] = "1h"
    publish: Annotated[
        StrictBool,
        Field(
            description="Give the Job what it takes to publish progress, results and events: HEED_NATS_* variables, "
            "and credentials where the broker asks for them."
        ),
    ] = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of work that it has: one, in a valid task."""
        return tuple(kind for kind in TASK_KINDS if getattr(self, kind) is not None)

    @property
    def kind(self) -> str:
        """What runs it; "job" where it says nothing, which is a mistake of its own."""
        return next(iter(self.kinds), "job")

    @property
    def condition(self) -> str | None:
        """The CEL over an answer that has to be true, of an approval that has one."""
        who = None if self.approval is None else self.approval.approvers
        return None if who is None else who.where

    @property
    def work(self) -> dict[str, Any] | None:
        """The template of its kind, as written in the manifest: what may hold ${CEL}."""
        if self.resource is not None and self.kind == "resource":
            return {"template": self.resource.template}
        found = getattr(self, self.kind)
        if isinstance(found, ApprovalSpec):
            return found.template
        return found.model_dump(by_alias=True, exclude_none=True) if isinstance(found, Model) else found


class StartSpec(Model):
    """A task to start. Exactly one of `task` and `from`."""

    task: Annotated[Label | None, Field(description="Name of a task in spec.tasks.")] = None
    input: Annotated[
        FreeJson, Field(description="What the task works on: any value; strings may hold ${CEL}.")
    ] = None
    priority: Annotated[
        StrictInt | None,
        Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Instead of the task's own priority."),
    ] = None
    from_: Annotated[
        str | None,
        Field(
            alias="from",
            max_length=MAX_EXPRESSION_CHARS,
            description="One ${CEL} that yields a list of {task, input, priority}, to start several or none.",
        ),
    ] = None


class EmitSpec(Model):
    """An event to emit. Exactly one of `type` and `from`."""

    type: Annotated[
        str | None,
        Field(max_length=names.MAX_TYPE_CHARS, description="The CloudEvents type; may hold ${CEL}."),
    ] = None
    data: Annotated[FreeJson, Field(description="The event's data: any value; strings may hold ${CEL}.")] = (
        None
    )
    subject: Annotated[
        str | None,
        Field(max_length=MAX_EXPRESSION_CHARS, description="The CloudEvents subject; may hold ${CEL}."),
    ] = None
    to: Annotated[
        str | None,
        Field(
            max_length=MAX_EXPRESSION_CHARS,
            description="Name of the only Agent in this namespace that gets the event; may hold ${CEL}. "
            "Without it the event is broadcast.",
        ),
    ] = None
    from_: Annotated[
        str | None,
        Field(
            alias="from",
            max_length=MAX_EXPRESSION_CHARS,
            description="One ${CEL} that yields a list of {type, data, subject, to}, to emit several or none.",
        ),
    ] = None


class CancelSpec(Model):
    """Pending tasks of the session to cancel."""

    task: Annotated[
        Label, Field(description="Name of a task in spec.tasks; all its pending runs are cancelled.")
    ]


class HoldSpec(Model):
    """What an event has to wait for before its handler may act."""

    until: Annotated[
        Cel,
        Field(
            description="CEL over `event`, `state`, `session` and `agent`; as long as it is false, the event is set "
            "aside, and no handler acts on it."
        ),
    ]
    for_: Annotated[
        Duration,
        Field(
            alias="for", description="How long at most, from the time at which the stream stored the event."
        ),
    ] = "24h"
    on_expire: Annotated[
        Literal["Handle", "DeadLetter"],
        Field(
            description="What becomes of an event whose time is over. DeadLetter: a dead letter with the code "
            "HoldExpired. Handle: the handlers of dev.heed.hold.expired act instead, and find it in event.data.event."
        ),
    ] = "DeadLetter"


class HandlerSpec(Model):
    """One reaction. Within it: `hold`, then `state`, `start`, `emit`, `cancel`, `end`."""

    name: Annotated[Label, Field(description="Unique among the handlers; shown in dead letters and traces.")]
    type: Annotated[
        TypePattern, Field(description="NATS pattern over the CloudEvents type of what it reacts to.")
    ]
    when: Annotated[
        Cel | None,
        Field(
            description="CEL over `event`, `state`, `session`, `agent`, and for task events `task` and `input`; "
            "the handler runs where it is true."
        ),
    ] = None
    hold: Annotated[
        HoldSpec | None,
        Field(
            description="Set the event aside until a condition over the session's state holds, or a time passes."
        ),
    ] = None
    state: Annotated[
        FreeJson,
        Field(
            description="Map merged into the session's state by top-level key. "
            'Strings may hold ${CEL}, and "${null}" removes a key; or one ${CEL} that yields the map.'
        ),
    ] = None
    start: Annotated[list[StartSpec], Field(max_length=MAX_LIST_ITEMS, description="Tasks to start.")] = []
    emit: Annotated[list[EmitSpec], Field(max_length=MAX_LIST_ITEMS, description="Events to emit.")] = []
    cancel: Annotated[list[CancelSpec], Field(max_length=MAX_LIST_ITEMS, description="Tasks to cancel.")] = []
    end: Annotated[
        StrictBool,
        Field(description="Forget the session: its state goes, its pending tasks are cancelled unheard."),
    ] = False


class TimerSpec(Model):
    """Ticks at times: each is an event to this Agent alone. Exactly one of `cron`, `every` and `at` says when."""

    cron: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_CRON_CHARS,
            description="Five fields (minute, hour, day of month, month, day of week), six with seconds first, or a "
            "name such as @daily. Daylight saving as in Debian's cron.",
        ),
    ] = None
    every: Annotated[
        Duration | None,
        Field(description="An interval of real time, counted from when the timer was first scheduled."),
    ] = None
    at: Annotated[
        str | None,
        Field(min_length=1, max_length=40, description="Once, at an RFC 3339 time with its offset from UTC."),
    ] = None
    time_zone: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="IANA time zone of `cron`, such as Europe/Berlin; UTC if not given.",
        ),
    ] = None
    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=names.MAX_TYPE_CHARS,
            description="The CloudEvents type of its ticks, which handlers react to.",
        ),
    ] = names.TIMER_FIRED
    data: Annotated[
        FreeJson,
        Field(
            description="The data of its ticks: any value; strings may hold ${CEL} over `timer` (name, scheduledAt, "
            "previousAt, missed) and `agent`. If not given: {timer, scheduledAt, previousAt, missed}."
        ),
    ] = None
    session: Annotated[
        Cel | None,
        Field(
            description="CEL over `timer` and `agent` that gives the key of a tick's session; one session for each "
            "tick if not given."
        ),
    ] = None
    starting_deadline: Annotated[
        Duration | None,
        Field(
            description="A tick that is later than this is not fired. If not given: 1m where `missed` is None, else "
            "none is too late."
        ),
    ] = None
    missed: Annotated[
        Literal["Latest", "All", "None"],
        Field(
            description="Which ticks are made up for after an outage: the Latest, All of them in order (at most "
            "the last 100), or None."
        ),
    ] = "Latest"
    overlap: Annotated[
        Literal["Allow", "Skip", "Replace"],
        Field(
            description="While the session of the tick before still has tasks: Allow another one, Skip the new tick, "
            "or end that session and Replace it."
        ),
    ] = "Allow"
    suspend: Annotated[
        StrictBool, Field(description="No ticks. Afterwards it goes on with the next one from then on.")
    ] = False


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


def job_containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a JobSpec, or none where it has no such shape."""
    pod = spec.get("template")
    inner = pod.get("spec") if isinstance(pod, dict) else None
    containers = inner.get("containers") if isinstance(inner, dict) else None
    return [item for item in containers if isinstance(item, dict)] if isinstance(containers, list) else []
