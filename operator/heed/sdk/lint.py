"""Lint of Agents in Python: warnings about code whose manifest says less than it does."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from heed.errors import Problem
from heed.sdk.agent import Agent
from heed.sdk.effects import emit
from heed.sdk.events import Event
from heed.sdk.handlers import Handler
from heed.sdk.tasks import TaskEvent

_UNDECLARED: Final = "whose type its code does not name, so that it is refused as undeclared"


def lint_code(agent: Agent) -> Iterator[Problem]:
    """Warnings about an Agent's handlers, with paths into its manifest."""
    for index, handler in enumerate(agent.handlers.values()):
        if found := _find_unnamed(handler):
            event, type_ = found
            remedy = f"add emits=[{type_}] to its decorator"
            yield Problem(f"spec.handlers[{index}].call.emits", f"emits {event}, {_UNDECLARED}", remedy)


def _find_unnamed(handler: Handler) -> tuple[str, str] | None:
    """What a handler emits though its code names no such type, and the name of the type; None where all is named."""
    if handler.declared.emits is not None or not handler.names_value(emit):
        return None
    emitted = list(_emitted(handler.function))
    for argument in emitted:
        known = _type_of(argument, handler)
        if known is not None and known not in handler.emits:
            return ast.unparse(argument), known.__name__
    if handler.emits:
        return None
    return ast.unparse(emitted[0]) if emitted else "an event", "…"


def _emitted(function: Callable[..., Any]) -> Iterator[ast.expr]:
    """The arguments of the calls of `emit` in a function's own code; none where its source is not to be had."""
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == emit.__name__:
            yield from node.args[:1]


def _type_of(argument: ast.expr, handler: Handler) -> type[Event] | None:
    """The class of an event that comes with the handler's own: that itself, or the result of its task."""
    match argument, handler.trigger:
        case ast.Name(id=name), type() as trigger if name == _first_parameter(handler.function):
            return None if _is_assigned(name, handler.function) else trigger
        case ast.Attribute(ast.Name(id=name), "result"), TaskEvent(task=task, outcome="completed") if (
            name == _first_parameter(handler.function)
        ):
            result = task.result_type
            return result if isinstance(result, type) and issubclass(result, Event) else None
        case _:
            return None


def _first_parameter(function: Callable[..., Any]) -> str:
    return next(iter(inspect.signature(function).parameters))


def _is_assigned(name: str, function: Callable[..., Any]) -> bool:
    """Whether a function gives a name another value."""
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for node in ast.walk(_tree(function))
    )


def _tree(function: Callable[..., Any]) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])
