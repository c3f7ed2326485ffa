"""The records of an Agent's status, which is its ledger. The CRD, the core and the ledger stores share them.

Plain frozen dataclasses (pydantic reads them through a TypeAdapter): the core builds thousands a second.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from heed.api.conditions import Condition

_CONFIG = ConfigDict(alias_generator=to_camel, populate_by_name=True)
# The API server keeps who wrote which field, by every key, unless a map is said to be one value.
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-map-type": "atomic"}

Time = Annotated[str, Field(description="RFC 3339, UTC.", json_schema_extra={"format": "date-time"})]
FreeJson = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
FreeMap = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]

Phase = Literal["Owed", "Started", "Cancelling", "Abandoned", "Retrying", "Queued"]
HoldPhase = Literal["Held", "Ready", "Expired"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The Agent's position in the stream: the last event it decided."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    stream: Annotated[str, Field(description="The JetStream stream.")]
    sequence: Annotated[
        int, Field(description="Stream sequence of the last decided event; 0 before the first.")
    ] = 0
    time: Annotated[Time | None, Field(description="When the stream stored that event.")] = None
    created: Annotated[
        str | None,
        Field(description="When the stream was created, as it says: another time means another stream."),
    ] = None
    inbox: Annotated[
        int | None,
        Field(
            description="Set while the Agent is ahead in its inbox only: the last event of it that was decided."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of event outcomes and of the Agent's own actions. They never decrease."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    handled: Annotated[int, Field(description="Events that at least one handler ran for.")] = 0
    ignored: Annotated[
        int, Field(description="Events that no subscription condition or no handler matched.")
    ] = 0
    duplicates: Annotated[int, Field(description="Events decided before, by source and id.")] = 0
    stale: Annotated[int, Field(description="Ends of tasks that were not pending.")] = 0
    dead_lettered: Annotated[int, Field(description="Events that could not be decided.")] = 0
    due: Annotated[int, Field(description="Due times that no handler reacts to, such as idle sessions.")] = 0
    retried: Annotated[
        int, Field(description="Failures of attempts that are followed by another attempt.")
    ] = 0
    turns: Annotated[
        int,
        Field(
            description="Answers of models, and ends of the tools that they called; not there for 0.",
            exclude_if=lambda n: n == 0,
        ),
    ] = 0
    ticks_fired: Annotated[int, Field(description="Ticks of timers that were given to handlers.")] = 0
    ticks_missed: Annotated[
        int, Field(description="Ticks that were too late, or passed over for a later one.")
    ] = 0
    ticks_skipped: Annotated[int, Field(description="Ticks left out while an earlier one had tasks.")] = 0
    emitted: Annotated[int, Field(description="Events the handlers emitted.")] = 0
    tasks_started: Annotated[int, Field(description="Tasks that handlers started, or models as tools.")] = 0
    tasks_completed: Annotated[int, Field(description="Tasks that completed while pending.")] = 0
    tasks_failed: Annotated[int, Field(description="Tasks that failed while pending.")] = 0
    sessions_expired: Annotated[
        int, Field(description="Sessions that ended by their idle timeout or maximal age.")
    ] = 0
    expired: Annotated[
        int,
        Field(
            description="Places that the stream had dropped before the Agent read them: at most so many of its "
            "events are missing."
        ),
    ] = 0
    schema_warnings: Annotated[
        int,
        Field(description="Events received or emitted whose data does not fit an EventType that only warns."),
    ] = 0


@dataclass(frozen=True, slots=True)
class TaskRate:
    """Tasks started in the current minute; kept while an AgentPolicy limits them."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    minute: Annotated[Time, Field(description="The minute of stream time that is counted.")]
    started: Annotated[int, Field(description="Tasks started in it.")] = 0


