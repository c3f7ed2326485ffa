"""The Agent of a module: its tasks, timers and handlers, as decorators note them."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from heed import names
from heed.api.fields import DURATION_PATTERN
from heed.sdk.decorators import HandlerDecorator
from heed.sdk.durations import check_duration
from heed.sdk.effects import Reaction
from heed.sdk.errors import DeclarationError
from heed.sdk.events import AnyEvent, Event, Tick
from heed.sdk.handlers import Declaration, Handler, make_handler
from heed.sdk.members import without_none
from heed.sdk.places import calling_place
from heed.sdk.state import State
from heed.sdk.task_declarations import TaskDeclarations, to_label
from heed.sdk.tasks import Task, TaskEvent

Value = TypeVar("Value")
Given = TypeVar("Given", bound=Event)
Rest = ParamSpec("Rest")
Returned = TypeVar("Returned", bound=Reaction | Awaitable[Reaction])
HandlerFunction = TypeVar("HandlerFunction", bound=Callable[..., Reaction | Awaitable[Reaction]])


class Agent(TaskDeclarations):
    """An Agent in Python. Its name is a DNS label; `key` is CEL over `event` that gives the session's key.

    `idle_timeout` and `max_age` are durations; with `on_expire="Emit"` handlers of SessionExpired hear of their ends.
    """

    def __init__(
        self,
        name: str,
        *,
        state: type[State] = State,
        namespace: str | None = None,
        key: str | None = None,
        idle_timeout: str | None = None,
        max_age: str | None = None,
        on_expire: Literal["Forget", "Emit"] | None = None,
    ) -> None:
        super().__init__()
        if not names.is_name(name):
            raise DeclarationError(f'"{name}" is no name of an Agent; use a-z, 0-9 and -')
        _check_defaults(state)
        self.name, self.namespace, self.state = name, namespace, state
        self.place = calling_place()
        session = {
            "key": key,
            "idleTimeout": check_duration(idle_timeout),
            "maxAge": check_duration(max_age),
            "onExpire": on_expire,
        }
        self.session = without_none(session)
        self.subscriptions: list[dict[str, str]] = []
        self.timers: dict[str, dict[str, Any]] = {}
        self.handlers: dict[str, Handler] = {}

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def subscribe(
        self, events: type[Event] | str, *, where: str | None = None, namespace: str | None = None
    ) -> None:
        """Heed a kind of events, or a type pattern, on a condition, or in another namespace that grants them.

        `where` is CEL over `event`. What handlers react to needs no subscription of its own otherwise.
        """
        pattern = events if isinstance(events, str) else events.event_type
        if not names.is_pattern(pattern):
            raise DeclarationError(f'"{pattern}" is no type pattern; use one such as com.example.order.*')
        members = {"type": pattern, "where": where, "namespace": namespace}
        self.subscriptions.append(without_none(members))

    # ── handlers ────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def on(self, trigger: HandlerFunction, /) -> HandlerFunction: ...
    @overload
    def on(
        self,
        trigger: type[Given],
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> HandlerDecorator[Given]: ...
    @overload
    def on(
        self,
        trigger: TaskEvent[Value],
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> HandlerDecorator[Value]: ...
    @overload
    def on(
        self,
        trigger: str,
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> HandlerDecorator[AnyEvent]: ...
    @overload
    def on(
        self,
        trigger: None = None,
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> Callable[[HandlerFunction], HandlerFunction]: ...
    def on(
        self,
        trigger: Any = None,
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> Any:
        """Let a function react to a kind of event, a type pattern, or an event of a task: `@agent.on(Asked)`.

        It is given the event and, where it has parameters for them, the state, the Session and resources. It returns
        the new state, effects, or both; None where it does not act. Nothing happens before that is committed, and it
        may run any number of times. `when` is CEL that is evaluated before the worker is asked. `emits` and `starts`
        are what it may do, `pending` says that it reads `state.pending`; without them, what its code and the functions
        that it calls name.
        """
        if callable(trigger) and not (isinstance(trigger, type) and issubclass(trigger, Event)):
            return self.on()(trigger)

        declared = Declaration(emits, starts, pending)

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(make_handler(function, trigger, self.state, when=when, declared=declared))
            return function

        return add

    def every(
        self,
        schedule: str,
        *,
        name: str | None = None,
        time_zone: str | None = None,
        session: str | None = None,
        missed: Literal["Latest", "All", "None"] | None = None,
        overlap: Literal["Allow", "Skip", "Replace"] | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
        pending: bool | None = None,
    ) -> HandlerDecorator[Tick]:
        """Let a function react to the ticks of a timer: a cron expression, or an interval such as `15m`.

        It is given a `Tick`. `session` is CEL over `timer` that gives the session's key; else each tick has its own.
        """
        interval = re.fullmatch(DURATION_PATTERN, schedule) is not None
        timer = {
            "every" if interval else "cron": schedule,
            "timeZone": time_zone,
            "session": session,
            "missed": missed,
            "overlap": overlap,
        }

        declared = Declaration(emits, starts, pending)

        def add(
            function: Callable[Concatenate[Tick, Rest], Returned],
        ) -> Callable[Concatenate[Tick, Rest], Returned]:
            label = name or to_label(function.__name__)
            self.timers[label] = without_none(timer)
            when = f"event.data.timer == '{label}'"
            made = make_handler(function, Tick, self.state, when=when, declared=declared, timer=label)
            self._add(made)
            return function

        return add

    def _add(self, handler: Handler) -> None:
        name, number = handler.name, 1
        while (found := self.handlers.get(name)) is not None:
            if found.function is not handler.function:
                raise DeclarationError(
                    f"{name} ({handler.place}): there is a handler of this name; rename one"
                )
            if found.trigger == handler.trigger and found.timer == handler.timer:
                message = f"reacts to {handler.pattern} already; remove one of its decorators"
                raise DeclarationError(f"{handler.name} ({handler.place}): {message}")
            number += 1
            name = f"{handler.name}_{number}"
        self.handlers[name] = replace(handler, name=name)


def _check_defaults(state: type[State]) -> None:
    """Raise DeclarationError for a field without a default: a session begins with none."""
    for name, field in state.model_fields.items():
        if field.is_required():
            raise DeclarationError(f"{state.__name__}.{name} has no default; sessions begin without a state")
