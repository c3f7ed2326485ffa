"""The Agent of a module: its tasks, timers and handlers, as decorators note them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, overload

from pydantic import BaseModel

from heed.sdk.durations import check_duration
from heed.sdk.errors import DeclarationError
from heed.sdk.events import Event, Tick
from heed.sdk.handlers import Handler, Trigger, make_handler
from heed.sdk.places import calling_place
from heed.sdk.state import State
from heed.sdk.tasks import Choice, FunctionTask, PlainTask, Task, TaskOptions

Function = TypeVar("Function", bound=Callable[..., Any])

_NO_OPTIONS: Final = TaskOptions()
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def to_label(name: str) -> str:
    """The name of a function as Kubernetes writes names: `give_up` is `give-up`."""
    return name.strip("_").replace("_", "-").lower()


class Agent:
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
        if not _NAME.fullmatch(name) or len(name) > 63:
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
        self.session = {member: value for member, value in session.items() if value is not None}
        self.tasks: dict[str, Task[Any]] = {}
        self.timers: dict[str, dict[str, Any]] = {}
        self.handlers: dict[str, Handler] = {}

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    # ── handlers ────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def on(self, trigger: Function, /) -> Function: ...
    @overload
    def on(
        self,
        trigger: Trigger | None = None,
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
    ) -> Callable[[Function], Function]: ...
    def on(
        self,
        trigger: Any = None,
        /,
        *,
        when: str | None = None,
        emits: Sequence[type[Event]] | None = None,
        starts: Sequence[Task[Any]] | None = None,
    ) -> Any:
        """Let a function react to a kind of event, a type pattern, or an event of a task: `@agent.on(Asked)`.

        It is given the event and, where it has parameters for them, the state, the Session and resources. It returns
        the new state, effects, or both: nothing happens before that is committed, and it may run any number of times.
        `when` is CEL that is evaluated before the worker is asked. `emits` and `starts` are what it may do; without
        them, the events and tasks that its code names.
        """
        if callable(trigger) and not (isinstance(trigger, type) and issubclass(trigger, Event)):
            return self.on()(trigger)

        def add(function: Function) -> Function:
            self._add(make_handler(function, trigger, self.state, when=when, emits=emits, starts=starts))
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
    ) -> Callable[[Function], Function]:
        """Let a function react to the ticks of a timer: a cron expression, or an interval such as `15m`.

        It is given a `Tick`. `session` is CEL over `timer` that gives the session's key; else each tick has its own.
        """
        interval = re.fullmatch(r"([0-9]+[smhd])+", schedule) is not None
        timer = {
            "every" if interval else "cron": schedule,
            "timeZone": time_zone,
            "session": session,
            "missed": missed,
            "overlap": overlap,
        }

        def add(function: Function) -> Function:
            label = name or to_label(function.__name__)
            self.timers[label] = {member: value for member, value in timer.items() if value is not None}
            when = f"event.data.timer == '{label}'"
            made = make_handler(
                function, Tick, self.state, when=when, emits=emits, starts=starts, timer=label
            )
            self._add(made)
            return function

        return add

    def _add(self, handler: Handler) -> None:
        if handler.name in self.handlers:
            raise DeclarationError(
                f"{handler.name} ({handler.place}): there is a handler of this name; rename one"
            )
        self.handlers[handler.name] = handler

    # ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def task(
        self,
        *,
        name: str | None = None,
        timeout: str | None = None,
        attempt_timeout: str | None = None,
        retries: int = 0,
        backoff: Mapping[str, Any] | None = None,
        retry_on: Sequence[str] = (),
        max_concurrent: int | None = None,
        priority: int = 0,
    ) -> Callable[[Callable[..., Any]], FunctionTask[Any]]:
        """Make a task of a function that a worker runs; it may be slow, and may call models, tools and databases.

        Its parameters are the input of `start`, but for a TaskContext and resources. `retries` are further attempts.
        """
        options = TaskOptions(
            timeout, attempt_timeout, retries + 1, backoff, retry_on, max_concurrent, priority
        )

        def add(function: Callable[..., Any]) -> FunctionTask[Any]:
            return self._keep(FunctionTask(name or to_label(function.__name__), function, options))

        return add

    def job(
        self,
        name: str,
        *,
        image: str | None = None,
        command: Sequence[str] = (),
        spec: Mapping[str, Any] | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]:
        """A Kubernetes Job as a task: of an image with a command, or with a JobSpec of its own that may hold ${CEL}."""
        if (image is None) == (spec is None):
            raise DeclarationError(f"job {name}: give either an image or a spec")
        work = dict(spec) if spec is not None else _job_of(str(image), command)
        return self._keep(PlainTask(name, "job", work, input=input, result=result, options=options))

    def resource(
        self,
        name: str,
        *,
        template: Mapping[str, Any],
        succeeded: str,
        failed: str | None = None,
        outcome: str | None = None,
        input: Any = Any,
        result: Any = Any,
        options: TaskOptions = _NO_OPTIONS,
    ) -> PlainTask[Any]:
        """Any object of Kubernetes as a task; the conditions, and `outcome` for its result, are CEL over `object`."""
        members = {"template": dict(template), "succeeded": succeeded, "failed": failed, "result": outcome}
        work = {key: value for key, value in members.items() if value is not None}
        return self._keep(PlainTask(name, "resource", work, input=input, result=result, options=options))

    def wait(self, name: str, *, duration: str | None = None, until: str | None = None) -> PlainTask[None]:
        """A time to wait for: a duration, or an RFC 3339 time; both may hold ${CEL} over the task's `input`."""
        if (duration is None) == (until is None):
            raise DeclarationError(f"wait {name}: give either a duration or until")
        work = {"for": duration} if duration is not None else {"until": until}
        return self._keep(PlainTask(name, "wait", work, input=Any, result=Any, options=TaskOptions()))

    def approval(
        self,
        name: str,
        *,
        title: str,
        details: str | None = None,
        choices: Sequence[str] = (),
        fields: type[BaseModel] | None = None,
        users: Sequence[str] = (),
        groups: Sequence[str] = (),
        timeout: str | None = None,
        on_timeout: str | None = None,
        input: Any = Any,
    ) -> PlainTask[Choice]:
        """A question to people, whose texts may hold ${CEL}; its result is a Choice. `fields` is what they fill in."""
        approvers = {"users": list(users), "groups": list(groups)}
        members = {
            "title": title,
            "details": details,
            "choices": [{"name": choice} for choice in choices] or None,
            "fields": None if fields is None else fields.model_json_schema(),
            "approvers": {key: value for key, value in approvers.items() if value} or None,
            "onTimeout": on_timeout,
        }
        work = {key: value for key, value in members.items() if value is not None}
        options = TaskOptions(timeout)
        return self._keep(PlainTask(name, "approval", work, input=input, result=Choice, options=options))

    Kept = TypeVar("Kept", bound=Task[Any])

    def _keep(self, task: Kept) -> Kept:
        if not _NAME.fullmatch(task.name) or len(task.name) > 40:
            raise DeclarationError(f'"{task.name}" is no name of a task; use at most 40 of a-z, 0-9 and -')
        if task.name in self.tasks:
            raise DeclarationError(f'there is a task "{task.name}" already; rename one')
        self.tasks[task.name] = task
        return task


def _check_defaults(state: type[State]) -> None:
    """Raise DeclarationError for a field without a default: a session begins with none."""
    for name, field in state.model_fields.items():
        if field.is_required():
            raise DeclarationError(f"{state.__name__}.{name} has no default; sessions begin without a state")


def _job_of(image: str, command: Sequence[str]) -> dict[str, Any]:
    """A JobSpec of one container that Pod Security's restricted profile admits."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command:
        container["command"] = list(command)
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"backoffLimit": 0, "template": {"spec": {"securityContext": security, "containers": [container]}}}