@dataclass(frozen=True, slots=True)
class Session:
    """What the Agent remembers about one session key."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    started_at: Annotated[Time, Field(description="Stream time of the session's first event.")]
    last_event_at: Annotated[Time, Field(description="Stream time of its latest event.")]
    correlationid: Annotated[str, Field(description="The correlationid that its emitted events carry.")]
    state: Annotated[FreeMap, Field(description="What the handlers remember.")] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskCause:
    """The event that started a task, reduced to what the task's end event needs."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    id: Annotated[str, Field(description="The event's id; the causationid of the task's end.")]
    sequence: Annotated[int, Field(description="Its stream sequence.")]
    correlationid: Annotated[str, Field(description="The correlationid of the task's end.")]
    hops: Annotated[int, Field(description="The event's heedhops.")] = 0
    traceparent: Annotated[str | None, Field(description="W3C trace context, passed on.")] = None
    tracestate: Annotated[str | None, Field(description="W3C trace context, passed on.")] = None


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a task waits for a slot."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    since: Annotated[Time, Field(description="Stream time since when it waits.")]
    place: Annotated[int, Field(description="Its place among the tasks of its session: the lowest is first.")]
    turn: Annotated[
        int | None,
        Field(description="Of the first task of its session: its session's turn; the lowest is next."),
    ] = None


@dataclass(frozen=True, slots=True)
class ToolParent:
    """The call of a tool that a task was started for."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    task: Annotated[str, Field(description="Id of the `llm` task whose model called it.")]
    turn: Annotated[int, Field(description="The model's turn that has the call.")]
    call: Annotated[str, Field(description="The call's id in that turn.")]


@dataclass(frozen=True, slots=True)
class ModelSpending:
    """What calls of models take."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    tokens: Annotated[int, Field(description="Input and output.")] = 0
    cost: Annotated[int, Field(description="In trillionths of the currency.")] = 0
    turns: Annotated[int, Field(description="Calls of models.")] = 0
    tool_calls: Annotated[int, Field(description="Calls of tools.")] = 0


@dataclass(frozen=True, slots=True)
class ModelBudget:
    """What was spent of a budget for calls of models, and what is reserved for those under way."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    spent: Annotated[ModelSpending, Field(description="By the usage that endpoints counted.")]
    reserved: Annotated[
        dict[str, ModelSpending], Field(description="By the call, as `<task id>/<turn>/<attempt>`.")
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that is to be started, runs, or is being removed; `phase` says which."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    task: Annotated[str, Field(description="Its name in spec.tasks.")]
    session: Annotated[str, Field(description="Key of the session that started it.")]
    kind: Annotated[str, Field(description="What runs it, such as job.")]
    started_at: Annotated[Time, Field(description="Stream time of the event that started it.")]
    cause: TaskCause
    deadline: Annotated[Time | None, Field(description="When it will have timed out.")] = None
    phase: Annotated[
        Phase,
        Field(
            description="Owed: decided, not yet known to have started. Started. Cancelling: its failed event will "
            "follow. Abandoned: its session ended, or another than Heed told its end; it is being removed and its own "
            "end will be stale. Retrying: an attempt failed, the next one starts at `due`. Queued: it waits for a slot."
        ),
    ] = "Owed"
    input: Annotated[FreeJson, Field(description="What the handler passed in.")] = None
    owed: Annotated[
        str | None,
        Field(
            description="JSON of what it takes to start the task; kept while a start is to come, or may be."
        ),
    ] = None
    due: Annotated[
        Time | None,
        Field(description="When a wait is over, an approval chooses by itself, or the next attempt starts."),
    ] = None
    attempt: Annotated[
        int,
        Field(
            description="Which attempt runs or comes next; not there for the first.",
            exclude_if=lambda n: n == 1,
        ),
    ] = 1
    priority: Annotated[
        int,
        Field(
            description="Tasks of a higher one get slots first; not there for 0.", exclude_if=lambda n: n == 0
        ),
    ] = 0
    queue: Annotated[QueuePlace | None, Field(description="Its place in the queue, while Queued.")] = None
    attempts: Annotated[int | None, Field(description="How many there may be, where several.")] = None
    attempt_deadline: Annotated[
        Time | None, Field(description="When the attempt will have timed out, where that is sooner.")
    ] = None
    target: Annotated[
        str | None,
        Field(
            description="JSON of what a resource task waits for: the object's kind, and the CEL that judges it."
        ),
    ] = None
    request: Annotated[
        str | None,
        Field(description="JSON of what an approval asks: title, details, choices, fields, approvers."),
    ] = None
    loop: Annotated[
        str | None,
        Field(
            description="JSON of where the turns of model and tools are, and of the task's own budget. An attempt is "
            "one call of the model."
        ),
    ] = None
    tools: Annotated[
        int | None,
        Field(
            description="How many tools the model waits for; nothing else of the task runs meanwhile. 0 once its "
            "end is decided."
        ),
    ] = None
    parent: Annotated[
        ToolParent | None, Field(description="The call of a tool that it was started for, by a model.")
    ] = None


@dataclass(frozen=True, slots=True)
class TakenAnswer:
    """The answer that ended an approval."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: Annotated[str, Field(description="Its ApprovalAnswer; in `heed dev`, an id.")]
    choice: Annotated[str, Field(description="What was chosen.")]
    user: Annotated[str, Field(description="Who answered.")]
    at: Annotated[Time, Field(description="When they did.")]


