"""What an Agent's handlers make of one event, within one session. Everything is collected before anything is kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from heed.api.task import MAX_PRIORITY
from heed.api.validation import json_kind
from heed.core.cel.expression import Expression, ExpressionError, Scope, explain_out_of_memory
from heed.core.cel.polynomial import RemainingLimit
from heed.core.cel.template import Template, TemplateError
from heed.core.codec.canonical_json import canonicalize, dump_compact
from heed.core.codec.strict_json import MAX_JSON_DEPTH, measure_depth
from heed.core.compiler.program import CompiledHandler, EmitTemplate, Program, StartTemplate
from heed.core.decision.event_variables import refuse_zeros
from heed.core.decision.guard import check_harmless
from heed.core.decision.model import EmitRequest, HandlerResult, HoldRequest, Outcome, StartRequest
from heed.core.decision.step import Step
from heed.errors import DecisionFailed

MAX_STATE_BYTES: Final = 128 * 1024
MAX_DECISION_BYTES: Final = 384 * 1024


def run_handlers(step: Step) -> Outcome | None:
    """Run the event's handlers within its session. Raises DecisionFailed."""
    key, session = step.key or "", step.session
    step.before = dict(session.state) if key in step.ledger.sessions else None
    step.variables["session"] = {"key": key, "startedAt": session.started_at}
    step.result = react(step.program, step.reactions, step.variables, session.state)
    return None if step.result.handlers or step.result.hold else "ignored"


def react(
    program: Program,
    reactions: Iterable[CompiledHandler],
    variables: Mapping[str, Any],
    state: Mapping[str, Any],
) -> HandlerResult:
    """Run the handlers whose condition holds, up to one that has to wait. `variables` are all but `state`.

    Raises DecisionFailed with the handler's name; nothing of the decision counts then.
    """
    if program.verdict is not None:
        raise program.verdict
    result = HandlerResult(dict(state))
    scope = Scope({**variables, "state": result.state})
    allowance = RemainingLimit(program.limit, variables) if program.careful else None
    checked = None
    for reaction in reactions:
        if allowance is not None and result.state is not checked:
            check_harmless(allowance.allows(result.state))
            checked = result.state
        try:
            if reaction.when is not None and not _holds(reaction.when, f"{reaction.path}.when", scope):
                continue
            if (hold := reaction.hold) is not None:
                path = f"{reaction.path}.hold"
                if not _holds(hold.until, f"{path}.until", scope):
                    result.hold = HoldRequest(reaction.name, path, hold.seconds, hold.handled)
                    return result
            scope = _run_handler(reaction, variables, result, scope)
        except TemplateError as error:
            raise DecisionFailed("TemplateFailed", error.message, reaction.name) from None
        except DecisionFailed as error:
            raise DecisionFailed(error.code, error.message, reaction.name) from None
        except MemoryError:
            raise explain_out_of_memory(reaction.name) from None
        _check_tasks(program, result)
    return result


def _holds(condition: Expression, path: str, scope: Scope) -> bool:
    try:
        return condition.holds(scope)
    except ExpressionError as error:
        raise DecisionFailed("ExpressionFailed", f"{path}: {error}") from None


def _run_handler(
    reaction: CompiledHandler, variables: Mapping[str, Any], result: HandlerResult, scope: Scope
) -> Scope:
    """Run one handler and add its results; returns the scope that the next handler sees."""
    first = not result.handlers
    result.handlers.append(reaction.name)
    if reaction.state is not None:
        result.state = _merge(result.state, _render(reaction.state, scope, reaction, "state"), reaction)
        scope = Scope({**variables, "state": result.state})
    if reaction.state is not None or first:
        result.state_size = _measure(result.state)
    for index, start in enumerate(reaction.start):
        requests = _render_starts(start, scope, reaction, index)
        result.starts.extend(requests)
        _check_output_size(result, [request.input for request in requests])
    for index, emit in enumerate(reaction.emit):
        events = _render_emits(emit, scope, reaction, index)
        result.emits.extend(EmitRequest(reaction.name, item) for item in events)
        _check_output_size(result, events)
    result.cancels.update(reaction.cancel)
    if reaction.end:
        result.state, result.state_size, result.ended, result.starts = {}, 2, True, []
        result.cancels.clear()
        scope = Scope({**variables, "state": result.state})
    return scope


def _measure(state: dict[str, Any]) -> int:
    """The bytes of a state. Raises DecisionFailed where they are too many, before a handler makes more of them."""
    size = len(dump_compact(state).encode())
    if size > MAX_STATE_BYTES:
        message = (
            f"the session's state would exceed {MAX_STATE_BYTES} bytes; remember references, not contents"
        )
        raise DecisionFailed("StateTooLarge", message)
    return size


