"""Tasks: long or impure work that handlers start. What becomes of it comes back as an event."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.alias_generators import to_camel

from heed import names
from heed.sdk.durations import check_duration
from heed.sdk.effects import Start
from heed.sdk.errors import CodeError, DeclarationError, explain
from heed.sdk.events import EventMeta
from heed.sdk.injection import is_injected
from heed.sdk.members import without_none
from heed.sdk.places import calling_place, place_of

Result = TypeVar("Result", covariant=True)
Value = TypeVar("Value", covariant=True)

Outcome = Literal["completed", "failed", "progress"]

_EVENT_TYPES: Final = {
    "completed": names.TASK_COMPLETED,
    "failed": names.TASK_FAILED,
    "progress": names.TASK_PROGRESS,
}


@dataclass(frozen=True, slots=True)
class TaskEvent(Generic[Value]):
    """An event of one task, to react to: `@agent.on(research.completed)`. `Value` is what the handler gets."""

    task: "Task[Any]"
    outcome: Outcome

    @property
    def event_type(self) -> str:
        """Its CloudEvents type."""
        return _EVENT_TYPES[self.outcome]


@dataclass(frozen=True, slots=True)
class Completed(Generic[Result]):
    """A task has completed. `input` is what it was started with, as JSON; `attempt` counts from 1."""

    result: Result
    input: Any = None
    task_id: str = ""
    attempt: int = 1
    meta: EventMeta = field(default_factory=EventMeta)


@dataclass(frozen=True, slots=True)
class Failed:
    """A task has failed, after all its attempts. `reason` is CamelCase, such as DeadlineExceeded or Cancelled."""

    reason: str
    message: str | None = None
    input: Any = None
    task_id: str = ""
    attempt: int = 1
    exit_code: int | None = None
    cause: str | None = None
    meta: EventMeta = field(default_factory=EventMeta)


@dataclass(frozen=True, slots=True)
class Progress:
    """A task says how far it is: `data` is what it said, as JSON."""

    data: Any = None
    input: Any = None
    task_id: str = ""
    attempt: int = 1
    meta: EventMeta = field(default_factory=EventMeta)


class Choice(BaseModel):
    """The answer to an approval. `answered_by` is the user that the API server vouches for, `""` after a timeout."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    choice: str
    fields: dict[str, Any] = {}
    comment: str = ""
    answered_by: str = ""
    answered_at: str = ""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long it takes until the next attempt: `initial`, then `factor` times as long with each one, at most `max`.

    Up to the share `jitter` of it is left out, so that not all come again at once.
    """

    initial: str = "10s"
    factor: float = 2
    max: str = "10m"
    jitter: float = 0.1

    def __post_init__(self) -> None:
        check_duration(self.initial)
        check_duration(self.max)


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What every kind of task may have: durations as texts; `retries` are further attempts, on the reasons `retry_on`.

    `publish` lets a Job publish progress and events, `retention` keeps what was made for the task once it has ended.
    """

    timeout: str | None = None
    attempt_timeout: str | None = None
    retries: int = 0
    backoff: Backoff | None = None
    retry_on: Sequence[str] = ()
    max_concurrent: int | None = None
    priority: int = 0
    retention: str | None = None
    publish: bool = False

    def __post_init__(self) -> None:
        for duration in (self.timeout, self.attempt_timeout, self.retention):
            check_duration(duration)

    def dump(self) -> dict[str, Any]:
        """The members of a task in a manifest."""
        retry = {
            "attempts": self.retries + 1,
            "backoff": None if self.backoff is None else asdict(self.backoff),
            "reasons": list(self.retry_on) or None,
        }
        found: dict[str, Any] = {
            "timeout": self.timeout,
            "attemptTimeout": self.attempt_timeout,
            "maxConcurrent": self.max_concurrent,
            "priority": self.priority or None,
            "retention": self.retention,
            "publish": self.publish or None,
            "retry": without_none(retry) if self.retries else None,
        }
        return without_none(found)


