"""The compiler: an Agent's manifest as a program, with every expression and template parsed once per generation."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from heed import names
from heed.api.agent import Agent, AgentSpec, SessionSpec, SubscriptionSpec
from heed.api.fields import parse_duration
from heed.api.handler import HandlerSpec
from heed.api.task import TaskSpec
from heed.core.cel.cost import RENDER_WORK, SCOPE_WORK
from heed.core.cel.expression import Expression
from heed.core.cel.polynomial import EXTENT, NO_WORK, Bound, DataLimit, peak, plus, scale, times
from heed.core.cel.template import Template, compile_template
from heed.core.cel.variables import (
    ALL_VARIABLES,
    APPROVER_VARIABLES,
    HANDLER_VARIABLES,
    SUBSCRIPTION_VARIABLES,
    TASK_VARIABLES,
    Vocabulary,
)
from heed.core.compiler import validation
from heed.core.compiler.authorization import check_permissions
from heed.core.compiler.llm_tasks import check_llm
from heed.core.compiler.model_limits import compile_shared_limits
from heed.core.compiler.timers import CompiledTimer, bound_tick, compile_timers
from heed.core.compiler.validation import Compiler
from heed.core.compiler.workers import check_worker
from heed.core.effects import AgentRef
from heed.core.llm.budget import SharedLimits
from heed.core.llm.tool_calls import MAX_CALLS
from heed.core.policy.permissions import UNRESTRICTED, Permissions
from heed.core.schema.registry import NO_SCHEMAS, SchemaRegistry
from heed.core.tasks.job_contract import expands_variables
from heed.core.tasks.resource import ObjectKind, dump_target
from heed.core.tasks.retry import RetryPolicy
from heed.core.tasks.slots import SlotLimits
from heed.core.type_patterns import matches
from heed.errors import DecisionFailed, InvalidManifest, Problem, manifest_error


@dataclass(frozen=True, slots=True)
class Subscription:
    """A compiled subscription: a type pattern in a namespace (None: the Agent's own), and a condition."""

    pattern: str
    where: Expression | None
    namespace: str | None


@dataclass(frozen=True, slots=True)
class TaskTemplate:
    """A compiled task: kind, template, timeouts and retention in seconds, whether it may publish, further attempts.

    `where` is the condition over the answers of an approval.
    `target` is what a resource task waits for, as PendingTask keeps it, and `created` the kind of its object.
    `repeatable` says whether another attempt is safe where it is not known what became of one.
    """

    name: str
    kind: str
    template: Template
    timeout: int | None
    retention: int
    publish: bool = False
    where: Expression | None = None
    target: str | None = None
    created: ObjectKind | None = None
    retry: RetryPolicy | None = None
    attempt_timeout: int | None = None
    priority: int = 0
    repeatable: bool = True

    @property
    def attempts(self) -> int:
        """How many attempts there may be."""
        return 1 if self.retry is None else self.retry.attempts

    @property
    def reads_state(self) -> bool:
        """Whether its template may read the session's state."""
        return any("state" in expression.source for _, expression in self.template.expressions)


@dataclass(frozen=True, slots=True)
class StartTemplate:
    """A task to start: a name with an input, or a template that yields a list of those."""

    task: str | None
    input: Template | None
    many: Template | None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class EmitTemplate:
    """An event to emit: a template of {type, data, subject, to}, or one that yields a list of those."""

    one: Template | None
    many: Template | None


@dataclass(frozen=True, slots=True)
class CompiledHold:
    """What an event has to wait for, for at most so many seconds.

    `handled`: the handlers of dev.heed.hold.expired act where they pass.
    """

    until: Expression
    seconds: int
    handled: bool


@dataclass(frozen=True, slots=True)
class CodeReference:
    """A function of the Agent's code: type patterns of what it may emit, and names of the tasks that it may start."""

    function: str
    emits: tuple[str, ...]
    starts: tuple[str, ...]
    reads_pending: bool = False


@dataclass(frozen=True, slots=True)
class CompiledHandler:
    """A compiled handler. `path` is where it stands in the manifest; with `code`, that is what it does."""

    name: str
    path: str
    pattern: str
    when: Expression | None
    hold: CompiledHold | None
    state: Template | None
    start: tuple[StartTemplate, ...]
    emit: tuple[EmitTemplate, ...]
    cancel: tuple[str, ...]
    end: bool
    code: CodeReference | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled Agent: everything that `decide` needs.

    With `careful`, decisions on more data than `limit` allows fail with the code NEEDS_GUARD instead of being made.
    With `verdict`, they fail with that.
    """

    agent: AgentRef
    labels: Mapping[str, str]
    generation: int
    subscriptions: tuple[Subscription, ...]
    key: Expression | None  # None: the default, the event's correlationid
    idle_timeout: int
    tasks: Mapping[str, TaskTemplate]
    reactions: tuple[CompiledHandler, ...]
    manifest: Agent  # what it was compiled from
    opening: DataLimit  # on what it takes to find an event's session
    limit: DataLimit  # on all of a decision
    reads_others: bool = False  # whether it reads events of other namespaces
    permissions: Permissions = UNRESTRICTED
    schemas: SchemaRegistry = NO_SCHEMAS
    max_age: int | None = None  # of a session, in seconds
    announces_ends: bool = False  # whether the Agent hears of sessions that end by their age
    careful: bool = False
    verdict: DecisionFailed | None = None
    slots: SlotLimits = SlotLimits()
    timers: Mapping[str, CompiledTimer] = field(default_factory=dict)
    shared_limits: SharedLimits = SharedLimits()  # of what its `llm` tasks may spend

    @property
    def code(self) -> str | None:
        """The digest of the Agent's code, where it has any."""
        worker = self.manifest.spec.worker
        return None if worker is None else worker.digest

    @property
    def suspended(self) -> bool:
        """Whether it reads no events for now."""
        return self.manifest.spec.suspend

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that the Agent reads: its subscriptions and its inbox."""
        own = self.agent.namespace
        events = (names.event_subject(item.namespace or own, item.pattern) for item in self.subscriptions)
        return (*dict.fromkeys(events), *self.inbox)

    def matches(self, subscription: Subscription, type_: str, subject: str) -> bool:
        """Whether a subscription's pattern matches an event of a type on a subject; its condition is not evaluated."""
        if not matches(subscription.pattern, type_):
            return False
        namespace = subscription.namespace or self.agent.namespace
        return subject.startswith("heed.events.") and names.namespace_of_subject(subject) == namespace

    def reads_namespace(self, namespace: str) -> bool:
        """Whether the Agent may read events of a namespace: of its own always, else where a subscription names it."""
        return namespace == self.agent.namespace or any(
            item.namespace == namespace for item in self.subscriptions
        )

    @property
    def inbox(self) -> tuple[str, ...]:
        """The Agent's inbox subjects: task ends, direct messages, redriven dead letters, progress, turns of models."""
        namespace, name = self.agent.namespace, self.agent.name
        return (
            names.inbox_subject(namespace, name, ">"),
            names.redrive_subject(namespace, name, ">"),
            names.task_subject(namespace, name, "*", names.TASK_PROGRESS),
            names.task_subject(namespace, name, "*", names.TASK_TURN),
        )

    @property
    def emissions(self) -> tuple[str, ...]:
        """Type patterns of the events that the Agent and its tasks may emit."""
        aspect = self.permissions.emissions
        return (">",) if aspect is None else tuple(aspect.allowed)


def compile_agent(
    agent: Agent, permissions: Permissions = UNRESTRICTED, schemas: SchemaRegistry = NO_SCHEMAS
) -> Program:
    """Compile an Agent with its permissions and the schemas of its events.

    Raises InvalidManifest with every problem found, PolicyViolation where all of them are that it is not allowed.
    """
    problems: list[Problem] = []
    compiler, spec = Compiler(problems, SUBSCRIPTION_VARIABLES), agent.spec
    validation.check_extent(compiler, spec)
    if problems:
        raise InvalidManifest(problems)
    subscriptions = tuple(
        _subscription(compiler, item, f"spec.subscribe[{index}].where", agent.metadata.namespace)
        for index, item in enumerate(spec.subscribe)
    )
    key = compiler.expression(spec.session.key, "spec.session.key")
    validation.check_key(compiler, key)
    tasks = {name: _task(Compiler(problems, TASK_VARIABLES), name, task) for name, task in spec.tasks.items()}
    reactions = tuple(
        _reaction(Compiler(problems, _of_handler(item)), item, f"spec.handlers[{i}]", spec)
        for i, item in enumerate(spec.handlers)
    )
    timers = compile_timers(problems, spec)
    validation.check_names(compiler, spec)
    for name, task in spec.tasks.items():
        problems += check_llm(name, task, spec, f"spec.tasks.{name}") if task.llm is not None else ()
    problems += check_worker(spec)
    validation.check_rate_limit(compiler, spec)
    check_permissions(problems, agent, permissions)
    if problems:
        raise manifest_error(problems)
    key = None if spec.session.key == SessionSpec().key else key
    opening = peak(_opening(subscriptions, key), bound_tick(timers.values()))
    return Program(
        agent=AgentRef(agent.metadata.namespace, agent.metadata.name, agent.metadata.uid),
        labels=agent.metadata.labels,
        generation=agent.metadata.generation,
        subscriptions=subscriptions,
        key=key,
        idle_timeout=parse_duration(spec.session.idle_timeout),
        tasks=tasks,
        reactions=reactions,
        manifest=agent,
        opening=DataLimit.of(opening),
        max_age=None if spec.session.max_age is None else parse_duration(spec.session.max_age),
        announces_ends=spec.session.on_expire == "Emit",
        limit=DataLimit.of(
            plus(
                opening,
                *(_work(reaction, tasks) for reaction in reactions),
                _retrying(tasks),
                _calling_tools(spec, tasks),
            )
        ),
        reads_others=any(item.namespace for item in subscriptions),
        slots=_slots(spec),
        permissions=permissions,
        schemas=schemas,
        timers=timers,
        shared_limits=compile_shared_limits(spec.model_budgets, permissions),
    )


def _slots(spec: AgentSpec) -> SlotLimits:
    by_task = {name: task.max_concurrent for name, task in spec.tasks.items()}
    named = {name: limit for name, limit in by_task.items() if limit is not None}
    return SlotLimits(spec.max_concurrent_tasks, named)


def _subscription(compiler: Compiler, item: SubscriptionSpec, path: str, own: str) -> Subscription:
    where = compiler.expression(item.where, path, condition=True)
    return Subscription(item.type, where, None if item.namespace == own else item.namespace)


def _opening(subscriptions: Iterable[Subscription], key: Expression | None) -> Bound:
    """The work of finding out whether an event is heeded, and in which session."""
    return plus(
        *(item.where.cost.work for item in subscriptions if item.where),
        key.value_cost.work if key else NO_WORK,
    )


def _work(reaction: CompiledHandler, tasks: Mapping[str, TaskTemplate]) -> Bound:
    """What a handler may do at most, the tasks that it starts included."""
    started = [_rendering(item.input) for item in reaction.start if item.input]
    emitted = [_rendering(item.one or item.many) for item in reaction.emit]
    tasks_of = [_starting(item, tasks) for item in reaction.start]
    when = reaction.when.cost.work if reaction.when else NO_WORK
    until = reaction.hold.until.cost.work if reaction.hold else NO_WORK
    return plus(
        scale(EXTENT, SCOPE_WORK), when, until, _rendering(reaction.state), *started, *emitted, *tasks_of
    )


def _starting(start: StartTemplate, tasks: Mapping[str, TaskTemplate]) -> Bound:
    """A task's template and document, once or for each item of a list. Its input is no more than fits, or refused."""
    one = [tasks[start.task]] if start.task is not None else list(tasks.values())
    work = plus(
        scale(EXTENT, SCOPE_WORK + 2 * RENDER_WORK), peak(*(_rendering(task.template) for task in one))
    )
    if start.many is None:
        return work
    return plus(_rendering(start.many), times(start.many.cost.length, work))


def _retrying(tasks: Mapping[str, TaskTemplate]) -> Bound:
    """The work of rendering a task for its next attempt."""
    return peak(NO_WORK, *(_rendering(task.template) for task in tasks.values() if task.retry is not None))


def _calling_tools(spec: AgentSpec, tasks: Mapping[str, TaskTemplate]) -> Bound:
    """The work of rendering as many tasks as one turn of a model may call, each the most costly of its tools."""
    called = {tool.task for task in spec.tasks.values() if task.llm is not None for tool in task.llm.tools}
    found = [tasks[name] for name in called if name in tasks]
    return scale(peak(NO_WORK, *(_rendering(task.template) for task in found)), MAX_CALLS)


def _rendering(template: Template | None) -> Bound:
    return plus(template.cost.work, scale(template.cost.size, RENDER_WORK)) if template else NO_WORK


def _of_handler(handler: HandlerSpec) -> Vocabulary:
    """The variables of a handler: `task` and `input` only where it may react to an event of a task."""
    return (
        ALL_VARIABLES
        if any(matches(handler.type, type_) for type_ in names.HANDLED_TASK_TYPES)
        else HANDLER_VARIABLES
    )


def _task(compiler: Compiler, name: str, task: TaskSpec) -> TaskTemplate:
    path = f"spec.tasks.{name}"
    guard = expands_variables if _is_read_by_kubelet(task) else None
    template = compiler.template(task.work, f"{path}.{task.kind}", guard)
    validation.check_work(compiler, task, template, path)
    if task.llm is not None:
        validation.check_values(compiler, task.llm.template, f"{path}.llm")
    judge = Compiler(compiler.problems, APPROVER_VARIABLES)
    validation.check_attempts(compiler, task, path)
    return TaskTemplate(
        name=name,
        kind=task.kind,
        template=template or compile_template({}),
        timeout=None if task.timeout is None else parse_duration(task.timeout),
        retention=parse_duration(task.retention),
        publish=task.publish,
        where=judge.expression(task.condition, f"{path}.approval.approvers.where", condition=True),
        target=None if task.resource is None else dump_target(task.resource),
        created=None if task.resource is None else ObjectKind.of(task.resource.template),
        retry=RetryPolicy.of(task.retry) if task.retry is not None and task.retry.attempts > 1 else None,
        attempt_timeout=None if task.attempt_timeout is None else parse_duration(task.attempt_timeout),
        priority=task.priority,
        repeatable=task.http is None or task.http.is_repeatable,
    )


def _is_read_by_kubelet(task: TaskSpec) -> bool:
    """Whether pods are made of the template as it is. What other controllers make of `$(…)` is theirs to say."""
    if task.resource is not None:
        return ObjectKind.of(task.resource.template).group in ("", "apps", "batch")
    return task.kind == "job"


def _reaction(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> CompiledHandler:
    validation.check_handler(compiler, handler, path, spec)
    return CompiledHandler(
        name=handler.name,
        path=path,
        pattern=handler.type,
        when=compiler.expression(handler.when, f"{path}.when", condition=True),
        hold=_hold(compiler, handler, f"{path}.hold", spec),
        state=compiler.template(handler.state, f"{path}.state"),
        start=tuple(_starts(compiler, handler, f"{path}.start", spec)),
        emit=tuple(_emits(compiler, handler, f"{path}.emit")),
        cancel=tuple(item.task for item in handler.cancel),
        end=handler.end,
        code=_code(compiler, handler, f"{path}.call", spec),
    )


def _code(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> CodeReference | None:
    if (call := handler.call) is None:
        return None
    validation.check_call(compiler, handler, call, path, spec)
    return CodeReference(call.function, tuple(call.emits), tuple(call.starts), call.pending)


def _hold(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> CompiledHold | None:
    if (hold := handler.hold) is None:
        return None
    validation.check_hold(compiler, handler, path, spec)
    until = compiler.expression(hold.until, f"{path}.until", condition=True)
    if until is None:
        return None
    return CompiledHold(until, parse_duration(hold.for_), hold.on_expire == "Handle")


def _starts(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> Iterator[StartTemplate]:
    for index, item in enumerate(handler.start):
        here = f"{path}[{index}]"
        validation.check_one_of(compiler, here, "task", item.task, item.from_)
        validation.check_task(compiler, item.task, f"{here}.task", spec)
        validation.check_values(compiler, item.input, f"{here}.input")
        yield StartTemplate(
            task=item.task,
            input=compiler.template(item.input, f"{here}.input"),
            many=compiler.template(item.from_, f"{here}.from"),
            priority=item.priority,
        )


def _emits(compiler: Compiler, handler: HandlerSpec, path: str) -> Iterator[EmitTemplate]:
    for index, item in enumerate(handler.emit):
        here = f"{path}[{index}]"
        validation.check_one_of(compiler, here, "type", item.type, item.from_)
        validation.check_emitted(compiler, item, here)
        parts = {"type": item.type, "data": item.data, "subject": item.subject, "to": item.to}
        given = {key: value for key, value in parts.items() if value is not None}
        yield EmitTemplate(
            one=None if item.type is None else compiler.template(given, here),
            many=compiler.template(item.from_, f"{here}.from"),
        )
