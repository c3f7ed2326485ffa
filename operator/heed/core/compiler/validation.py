"""Validation of an Agent at compile time: every mistake is a Problem with field and remedy."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from heed import names
from heed.api.agent import MAX_EXPRESSIONS, MAX_EXPRESSIONS_CHARS, MAX_TEMPLATE_VALUES, AgentSpec
from heed.api.fields import parse_duration
from heed.api.handler import CallSpec, EmitSpec, HandlerSpec
from heed.api.task import TASK_KINDS, TaskSpec
from heed.core.approval.spec_check import check_approval
from heed.core.cel.expression import Expression, ExpressionError, compile_expression, expanded_size
from heed.core.cel.template import (
    Guard,
    Template,
    TemplateError,
    compile_template,
    expression_sources,
    is_single,
)
from heed.core.cel.variables import ALL_VARIABLES, Vocabulary, suggest_name
from heed.core.codec.canonical_json import INT_MAX, INT_MIN
from heed.core.compiler.http_tasks import check_http
from heed.core.schema.job_spec import check_job_spec
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.tasks.resource import EXPRESSIONS, check_resource
from heed.core.tasks.retry import is_final
from heed.core.tasks.wait import check_wait
from heed.core.type_patterns import matches, may_overlap
from heed.errors import Problem

T = TypeVar("T")

_KEYS: Final = ("STRING", "DYN")


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles expressions and templates over a site's variables, and collects problems."""

    problems: list[Problem]
    known: Vocabulary = ALL_VARIABLES

    def expression(self, source: str | None, path: str, *, condition: bool = False) -> Expression | None:
        """A compiled expression; None where there is none, or a problem with it."""
        if source is None:
            return None
        return self._try(path, lambda: compile_expression(source, condition=condition, known=self.known))

    def template(self, value: Any, path: str, guard: Guard | None = None) -> Template | None:
        """A compiled template; None where there is none, or a problem with it."""
        if value is None:
            return None
        return self._try(path, lambda: compile_template(value, guard=guard, known=self.known))

    def add_problem(self, path: str, message: str, remedy: str = "") -> None:
        """Add a problem."""
        self.problems.append(Problem(path, message, remedy))

    def _try(self, path: str, compile_: Callable[[], T]) -> T | None:
        try:
            return compile_()
        except ExpressionError as error:
            self.add_problem(path, str(error))
        except TemplateError as error:
            self.add_problem(path + error.path, error.message)
        except RecursionError:
            self.add_problem(path, "nests too deep", "flatten it")
        return None


def check_extent(compiler: Compiler, spec: AgentSpec) -> None:
    """Check the number of expressions and template values against the limits of one Agent."""
    if _values(_templates(spec)) > MAX_TEMPLATE_VALUES:
        message = f"has more than {MAX_TEMPLATE_VALUES} values in templates"
        compiler.add_problem("spec", message, "make several Agents of it, or let tasks read them elsewhere")
        return
    count = length = 0
    for source in _sources(spec):
        count, length = count + 1, length + expanded_size(source)
        if count > MAX_EXPRESSIONS or length > MAX_EXPRESSIONS_CHARS:
            message = (
                f"has more than {MAX_EXPRESSIONS} expressions, or {MAX_EXPRESSIONS_CHARS} characters of them "
                "(each optMap doubles its expression)"
            )
            compiler.add_problem("spec", message, "make several Agents of it")
            return


def check_rate_limit(compiler: Compiler, spec: AgentSpec) -> None:
    """Check that a rate limit has a time."""
    limit = spec.rate_limit
    if limit is not None and parse_duration(limit.per) == 0:
        compiler.add_problem("spec.rateLimit.per", f"{limit.per} is no time", "use 1s, 1m or 1h")


def _sources(spec: AgentSpec) -> Iterator[str]:
    """Every expression as it is written. What cannot be read is reported where it is compiled."""
    yield from (item.where for item in spec.subscribe if item.where)
    yield from (item.when for item in spec.handlers if item.when)
    yield from (item.condition for item in spec.tasks.values() if item.condition)
    yield from (timer.session for timer in spec.timers.values() if timer.session)
    for task in spec.tasks.values():
        if task.http is not None and task.http.result.reduce is not None:
            yield task.http.result.reduce
        if task.resource is not None:
            yield from (text for name in EXPRESSIONS if (text := getattr(task.resource, name)))
    yield from (item.hold.until for item in spec.handlers if item.hold)
    for template in _templates(spec):
        with suppress(ExpressionError, RecursionError):
            yield from expression_sources(template)


def _templates(spec: AgentSpec) -> list[Any]:
    templates: list[Any] = [task.work for task in spec.tasks.values()]
    templates += [timer.data for timer in spec.timers.values()]
    for handler in spec.handlers:
        started = (item.model_dump(exclude={"priority"}) for item in handler.start)
        templates += [handler.state, *started, *(item.model_dump() for item in handler.emit)]
    return templates


