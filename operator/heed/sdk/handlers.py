"""Handlers: what a function reacts to, and what its parameters want."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_args, get_origin, get_type_hints

from heed.sdk.errors import DeclarationError
from heed.sdk.events import AnyEvent, Event
from heed.sdk.injection import is_injected
from heed.sdk.mentions import Mentions, find_mentions
from heed.sdk.places import Place, place_of
from heed.sdk.state import State
from heed.sdk.tasks import Completed, Failed, Progress, Task, TaskEvent

Trigger = type[Event] | TaskEvent[Any] | str

_TASK_VALUES = {"completed": Completed, "failed": Failed, "progress": Progress}


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a handler says that it may do and reads; None is what its code names."""

    emits: Sequence[type[Event]] | None = None
    starts: Sequence[Task[Any]] | None = None
    pending: bool | None = None


_NOTHING_DECLARED: Final = Declaration()


@dataclass(frozen=True)
class Handler:
    """A function that reacts to events of a type, with the state of that class. `when` is CEL of its own.

    Its name is the function's, with a number where that reacts to more than one type.
    `parameters` are the names after the event, with what each wants: the state, or what is injected. `timer` is the
    one whose ticks it reacts to.
    """

    name: str
    function: Callable[..., Any]
    trigger: Trigger
    state: type[State]
    parameters: Mapping[str, Any]
    when: str | None = None
    declared: Declaration = _NOTHING_DECLARED
    timer: str | None = None

    @cached_property
    def emits(self) -> Sequence[type[Event]]:
        """The events that it may emit."""
        if self.declared.emits is not None:
            return tuple(dict.fromkeys(self.declared.emits))
        return [item for item in self._mentions.values if isinstance(item, type) and _may_be_emitted(item)]

    @cached_property
    def starts(self) -> Sequence[Task[Any]]:
        """The tasks that it may start."""
        if self.declared.starts is not None:
            return tuple(dict.fromkeys(self.declared.starts))
        return [item for item in self._mentions.values if isinstance(item, Task)]

    @cached_property
    def reads_pending(self) -> bool:
        """Whether it is told the session's pending tasks."""
        return "pending" in self._mentions.names if self.declared.pending is None else self.declared.pending

    def names_value(self, value: Any) -> bool:
        """Whether its code names a value."""
        return any(item is value for item in self._mentions.values)

    @cached_property
    def _mentions(self) -> Mentions:
        """What its code names, once the whole module is there: functions may stand below their use."""
        return find_mentions(self.function, self.state)

    @property
    def pattern(self) -> str:
        """The NATS pattern over the CloudEvents types that it reacts to."""
        return self.trigger if isinstance(self.trigger, str) else self.trigger.event_type

    @cached_property
    def place(self) -> Place:
        """Where it stands."""
        return place_of(self.function)


def make_handler(
    function: Callable[..., Any],
    trigger: Trigger | None,
    state: type[State],
    *,
    when: str | None = None,
    declared: Declaration = _NOTHING_DECLARED,
    timer: str | None = None,
) -> Handler:
    """A handler of a function. Without a trigger the annotation of its first parameter is one.

    Raises DeclarationError.
    """
    hints = get_type_hints(function, include_extras=True)
    names = list(inspect.signature(function).parameters)
    if not names:
        raise _wrong(function, "has no parameter", "its first one is the event")
    first = hints.get(names[0])
    trigger = _trigger_of(function, first) if trigger is None else trigger
    _check_event(function, first, trigger)
    parameters = {name: _wanted(function, name, hints.get(name), state) for name in names[1:]}
    return Handler(function.__name__, function, trigger, state, parameters, when, declared, timer)


def _trigger_of(function: Callable[..., Any], hint: Any) -> Trigger:
    if isinstance(hint, type) and issubclass(hint, Event) and hint.event_type:
        return hint
    if isinstance(hint, type) and issubclass(hint, Event) and hint is not Event:
        name = hint.__name__
        raise _wrong(function, f"{name} has no type", f'write class {name}(Event, type="com.example.…")')
    raise _wrong(
        function,
        "does not say what it reacts to",
        "annotate the event, or write @agent.on(research.completed)",
    )


def _check_event(function: Callable[..., Any], hint: Any, trigger: Trigger) -> None:
    """Raise DeclarationError where the first parameter is annotated with what it never gets."""
    if hint is None or hint is Any:
        return
    kind = get_origin(hint) or hint
    if isinstance(trigger, TaskEvent):
        right: Any = _TASK_VALUES[trigger.outcome]
    elif isinstance(trigger, str):
        right = AnyEvent
    else:
        right = trigger
    if isinstance(kind, type) and issubclass(right, kind):
        return
    inner = (
        f"[{', '.join(getattr(item, '__name__', str(item)) for item in get_args(hint))}]"
        if get_args(hint)
        else ""
    )
    given = f"{getattr(kind, '__name__', kind)}{inner}"
    message = f"takes {given}, and is given {right.__name__}"
    raise _wrong(function, message, "change the annotation, or the decorator")


def _wanted(function: Callable[..., Any], name: str, hint: Any, state: type[State]) -> Any:
    if isinstance(hint, type) and issubclass(hint, State):
        if hint is not state:
            raise _wrong(function, f"{name}: the Agent's state is {state.__name__}", "annotate it with that")
        return hint
    if is_injected(hint):
        return hint
    known = f"{state.__name__} (the state), Session, AgentInfo, or Annotated[…, Resource(…)]"
    raise _wrong(function, f"{name} has no annotation that says what it wants", f"there are: {known}")


def _may_be_emitted(item: type) -> bool:
    if not issubclass(item, Event) or not item.event_type:
        return False
    return (
        "*" not in item.event_type
        and ">" not in item.event_type
        and not item.event_type.startswith("dev.heed.")
    )


def _wrong(function: Callable[..., Any], message: str, remedy: str) -> DeclarationError:
    return DeclarationError(f"{function.__name__} ({place_of(function)}): {message}; {remedy}")
