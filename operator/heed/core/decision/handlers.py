"""What an Agent's handlers make of one event, within one session. Everything is collected before anything is kept."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from heed.api.validation import kind_of
from heed.core.cel.expression import ExpressionError, Scope, out_of_memory
from heed.core.cel.polynomial import RemainingLimit
from heed.core.cel.template import Template, TemplateError
from heed.core.codec.canonical_json import canonical, compact
from heed.core.codec.strict_json import MAX_DEPTH, Unreadable, check_zeros, depth_of
from heed.core.compiler.program import CompiledHandler, EmitTemplate, Program, StartTemplate
from heed.core.events import Event
from heed.errors import DecisionFailed

MAX_STATE_BYTES: Final = 128 * 1024
MAX_DECISION_BYTES: Final = 384 * 1024
NEEDS_GUARD: Final = "NeedsGuard"  # of a careful program: not a failure, the decision is to be made elsewhere


@dataclass(frozen=True, slots=True)
class Wish:
    """A task that a handler wants started."""

    handler: str
    task: str
    input: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """An event that a handler wants emitted: {type, data, subject, to} as rendered."""

    handler: str
    event: dict[str, Any]


@dataclass(slots=True)
class Reacted:
    """What the handlers did with a session, in order. `ended` says that what was there before is to be dropped.

    `state_size` is in bytes of JSON, known where a handler ran; `made` is about what they started and emitted,
    `misfits` how many of the events do not fit a type that only warns.
    """

    state: dict[str, Any]
    state_size: int = 0
    made: int = 0
    handlers: list[str] = field(default_factory=list)
    starts: list[Wish] = field(default_factory=list)
    emits: list[Wanted] = field(default_factory=list)
    cancels: set[str] = field(default_factory=set)
    ended: bool = False
    misfits: int = 0


def event_variable(event: Event) -> dict[str, Any]:
    """The `event` of expressions: its attributes and `data`; correlationid falls back to the id.

    Bytes are given as base64, as in JSON: CEL's binding would cut them off at their first zero. Text with a zero is
    refused. Raises DecisionFailed.
    """
    _check_zeros(event.data)
    attributes = {
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    }
    return {
        **event.extensions,
        **{name: value for name, value in attributes.items() if value is not None},
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "specversion": "1.0",
        "correlationid": event.correlationid,
        "data": base64.b64encode(event.data).decode() if isinstance(event.data, bytes) else event.data,
    }


def agent_variable(program: Program) -> dict[str, Any]:
    """The `agent` of expressions."""
    return {
        "name": program.agent.name,
        "namespace": program.agent.namespace,
        "labels": dict(program.labels),
    }


def react(
    program: Program,
    reactions: Iterable[CompiledHandler],
    variables: Mapping[str, Any],
    state: Mapping[str, Any],
) -> Reacted:
    """Run the handlers whose condition holds. `variables` are all of an expression's but `state`.

    Raises DecisionFailed with the handler's name; nothing of the decision counts then.
    """
    if program.verdict is not None:
        raise program.verdict
    reacted = Reacted(dict(state))
    scope = Scope({**variables, "state": reacted.state})
    allowance = RemainingLimit(program.limit, variables) if program.careful else None
    checked = None
    for reaction in reactions:
        if allowance is not None and reacted.state is not checked:
            check_harmless(allowance.allows(reacted.state))
            checked = reacted.state
        try:
            if reaction.when is not None and not _holds(reaction, scope):
                continue
            scope = _run(reaction, variables, reacted, scope)
        except TemplateError as error:
            raise DecisionFailed("TemplateFailed", error.message, reaction.name) from None
        except DecisionFailed as error:
            raise DecisionFailed(error.code, error.message, reaction.name) from None
        except MemoryError:
            raise out_of_memory(reaction.name) from None
        _check_tasks(program, reacted)
    return reacted


def check_harmless(is_harmless: bool) -> None:
    """Raise DecisionFailed where a careful program was given more data than it may decide on."""
    if not is_harmless:
        raise DecisionFailed(NEEDS_GUARD, "deciding this may be costly")


def _holds(reaction: CompiledHandler, scope: Scope) -> bool:
    assert reaction.when is not None
    try:
        return reaction.when.holds(scope)
    except ExpressionError as error:
        raise DecisionFailed("ExpressionFailed", f"{reaction.path}.when: {error}") from None


def _run(reaction: CompiledHandler, variables: Mapping[str, Any], reacted: Reacted, scope: Scope) -> Scope:
    """Add one handler's doing to what was done; returns the scope that the next handler sees."""
    first = not reacted.handlers
    reacted.handlers.append(reaction.name)
    if reaction.state is not None:
        reacted.state = _merged(reacted.state, _render(reaction.state, scope, reaction, "state"), reaction)
        scope = Scope({**variables, "state": reacted.state})
    if reaction.state is not None or first:
        reacted.state_size = _checked_size(reacted.state)
    for index, start in enumerate(reaction.start):
        wishes = _wishes(start, scope, reaction, index)
        reacted.starts.extend(wishes)
        _check_made(reacted, [wish.input for wish in wishes])
    for index, emit in enumerate(reaction.emit):
        wanted = _events(emit, scope, reaction, index)
        reacted.emits.extend(Wanted(reaction.name, item) for item in wanted)
        _check_made(reacted, wanted)
    reacted.cancels.update(reaction.cancel)
    if reaction.end:
        reacted.state, reacted.state_size, reacted.ended, reacted.starts = {}, 2, True, []
        reacted.cancels.clear()
        scope = Scope({**variables, "state": reacted.state})
    return scope