def _values(templates: list[Any]) -> int:
    """How many values there are, the lists and maps that hold others among them."""
    count, left = 0, list(templates)
    while left and count <= MAX_TEMPLATE_VALUES:
        match left.pop():
            case dict() as found:
                left.extend(found.values())
            case list() as found:
                left.extend(found)
        count += 1
    return count


def check_names(compiler: Compiler, spec: AgentSpec) -> None:
    """Check that handler names are unique, and that no subscription is for inbox types."""
    seen: dict[str, int] = {}
    for index, handler in enumerate(spec.handlers):
        if handler.name in seen:
            compiler.add_problem(
                f"spec.handlers[{index}].name",
                f'"{handler.name}" is the name of spec.handlers[{seen[handler.name]}] too',
                "give each handler its own name",
            )
        seen.setdefault(handler.name, index)
    if not spec.subscribe and not spec.timers:
        compiler.add_problem("spec.subscribe", "is missing", "add it, or give the Agent `timers`")
    for index, item in enumerate(spec.subscribe):
        if item.type.startswith(names.TASK_TYPE_PREFIX):
            compiler.add_problem(
                f"spec.subscribe[{index}].type",
                "task events come through the inbox and need no subscription",
                "remove it; a handler with that `type` gets them",
            )
        elif names.is_reserved(item.type):
            compiler.add_problem(
                f"spec.subscribe[{index}].type",
                "what Heed itself says comes through the inbox and needs no subscription",
                "remove it; a handler with that `type` gets it",
            )


def check_key(compiler: Compiler, key: Expression | None) -> None:
    """Check that the session key's type is string, as far as known."""
    check_key_type(compiler, key, "spec.session.key")


def check_key_type(compiler: Compiler, key: Expression | None, path: str) -> None:
    """Check that the type of an expression that yields a session's key is string, as far as known."""
    if key is not None and (found := key.compiled.return_type().name()) not in _KEYS:
        remedy = "wrap it in string(…)" if found in ("INT", "UINT", "DOUBLE", "BOOL") else "yield a string"
        compiler.add_problem(path, f"is {found.lower()}, not a string", remedy)


def check_work(compiler: Compiler, task: TaskSpec, template: Template | None, path: str) -> None:
    """Check that a task has one kind of work, and its template by the rules of that. None: it did not compile."""
    if not task.kinds:
        compiler.add_problem(path, "has no work to do", f"give it one of {', '.join(TASK_KINDS)}")
    elif len(task.kinds) > 1:
        compiler.add_problem(
            path, f"has several kinds of work: {', '.join(task.kinds)}", "make it one task for each"
        )
    elif template is None:
        return
    elif task.kind == "wait":
        compiler.problems.extend(check_wait(template.shape, f"{path}.wait"))
    elif task.kind == "approval":
        compiler.problems.extend(check_approval(task, template.shape, f"{path}.approval"))
    elif task.resource is not None:
        if task.publish:
            compiler.add_problem(f"{path}.publish", "is for jobs only", "say with `progress` how far it is")
        compiler.problems.extend(check_resource(template.shape, task.resource, f"{path}.resource"))
        check_values(compiler, task.resource.template, f"{path}.resource.template")
    elif task.http is not None:
        compiler.problems.extend(check_http(task, path))
        check_values(compiler, task.http.template, f"{path}.http")
    elif task.kind == "job":
        compiler.problems.extend(check_job_spec(template.shape, f"{path}.job"))


def check_attempts(compiler: Compiler, task: TaskSpec, path: str) -> None:
    """Check that a task that is to be attempted again can be, and after failures that may be."""
    if task.kind in LEDGER_KINDS:
        given = {
            "retry": task.retry,
            "attemptTimeout": task.attempt_timeout,
            "maxConcurrent": task.max_concurrent,
        }
        for field in (name for name, value in given.items() if value is not None):
            compiler.add_problem(f"{path}.{field}", f"nothing runs in a {task.kind} task", "leave it out")
    for index, reason in enumerate(task.retry.reasons if task.retry is not None else ()):
        if is_final(reason):
            message = f"what fails with {reason} is never tried again"
            compiler.add_problem(f"{path}.retry.reasons[{index}]", message, "leave it out")


