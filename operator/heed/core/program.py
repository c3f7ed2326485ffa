"""An Agent compiled for deciding: every expression and template parsed once per generation, every mistake found."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from heed import names
from heed.api.agent import Agent, AgentSpec, Handler, SessionSpec, TaskSpec, job_containers, seconds
from heed.core.effects import AgentRef
from heed.core.expressions import Expression, ExpressionError, compile_expression
from heed.core.jobcontract import expands_variables
from heed.core.templates import Guard, Template, TemplateError, compile_template, is_single
from heed.errors import InvalidManifest, Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A pattern over types, and a condition."""

    pattern: str
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of work, its template, and its limits in seconds."""

    name: str
    kind: str
    template: Template
    timeout: int | None
    retention: int


@dataclass(frozen=True, slots=True)
class Start:
    """A task to start: a name with an input, or a template that yields a list of those."""

    task: str | None
    input: Template | None
    many: Template | None


@dataclass(frozen=True, slots=True)
class Emit:
    """An event to emit: a template of {type, data, subject, to}, or one that yields a list of those."""

    one: Template | None
    many: Template | None


@dataclass(frozen=True, slots=True)
class Reaction:
    """A compiled handler. `path` is where it stands in the manifest."""

    name: str
    path: str
    pattern: str
    when: Expression | None
    state: Template | None
    start: tuple[Start, ...]
    emit: tuple[Emit, ...]
    cancel: tuple[str, ...]
    end: bool


@dataclass(frozen=True, slots=True)
class Program:
    """Everything that `decide` needs to know of an Agent."""

    agent: AgentRef
    labels: Mapping[str, str]
    generation: int
    subscriptions: tuple[Subscription, ...]
    key: Expression | None  # None: the default, the event's correlationid
    idle_timeout: int
    tasks: Mapping[str, Task]
    reactions: tuple[Reaction, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The stream subjects that the Agent reads: its subscriptions and its inbox."""
        patterns = dict.fromkeys(subscription.pattern for subscription in self.subscriptions)
        events = tuple(names.event_subject(self.agent.namespace, pattern) for pattern in patterns)
        return (*events, names.inbox_subject(self.agent.namespace, self.agent.name, ">"))


@dataclass(slots=True)
class _Compiler:
    """Collects problems while it compiles, so that an author sees all of them at once."""

    problems: list[Problem] = field(default_factory=list)

    def expression(self, source: str | None, path: str, *, condition: bool = False) -> Expression | None:
        if source is None:
            return None
        return self._try(path, lambda: compile_expression(source, condition=condition))

    def template(self, value: Any, path: str, guard: Guard | None = None) -> Template | None:
        return None if value is None else self._try(path, lambda: compile_template(value, guard=guard))

    def problem(self, path: str, message: str, remedy: str = "") -> None:
        self.problems.append(Problem(path, message, remedy))

    def _try(self, path: str, compile_: Callable[[], T]) -> T | None:
        try:
            return compile_()
        except ExpressionError as error:
            self.problem(path, str(error))
        except TemplateError as error:
            self.problem(path + error.path, error.message)
        except RecursionError:
            self.problem(path, "nests too deep", "flatten it")
        return None


def compile_agent(agent: Agent) -> Program:
    """Compile an Agent. Raises InvalidManifest with every problem found."""
    compiler = _Compiler()
    spec = agent.spec
    subscriptions = tuple(
        Subscription(
            item.type, compiler.expression(item.where, f"spec.subscribe[{index}].where", condition=True)
        )
        for index, item in enumerate(spec.subscribe)
    )
    key = compiler.expression(spec.session.key, "spec.session.key")
    tasks = {name: _task(compiler, name, task) for name, task in spec.tasks.items()}
    reactions = tuple(
        _reaction(compiler, item, f"spec.handlers[{i}]", spec) for i, item in enumerate(spec.handlers)
    )
    _check_names(compiler, spec)
    if compiler.problems:
        raise InvalidManifest(compiler.problems)
    return Program(
        agent=AgentRef(agent.metadata.namespace, agent.metadata.name, agent.metadata.uid),
        labels=agent.metadata.labels,
        generation=agent.metadata.generation,
        subscriptions=subscriptions,
        key=None if spec.session.key == SessionSpec().key else key,
        idle_timeout=seconds(spec.session.idle_timeout),
        tasks=tasks,
        reactions=reactions,
    )


def _check_names(compiler: _Compiler, spec: AgentSpec) -> None:
    seen: dict[str, int] = {}
    for index, handler in enumerate(spec.handlers):
        if handler.name in seen:
            compiler.problem(
                f"spec.handlers[{index}].name",
                f'"{handler.name}" is the name of spec.handlers[{seen[handler.name]}] too',
                "give each handler its own name",
            )
        seen.setdefault(handler.name, index)
    for index, item in enumerate(spec.subscribe):
        if item.type.startswith(names.TASK_EVENTS):
            compiler.problem(
                f"spec.subscribe[{index}].type",
                "task events come through the inbox and need no subscription",
                "remove it; a handler with that `type` gets them",
            )