def _check_output_size(result: HandlerResult, items: Sequence[Any]) -> None:
    """Raise DecisionFailed once there is more than `outputs.check_size` could let pass.

    One item alone may be of any size here: what is wrong with it is said later, and better.
    """
    alone = not result.output_bytes and len(items) < 2
    result.output_bytes += sum(len(dump_compact(item)) for item in items)
    if result.output_bytes > MAX_DECISION_BYTES and not alone:
        message = f"what is to be started and emitted exceeds {MAX_DECISION_BYTES} bytes; pass references"
        raise DecisionFailed("DecisionTooLarge", message)


def _render(template: Template, scope: Scope, reaction: CompiledHandler, where: str) -> Any:
    try:
        return template.render(scope)
    except TemplateError as error:
        raise TemplateError(error.path, f"{reaction.path}.{where}{error.path}: {error.message}") from None


def _merge(state: Mapping[str, Any], change: Any, reaction: CompiledHandler) -> dict[str, Any]:
    if not isinstance(change, dict):
        raise DecisionFailed("BadState", f"{reaction.path}.state: yields {json_kind(change)}, not a map")
    merged = {**state, **canonicalize_output(change, f"{reaction.path}.state")}
    return {key: value for key, value in merged.items() if key not in change or change[key] is not None}


def canonicalize_output(value: Any, path: str) -> Any:
    """A rendered value as the ledger can hold it. `path` is where it stands in the manifest. Raises DecisionFailed."""
    if measure_depth(value) > MAX_JSON_DEPTH:
        raise DecisionFailed("TooDeep", f"{path}: nests deeper than {MAX_JSON_DEPTH} levels; flatten it")
    refuse_zeros(value, f"{path}: ")
    try:
        return canonicalize(value)
    except OverflowError as error:
        raise DecisionFailed("NumberOutOfRange", f"{path}: {error}") from None


def _render_starts(
    start: StartTemplate, scope: Scope, reaction: CompiledHandler, index: int
) -> Sequence[StartRequest]:
    path = f"start[{index}]"
    if start.many is None:
        value = None if start.input is None else _render(start.input, scope, reaction, f"{path}.input")
        return [
            StartRequest(
                reaction.name,
                start.task or "",
                canonicalize_output(value, f"{reaction.path}.{path}.input"),
                start.priority,
            )
        ]
    items = _check_list(
        _render(start.many, scope, reaction, f"{path}.from"),
        {"task", "input", "priority"},
        f"{reaction.path}.{path}.from",
    )
    return [
        StartRequest(
            reaction.name,
            str(item.get("task")),
            canonicalize_output(item.get("input"), f"{reaction.path}.{path}.from"),
            _read_priority(item, f"{reaction.path}.{path}.from"),
        )
        for item in items
    ]


def _read_priority(item: Mapping[str, Any], path: str) -> int | None:
    priority = item.get("priority")
    if priority is None or (type(priority) is int and abs(priority) <= MAX_PRIORITY):
        return priority
    message = f"{path}: priority is {dump_compact(priority)}, not a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
    raise DecisionFailed("BadList", message)


def _render_emits(
    emit: EmitTemplate, scope: Scope, reaction: CompiledHandler, index: int
) -> Sequence[dict[str, Any]]:
    path = f"emit[{index}]"
    if emit.one is not None:
        return [_render(emit.one, scope, reaction, path)]
    assert emit.many is not None
    items = _render(emit.many, scope, reaction, f"{path}.from")
    return _check_list(items, {"type", "data", "subject", "to"}, f"{reaction.path}.{path}.from")


def _check_list(items: Any, known: set[str], path: str) -> list[dict[str, Any]]:
    """A rendered `from`: a list of maps with known members only."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DecisionFailed("BadList", f"{path}: yields {json_kind(items)}, not a list of maps")
    for item in items:
        if unknown := set(item) - known:
            allowed = ", ".join(sorted(known))
            raise DecisionFailed("BadList", f'{path}: unknown member "{min(unknown)}"; known are {allowed}')
    return items


def _check_tasks(program: Program, result: HandlerResult) -> None:
    for request in result.starts:
        if request.task not in program.tasks:
            known = ", ".join(sorted(program.tasks)) or "none"
            raise DecisionFailed(
                "UnknownTask",
                f'there is no task "{request.task}"; spec.tasks has: {known}',
                result.handlers[-1],
            )