@dataclass(frozen=True, slots=True)
class TimerState:
    """A timer as it was scheduled, and where in its ticks it is."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    schedule: Annotated[str, Field(description="A digest of the schedule that the times below belong to.")]
    anchor: Annotated[Time, Field(description="When it was scheduled first; intervals count from here.")]
    next_at: Annotated[
        Time | None, Field(description="The next tick; none where no more come, or while it is suspended.")
    ] = None
    previous_at: Annotated[Time | None, Field(description="The last tick that was fired.")] = None
    session: Annotated[str | None, Field(description="Key of the session of that tick.")] = None
    suspended: Annotated[bool | None, Field(description="True while it is suspended.")] = None


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event that a handler's `hold` set aside: it stays in the stream, and is decided when its condition holds."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    session: Annotated[str, Field(description="Key of the session whose state it waits for.")]
    handler: Annotated[str, Field(description="The handler that holds it.")]
    since: Annotated[Time, Field(description="Stream time of the event.")]
    until: Annotated[Time, Field(description="When its time is over.")]
    generation: Annotated[int, Field(description="The Agent's generation that looked at it last.")] = 0
    phase: Annotated[
        HoldPhase,
        Field(
            description="Held. Ready: the session changed, so it is looked at again. Expired: its time is over, and it "
            "is looked at for the last time."
        ),
    ] = "Held"


@dataclass(frozen=True, slots=True)
class RecentTask:
    """A task that ended lately, for display."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    id: Annotated[str, Field(description="The task's id.")]
    task: Annotated[str, Field(description="Its name in spec.tasks.")]
    session: Annotated[str, Field(description="Key of the session that started it.")]
    outcome: Annotated[Literal["Completed", "Failed"], Field(description="How it ended.")]
    started_at: Time
    ended_at: Annotated[Time, Field(description="Stream time of its end event.")]
    reason: Annotated[str | None, Field(description="Why it failed.")] = None
    answer: Annotated[
        TakenAnswer | None, Field(description="The answer that ended it, where it was an approval.")
    ] = None


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """Why an event was dead-lettered."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    code: Annotated[str, Field(description="CamelCase cause for machines.")]
    message: Annotated[str, Field(description="The cause for people.")]
    handler: Annotated[str | None, Field(description="The handler that broke, if one did.")] = None
    generation: Annotated[int, Field(description="The Agent's generation that decided.")] = 0
    attempt: Annotated[int, Field(description="1, and one more for every time the letter was redriven.")] = 1
    task: Annotated[str | None, Field(description="JSON of the pending task that the event ended.")] = None


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message owed to the broker: an emitted event, or a dead letter (its original is in the stream)."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    sequence: Annotated[int, Field(description="Stream sequence of the event whose decision owes it.")]
    index: Annotated[int, Field(description="Its place among that decision's messages.")]
    subject: Annotated[str, Field(description="Where it is to be published.")]
    at: Annotated[Time, Field(description="Stream time of the event whose decision owes it.")]
    event: Annotated[str | None, Field(description="The event as CloudEvents JSON.")] = None
    letter: Annotated[DeadLetterCause | None, Field(description="Set where this is a dead letter.")] = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes for the columns of `kubectl get`."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    sessions: Annotated[int, Field(description="Sessions remembered now.")] = 0
    pending_tasks: Annotated[int, Field(description="Tasks waited for now.")] = 0
    outbox: Annotated[int, Field(description="Messages owed now.")] = 0
    waiting: Annotated[int, Field(description="Events that wait for room now.")] = 0
    held: Annotated[int, Field(description="Events set aside by a `hold` now.")] = 0
    queued_tasks: Annotated[int, Field(description="Pending tasks that wait for a slot now.")] = 0


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where HTTP reaches one Agent, as Knative's Addressable has it."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    url: Annotated[str, Field(description="URL that takes CloudEvents for this Agent.")]
    audience: Annotated[
        str | None, Field(description="The audience that service account tokens of senders have to be for.")
    ] = None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The status of an Agent: its ledger, and the reconciler's conditions."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    observed_generation: Annotated[
        int, Field(description="The generation the reconciler last looked at.")
    ] = 0
    conditions: Annotated[
        list[Condition],
        Field(
            description="Ready says whether this generation runs and makes progress; where it is invalid, the last "
            "valid one goes on. Saturated: new sessions wait for room. EventsExpired: the stream dropped events "
            "unread. TasksStuck: tasks were started, and none of their pods runs. Suspended: it reads no events. "
            "RateLimited: spec.rateLimit holds events back.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = field(default_factory=list)
    last_valid_spec: Annotated[
        str | None, Field(description="JSON of the spec that runs while the current one is invalid.")
    ] = None
    address: Annotated[
        AgentAddress | None,
        Field(
            description="The Agent at the gateway, where there is one: what makes it Addressable.",
            json_schema_extra=_ATOMIC,
        ),
    ] = None
    cursor: Annotated[
        Cursor | None, Field(description="Where in the stream the Agent is.", json_schema_extra=_ATOMIC)
    ] = None
    totals: Annotated[
        Totals | None,
        Field(description="What became of every event, and what the Agent did.", json_schema_extra=_ATOMIC),
    ] = None
    task_rate: Annotated[
        TaskRate | None,
        Field(
            description="Tasks started in one minute, while an AgentPolicy limits that.",
            json_schema_extra=_ATOMIC,
        ),
    ] = None
    counts: Annotated[
        Counts | None, Field(description="Sizes of the maps below.", json_schema_extra=_ATOMIC)
    ] = None
    sessions: Annotated[
        dict[str, Session],
        Field(description="What the Agent remembers, by session key.", json_schema_extra=_ATOMIC),
    ] = field(default_factory=dict)
    pending_tasks: Annotated[
        dict[str, PendingTask],
        Field(description="Tasks it waits for, by task id.", json_schema_extra=_ATOMIC),
    ] = field(default_factory=dict)
    waiting: Annotated[
        dict[str, str],
        Field(
            description="Events that wait in the stream until there is room for their sessions: by stream "
            "sequence, a digest of the session's key.",
            json_schema_extra=_ATOMIC,
        ),
    ] = field(default_factory=dict)
    timers: Annotated[
        dict[str, TimerState],
        Field(description="When its timers tick, by name.", json_schema_extra=_ATOMIC),
    ] = field(default_factory=dict)
    next_tick: Annotated[Time | None, Field(description="The earliest tick of all its timers.")] = None
    budgets: Annotated[
        dict[str, ModelBudget],
        Field(
            description="Budgets for calls of models, by whose they are: `session <key>`, `agentDay <date>`, "
            "`policy <name>/<date>`.",
            json_schema_extra=_ATOMIC,
        ),
    ] = field(default_factory=dict)
    held: Annotated[
        dict[str, HeldEvent],
        Field(
            description="Events that a `hold` set aside in the stream, by stream sequence.",
            json_schema_extra=_ATOMIC,
        ),
    ] = field(default_factory=dict)
    recent_tasks: Annotated[list[RecentTask], Field(description="Tasks that ended lately, newest last.")] = (
        field(default_factory=list)
    )
    recent_events: Annotated[
        list[str],
        Field(
            description="Digests of source and id of the events handled or dead-lettered lately, to know duplicates by."
        ),
    ] = field(default_factory=list)
    outbox: Annotated[
        dict[str, OutboxMessage],
        Field(description="Messages owed to the broker, by id; normally empty.", json_schema_extra=_ATOMIC),
    ] = field(default_factory=dict)
