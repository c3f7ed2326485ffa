"""What an Agent's handlers make of one event, within one session. Everything is collected before anything is kept."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heed.api.code import CodeAnswer
from heed.api.validation import json_kind
from heed.core.cel.expression import Expression, ExpressionError, Scope, explain_out_of_memory
from heed.core.cel.polynomial import RemainingLimit
from heed.core.cel.template import Template, TemplateError
from heed.core.compiler.program import CodeReference, CompiledHandler, EmitTemplate, Program, StartTemplate
from heed.core.decision.code import CodeCall, apply_answer, pending_of_session
from heed.core.decision.guard import check_harmless
from heed.core.decision.model import EmitRequest, HandlerResult, HoldRequest, Outcome, StartRequest
from heed.core.decision.requests import (
    canonicalize_output,
    check_output_size,
    end_session,
    measure_state,
    read_emits,
    read_starts,
)
from heed.core.decision.step import Step
from heed.errors import DecisionFailed

Ask = Callable[[CodeReference, Mapping[str, Any]], CodeAnswer]  # a function, and the session's state


def run_handlers(step: Step) -> Outcome | None:
    """Run the event's handlers within its session. Raises DecisionFailed."""
    key, session = step.key or "", step.session
    step.before = dict(session.state) if key in step.ledger.sessions else None
    step.variables["session"] = {"key": key, "startedAt": session.started_at}
    step.result = react_to_event(step)
    return None if step.result.handlers or step.result.hold else "ignored"


def react_to_event(step: Step) -> HandlerResult:
    """What the handlers of the step's event make of its session, with the answers of those in code."""

    def ask(code: CodeReference, state: Mapping[str, Any]) -> CodeAnswer:
        pending = pending_of_session(step.ledger, step.key or "") if code.reads_pending else {}
        return step.answers(CodeCall(code.function, step.variables, state, pending))

    return react(step.program, step.reactions, step.variables, step.session.state, ask)


def react(
    program: Program,
    reactions: Sequence[CompiledHandler],
    variables: Mapping[str, Any],
    state: Mapping[str, Any],
    ask: Ask | None = None,
) -> HandlerResult:
    """Run the handlers whose condition holds, up to one that has to wait. `variables` are all but `state`.

    `ask` gives the answer of a function of the Agent's code. Raises DecisionFailed with the handler's name; nothing of
    the decision counts then.
    """
    if program.verdict is not None:
        raise program.verdict
    result = HandlerResult(dict(state))
    scope = Scope({**variables, "state": result.state})
    careful = program.careful and any(item.code is None or item.when is not None for item in reactions)
    allowance = RemainingLimit(program.limit, variables) if careful else None
    checked = None
    for reaction in reactions:
        if allowance is not None and result.state is not checked:
            check_harmless(allowance.allows(result.state))
            checked = result.state
        try:
            if reaction.when is None or _holds(reaction.when, f"{reaction.path}.when", scope):
                scope = _run_handler(reaction, variables, result, scope, ask)
        except TemplateError as error:
            raise DecisionFailed("TemplateFailed", error.message, reaction.name) from None
        except DecisionFailed as error:
            raise DecisionFailed(error.code, error.message, reaction.name) from None
        except MemoryError:
            raise explain_out_of_memory(reaction.name) from None
        if result.hold is not None:
            break
        _check_tasks(program, result)
    return result


def _holds(condition: Expression, path: str, scope: Scope) -> bool:
    try:
        return condition.holds(scope)
    except ExpressionError as error:
        raise DecisionFailed("ExpressionFailed", f"{path}: {error}") from None


def _find_hold(reaction: CompiledHandler, scope: Scope) -> HoldRequest | None:
    """What a handler has to wait for; None where it may act."""
    path = f"{reaction.path}.hold"
    if (hold := reaction.hold) is None or _holds(hold.until, f"{path}.until", scope):
        return None
    return HoldRequest(reaction.name, path, hold.seconds, hold.handled)


def _run_handler(
    reaction: CompiledHandler,
    variables: Mapping[str, Any],
    result: HandlerResult,
    scope: Scope,
    ask: Ask | None,
) -> Scope:
    """Run one handler and add its results, or what it waits for; returns the scope that the next handler sees."""
    if (code := reaction.code) is not None and ask is not None:
        apply_answer(reaction, code, ask(code, result.state), result)
        return Scope({**variables, "state": result.state})
    if (hold := _find_hold(reaction, scope)) is not None:
        result.hold = hold
        return scope
    first = not result.handlers
    result.handlers.append(reaction.name)
    if reaction.state is not None:
        result.state = _merge(result.state, _render(reaction.state, scope, reaction, "state"), reaction)
        scope = Scope({**variables, "state": result.state})
    if reaction.state is not None or first:
        result.state_size = measure_state(result.state)
    for index, start in enumerate(reaction.start):
        requests = _render_starts(start, scope, reaction, index)
        result.starts.extend(requests)
        check_output_size(result, [request.input for request in requests])
    for index, emit in enumerate(reaction.emit):
        events = _render_emits(emit, scope, reaction, index)
        result.emits.extend(EmitRequest(reaction.name, item) for item in events)
        check_output_size(result, events)
    result.cancels.update(reaction.cancel)
    if reaction.end:
        end_session(result)
        scope = Scope({**variables, "state": result.state})
    return scope


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
    items = _render(start.many, scope, reaction, f"{path}.from")
    return read_starts(reaction.name, items, f"{reaction.path}.{path}.from")


def _render_emits(
    emit: EmitTemplate, scope: Scope, reaction: CompiledHandler, index: int
) -> Sequence[dict[str, Any]]:
    path = f"emit[{index}]"
    if emit.one is not None:
        return [_render(emit.one, scope, reaction, path)]
    assert emit.many is not None
    items = _render(emit.many, scope, reaction, f"{path}.from")
    return read_emits(items, f"{reaction.path}.{path}.from")


def _check_tasks(program: Program, result: HandlerResult) -> None:
    for request in result.starts:
        if request.task not in program.tasks:
            known = ", ".join(sorted(program.tasks)) or "none"
            raise DecisionFailed(
                "UnknownTask",
                f'there is no task "{request.task}"; spec.tasks has: {known}',
                result.handlers[-1],
            )