def check_handler(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> None:
    """Check that a handler's actions are consistent."""
    if handler.type.startswith(names.TASK_TYPE_PREFIX) and not any(
        matches(handler.type, type_) for type_ in names.HANDLED_TASK_TYPES
    ):
        message = (
            f"no task sends {handler.type}, and {names.TASK_TYPE_PREFIX}* is reserved for what tasks send"
        )
        compiler.add_problem(f"{path}.type", message, suggest_name(handler.type, names.HANDLED_TASK_TYPES))
    if handler.type.startswith(names.TIMER_TYPE_PREFIX) and not matches(handler.type, names.TIMER_FIRED):
        message = (
            f"no timer sends {handler.type}, and {names.TIMER_TYPE_PREFIX}* is reserved for what timers send"
        )
        compiler.add_problem(f"{path}.type", message, suggest_name(handler.type, [names.TIMER_FIRED]))
    if handler.end and handler.start:
        message, remedy = (
            "a handler that ends its session cannot start tasks",
            "start them in another handler",
        )
        compiler.add_problem(f"{path}.end", message, remedy)
    for index, cancel in enumerate(handler.cancel):
        check_task(compiler, cancel.task, f"{path}.cancel[{index}].task", spec)
    state = handler.state
    if state is not None and not isinstance(state, dict) and not _is_single(state):
        message = "is neither a map nor one ${CEL} that yields a map"
        compiler.add_problem(f"{path}.state", message, "write `state: {key: value}`")
    check_values(compiler, state, f"{path}.state")


def check_call(compiler: Compiler, handler: HandlerSpec, call: CallSpec, path: str, spec: AgentSpec) -> None:
    """Check that a handler in code says nothing else that it does, and only what there is of what it may do."""
    for field in ("hold", "state", "start", "emit", "cancel", "end"):
        if getattr(handler, field):
            place = f"{path.removesuffix('.call')}.{field}"
            compiler.add_problem(place, "is given beside `call`", "leave it out; the function says it")
    for index, task in enumerate(call.starts):
        check_task(compiler, task, f"{path}.starts[{index}]", spec)
    for index, pattern in enumerate(call.emits):
        if may_overlap(pattern, "dev.heed.>"):
            remedy = "use a narrower pattern, such as com.example.*"
            compiler.add_problem(
                f"{path}.emits[{index}]", f"{pattern} may be one of Heed's own types", remedy
            )


def check_hold(compiler: Compiler, handler: HandlerSpec, path: str, spec: AgentSpec) -> None:
    """Check that a handler may hold its events, and that one is there for those whose time is over."""
    if any(may_overlap(handler.type, type_) for type_ in names.UNHELD_TYPES):
        message = f"{handler.type} may be an event of a task, a hold or a session, which cannot wait"
        compiler.add_problem(path, message, "hold only events of narrower types")
    if (hold := handler.hold) is None or hold.on_expire != "Handle":
        return
    if not any(matches(item.type, names.HOLD_EXPIRED) for item in spec.handlers):
        message = f"no handler has the type {names.HOLD_EXPIRED}"
        compiler.add_problem(f"{path}.onExpire", message, "add one, or write `onExpire: DeadLetter`")


def check_task(compiler: Compiler, task: str | None, path: str, spec: AgentSpec) -> None:
    """Check that a task exists."""
    if task is not None and task not in spec.tasks:
        known = ", ".join(sorted(spec.tasks)) or "none"
        compiler.add_problem(path, f'unknown task "{task}"', f"spec.tasks has: {known}")


def check_emitted(compiler: Compiler, emit: EmitSpec, path: str) -> None:
    """Check the literal parts of an emitted event."""
    if emit.type is not None and "${" not in emit.type:
        if not names.is_type(emit.type):
            remedy = "use dot-separated tokens, such as com.example.done"
            compiler.add_problem(f"{path}.type", f'"{emit.type}" is not an event type', remedy)
        elif names.is_reserved(emit.type):
            message = "dev.heed.* is reserved for what Heed itself says"
            compiler.add_problem(f"{path}.type", message, "choose a type of your own")
    if emit.to is not None and "${" not in emit.to and not names.is_name(emit.to):
        compiler.add_problem(f"{path}.to", f'"{emit.to}" is not the name of an Agent', "use a-z, 0-9 and -")
    check_values(compiler, emit.data, f"{path}.data")


def check_one_of(compiler: Compiler, path: str, name: str, value: str | None, many: str | None) -> None:
    """Check that exactly one of a member and `from` is set."""
    if (value is None) == (many is None):
        compiler.add_problem(
            path, f"needs either `{name}` or `from`", f"give exactly one of `{name}` and `from`"
        )
    if many is not None and not _is_single(many):
        remedy = "write `from: ${…}` with an expression that yields a list"
        compiler.add_problem(f"{path}.from", "is not one ${CEL}", remedy)


def check_values(compiler: Compiler, value: Any, path: str, depth: int = 0) -> None:
    """Check literals for values that Kubernetes changes: it drops nulls and rounds large integers."""
    if depth > 100:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if item is None:
                remedy = 'write "${null}": Kubernetes drops null members from manifests'
                compiler.add_problem(f"{path}.{key}", "is null", remedy)
            check_values(compiler, item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_values(compiler, item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        compiler.add_problem(path, f"{value} does not fit 64 bits", "write it as a string")


def _is_single(value: Any) -> bool:
    """Whether it is one ${CEL}; what cannot be parsed is reported where it is compiled."""
    try:
        return isinstance(value, str) and value.startswith("${") and is_single(value)
    except ExpressionError:
        return True
