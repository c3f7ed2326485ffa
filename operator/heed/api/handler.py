"""`spec.handlers` of an Agent: reactions, and what they start, emit, cancel and hold."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from heed import names
from heed.api.fields import (
    FUNCTION_PATTERN,
    MAX_EXPRESSION_CHARS,
    MAX_FUNCTION_CHARS,
    MAX_LIST_ITEMS,
    Cel,
    Duration,
    Label,
    Model,
    TypePattern,
)
from heed.api.status import FreeJson
from heed.api.task import MAX_PRIORITY

MAX_DECLARED_TYPES = 64  # patterns of types, and names of tasks, that a function declares


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


class CallSpec(Model):
    """A function of the Agent's code, and what it may do: all else that it answers is refused."""

    function: Annotated[
        str,
        Field(
            pattern=FUNCTION_PATTERN,
            max_length=MAX_FUNCTION_CHARS,
            description="The function's name, as the Agent's worker knows it.",
        ),
    ]
    emits: Annotated[
        list[TypePattern],
        Field(
            max_length=MAX_DECLARED_TYPES,
            description="NATS patterns over the types of the events it may emit.",
        ),
    ] = []
    pending: Annotated[
        StrictBool,
        Field(
            description="Whether it is told the session's pending tasks; each such call is asked for by itself."
        ),
    ] = False
    starts: Annotated[
        list[Label],
        Field(max_length=MAX_DECLARED_TYPES, description="Names of the tasks in spec.tasks it may start."),
    ] = []


class HandlerSpec(Model):
    """One reaction: `hold`, then `state`, `start`, `emit`, `cancel`, `end`; or a function of the Agent's code."""

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
    call: Annotated[
        CallSpec | None,
        Field(
            description="A function that decides, instead of `hold`, `state`, `start`, `emit`, `cancel` and `end`. It "
            "is asked for state and effects, any number of times, and only the answer that is committed counts."
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