def _checked_size(state: dict[str, Any]) -> int:
    """The bytes of a state. Raises DecisionFailed where they are too many, before a handler makes more of them."""
    size = len(compact(state).encode())
    if size > MAX_STATE_BYTES:
        message = (
            f"the session's state would exceed {MAX_STATE_BYTES} bytes; remember references, not contents"
        )
        raise DecisionFailed("StateTooLarge", message)
    return size


def _check_made(reacted: Reacted, items: Sequence[Any]) -> None:
    """Raise DecisionFailed once there is more than `outgoings.check_size` could let pass.

    One item alone may be of any size here: what is wrong with it is said later, and better.
    """
    alone = not reacted.made and len(items) < 2
    reacted.made += sum(len(compact(item)) for item in items)
    if reacted.made > MAX_DECISION_BYTES and not alone:
        message = f"what is to be started and emitted exceeds {MAX_DECISION_BYTES} bytes; pass references"
        raise DecisionFailed("DecisionTooLarge", message)


def _render(template: Template, scope: Scope, reaction: CompiledHandler, where: str) -> Any:
    try:
        return template.render(scope)
    except TemplateError as error:
        raise TemplateError(error.path, f"{reaction.path}.{where}{error.path}: {error.message}") from None


def _merged(state: Mapping[str, Any], change: Any, reaction: CompiledHandler) -> dict[str, Any]:
    if not isinstance(change, dict):
        raise DecisionFailed("BadState", f"{reaction.path}.state: yields {kind_of(change)}, not a map")
    merged = {**state, **_canonical(change, f"{reaction.path}.state")}
    return {key: value for key, value in merged.items() if key not in change or change[key] is not None}


def _canonical(value: Any, path: str) -> Any:
    if depth_of(value) > MAX_DEPTH:
        raise DecisionFailed("TooDeep", f"{path}: nests deeper than {MAX_DEPTH} levels; flatten it")
    _check_zeros(value, f"{path}: ")
    try:
        return canonical(value)
    except OverflowError as error:
        raise DecisionFailed("NumberOutOfRange", f"{path}: {error}") from None


def _check_zeros(value: Any, prefix: str = "") -> None:
    try:
        check_zeros(value)
    except Unreadable as error:
        raise DecisionFailed(error.code, f"{prefix}{error}") from None


def _wishes(start: StartTemplate, scope: Scope, reaction: CompiledHandler, index: int) -> Sequence[Wish]:
    path = f"start[{index}]"
    if start.many is None:
        value = None if start.input is None else _render(start.input, scope, reaction, f"{path}.input")
        return [Wish(reaction.name, start.task or "", _canonical(value, f"{reaction.path}.{path}.input"))]
    items = _list(
        _render(start.many, scope, reaction, f"{path}.from"),
        {"task", "input"},
        f"{reaction.path}.{path}.from",
    )
    return [
        Wish(
            reaction.name,
            str(item.get("task")),
            _canonical(item.get("input"), f"{reaction.path}.{path}.from"),
        )
        for item in items
    ]


def _events(
    emit: EmitTemplate, scope: Scope, reaction: CompiledHandler, index: int
) -> Sequence[dict[str, Any]]:
    path = f"emit[{index}]"
    if emit.one is not None:
        return [_render(emit.one, scope, reaction, path)]
    assert emit.many is not None
    items = _render(emit.many, scope, reaction, f"{path}.from")
    return _list(items, {"type", "data", "subject", "to"}, f"{reaction.path}.{path}.from")


def _list(items: Any, known: set[str], path: str) -> list[dict[str, Any]]:
    """A rendered `from`: a list of maps with known members only."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DecisionFailed("BadList", f"{path}: yields {kind_of(items)}, not a list of maps")
    for item in items:
        if unknown := set(item) - known:
            allowed = ", ".join(sorted(known))
            raise DecisionFailed("BadList", f'{path}: unknown member "{min(unknown)}"; known are {allowed}')
    return items


def _check_tasks(program: Program, reacted: Reacted) -> None:
    for wish in reacted.starts:
        if wish.task not in program.tasks:
            known = ", ".join(sorted(program.tasks)) or "none"
            raise DecisionFailed(
                "UnknownTask",
                f'there is no task "{wish.task}"; spec.tasks has: {known}',
                reacted.handlers[-1],
            )