def _task(compiler: _Compiler, name: str, task: TaskSpec) -> Task:
    path = f"spec.tasks.{name}"
    template = compiler.template(task.job, f"{path}.job", expands_variables)
    if task.job is None:
        compiler.problem(path, "has no work to do", "give it a `job`")
    elif not job_containers(task.job):
        compiler.problem(
            f"{path}.job.template.spec.containers",
            "there is no container",
            "a job needs at least one container",
        )
    return Task(
        name=name,
        kind="job",
        template=template or compile_template({}),
        timeout=None if task.timeout is None else seconds(task.timeout),
        retention=seconds(task.retention),
    )


def _reaction(compiler: _Compiler, handler: Handler, path: str, spec: AgentSpec) -> Reaction:
    if handler.end and handler.start:
        compiler.problem(
            f"{path}.end",
            "a handler that ends its session cannot start tasks",
            "start them in another handler",
        )
    for index, cancel in enumerate(handler.cancel):
        _check_task(compiler, cancel.task, f"{path}.cancel[{index}].task", spec)
    _check_state(compiler, handler.state, f"{path}.state")
    return Reaction(
        name=handler.name,
        path=path,
        pattern=handler.type,
        when=compiler.expression(handler.when, f"{path}.when", condition=True),
        state=compiler.template(handler.state, f"{path}.state"),
        start=tuple(_starts(compiler, handler, f"{path}.start", spec)),
        emit=tuple(_emits(compiler, handler, f"{path}.emit")),
        cancel=tuple(item.task for item in handler.cancel),
        end=handler.end,
    )


def _check_state(compiler: _Compiler, state: Any, path: str) -> None:
    if state is not None and not isinstance(state, dict) and not _is_single(state):
        compiler.problem(
            path, "is neither a map nor one ${CEL} that yields a map", "write `state: {key: value}`"
        )
    for key, value in state.items() if isinstance(state, dict) else ():
        if value is None:
            remedy = 'write "${null}" to remove a key: Kubernetes drops null members from manifests'
            compiler.problem(f"{path}.{key}", "is null", remedy)


def _is_single(value: Any) -> bool:
    """Whether it is one ${CEL}; what cannot be parsed is reported where it is compiled."""
    try:
        return isinstance(value, str) and value.startswith("${") and is_single(value)
    except ExpressionError:
        return True


def _check_task(compiler: _Compiler, task: str | None, path: str, spec: AgentSpec) -> None:
    if task is not None and task not in spec.tasks:
        known = ", ".join(sorted(spec.tasks)) or "none"
        compiler.problem(path, f'unknown task "{task}"', f"spec.tasks has: {known}")


def _starts(compiler: _Compiler, handler: Handler, path: str, spec: AgentSpec) -> Iterator[Start]:
    for index, item in enumerate(handler.start):
        here = f"{path}[{index}]"
        _check_one_of(compiler, here, "task", item.task, item.from_)
        _check_task(compiler, item.task, f"{here}.task", spec)
        yield Start(
            task=item.task,
            input=compiler.template(item.input, f"{here}.input"),
            many=compiler.template(item.from_, f"{here}.from"),
        )


def _emits(compiler: _Compiler, handler: Handler, path: str) -> Iterator[Emit]:
    for index, item in enumerate(handler.emit):
        here = f"{path}[{index}]"
        _check_one_of(compiler, here, "type", item.type, item.from_)
        if item.type is not None and "${" not in item.type:
            _check_emitted_type(compiler, item.type, f"{here}.type")
        parts = {"type": item.type, "data": item.data, "subject": item.subject, "to": item.to}
        one = (
            None
            if item.type is None
            else compiler.template({key: value for key, value in parts.items() if value is not None}, here)
        )
        yield Emit(one=one, many=compiler.template(item.from_, f"{here}.from"))


def _check_emitted_type(compiler: _Compiler, type_: str, path: str) -> None:
    if not names.is_type(type_):
        compiler.problem(
            path, f'"{type_}" is not an event type', "use dot-separated tokens, such as com.example.done"
        )
    elif type_.startswith(names.TASK_EVENTS):
        compiler.problem(
            path, f"{names.TASK_EVENTS}* is reserved for the ends of tasks", "choose a type of your own"
        )


def _check_one_of(compiler: _Compiler, path: str, name: str, value: str | None, many: str | None) -> None:
    if (value is None) == (many is None):
        compiler.problem(path, f"needs either `{name}` or `from`", f"give exactly one of `{name}` and `from`")
    if many is not None and not _is_single(many):
        compiler.problem(
            f"{path}.from", "is not one ${CEL}", "write `from: ${…}` with an expression that yields a list"
        )