class Task(Generic[Result]):
    """A task of an Agent. `kind` is the member of the manifest that says what its work is, `work` its value."""

    def __init__(
        self, name: str, kind: str, work: Mapping[str, Any], result: Any, options: TaskOptions
    ) -> None:
        self.name, self.kind, self.work, self.options = name, kind, work, options
        self.place = calling_place()
        self.result_type = result
        self._result: TypeAdapter[Result] = TypeAdapter(result)

    @property
    def completed(self) -> "TaskEvent[Completed[Result]]":
        """Its completion, to react to: the handler gets a `Completed`."""
        return TaskEvent(self, "completed")

    @property
    def failed(self) -> TaskEvent[Failed]:
        """Its failure, to react to: the handler gets a `Failed`."""
        return TaskEvent(self, "failed")

    @property
    def progress(self) -> TaskEvent[Progress]:
        """What it says before its end, to react to: the handler gets a `Progress`."""
        return TaskEvent(self, "progress")

    def manifest(self) -> dict[str, Any]:
        """The task in a manifest."""
        return {**self.options.dump(), self.kind: dict(self.work)}

    def parse_result(self, result: Any) -> Result:
        """A result as JSON, as the type that the task declares. Raises CodeError: BadResult."""
        try:
            return self._result.validate_python(result)
        except ValidationError as error:
            raise CodeError("BadResult", f"the result of task {self.name}: {explain(error)}") from None

    def dump_result(self, result: Any) -> Any:
        """A result as JSON."""
        return self._result.dump_python(result, mode="json", by_alias=True)

    def _begin(self, value: Any, priority: int | None) -> Start:
        return Start(self.name, value, priority)


class PlainTask(Task[Result]):
    """A task that is started with one value: a model, or JSON."""

    def __init__(
        self, name: str, kind: str, work: Mapping[str, Any], *, input: Any, result: Any, options: TaskOptions
    ) -> None:
        super().__init__(name, kind, work, result, options)
        self._input: TypeAdapter[Any] = TypeAdapter(input)

    def start(self, input: Any = None, *, priority: int | None = None) -> Start:
        """Start it. Raises CodeError where the input is not of the declared type: BadInput."""
        try:
            checked = self._input.validate_python(input)
        except ValidationError as error:
            raise CodeError("BadInput", f"task {self.name}: {explain(error)}") from None
        return self._begin(
            self._input.dump_python(checked, mode="json", by_alias=True, exclude_none=True), priority
        )


class FunctionTask(Task[Result]):
    """A function that a worker runs. It can still be called as what it is."""

    def __init__(self, name: str, function: Callable[..., Any], options: TaskOptions) -> None:
        hints = get_type_hints(function, include_extras=True)
        super().__init__(name, "function", {"name": function.__name__}, hints.get("return", Any), options)
        self.function, self.place = function, place_of(function)
        self.injected = {key: hint for key, hint in hints.items() if key != "return" and is_injected(hint)}
        self._arguments = _arguments_model(function, hints, self.injected)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def start(self, *, task_priority: int | None = None, **arguments: Any) -> Start:
        """Start it with these arguments. Raises CodeError where they do not fit its signature: BadInput."""
        try:
            checked = self._arguments(**arguments)
        except ValidationError as error:
            raise CodeError("BadInput", f"task {self.name}: {explain(error)}") from None
        return self._begin(checked.model_dump(mode="json", exclude_none=True), task_priority)

    def parse_input(self, value: Any) -> dict[str, Any]:
        """The arguments of an input that came as JSON. Raises CodeError: BadInput."""
        try:
            checked = self._arguments.model_validate(value or {})
        except ValidationError as error:
            raise CodeError("BadInput", f"task {self.name}: {explain(error)}") from None
        return {name: getattr(checked, name) for name in type(checked).model_fields}


def _arguments_model(
    function: Callable[..., Any], hints: Mapping[str, Any], injected: Mapping[str, Any]
) -> type[BaseModel]:
    """A model of the arguments that are the task's input."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in injected:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DeclarationError(f"task {function.__name__}: {parameter} cannot be named in an input")
        default = ... if parameter.default is parameter.empty else parameter.default
        found[name] = (hints.get(name, Any), default)
    return create_model(f"{function.__name__}_input", __config__=ConfigDict(extra="forbid"), **found)
