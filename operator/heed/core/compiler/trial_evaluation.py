"""Trial evaluation before any event comes, on what every event has: finds operands of types that never fit.

Nothing stands for an event's data and for what a session remembers, so an error says something about the expression
only where it is one of types. What may be costly on so little is not tried.
"""

from collections.abc import Iterator
from typing import Any, Final

from heed import names
from heed.core.cel.diagnostics import NO_MAP
from heed.core.cel.expression import ExpressionError, Scope
from heed.core.cel.polynomial import DataLimit
from heed.core.compiler.expression_sites import ExpressionSite
from heed.core.compiler.program import Program
from heed.errors import DecisionFailed, Problem

_TIME: Final = "2026-01-31T12:00:00.123456Z"
_TICK: Final = "2026-01-31T12:00:00Z"
_SIGNS: Final = ("o matching overload", *NO_MAP, "not a map", "not a boolean")
_MOST: Final = 1000  # how many times the budget of one expression may be spent on an Agent's in all


def try_expressions(program: Program, place: ExpressionSite) -> Iterator[Problem]:
    """A problem where the expression of a site fails whatever the data are."""
    variables = _variables(program, place)
    if _is_cheap(place, variables) and (error := _error(place, Scope(variables))) is not None:
        yield Problem(place.path, f"fails for every event: {error}")


def _is_cheap(place: ExpressionSite, variables: dict[str, Any]) -> bool:
    """Whether a thousand of these are as harmless as one decision in the operator's own process."""
    work = {powers: factor * _MOST for powers, factor in place.expression.cost.work.items()}
    return DataLimit(work, -1).allows(variables)


def _error(place: ExpressionSite, scope: Scope) -> str | None:
    try:
        value = scope.evaluate(place.expression)
        answer = value.value() if place.condition else True
        if answer is not True and answer is not False:
            return f"is {value.type().name().lower()}, not a boolean; compare it with something"
    except ExpressionError as error:
        return str(error) if any(sign in str(error) for sign in _SIGNS) else None
    except DecisionFailed:  # no memory for it
        return None
    return None


def _variables(program: Program, place: ExpressionSite) -> dict[str, Any]:
    """What is known of every event at a place: attributes and not data."""
    of_task: dict[str, Any] = {
        "id": "task-0123456789abcdef",
        "name": place.task or "task",
        "attempt": 1,
    }
    if place.task is None:
        of_task |= {"kind": "job", "startedAt": _TIME}
    return {
        "event": _event(place),
        "agent": {
            "name": program.agent.name,
            "namespace": program.agent.namespace,
            "labels": dict(program.labels),
        },
        "session": {"key": "key", "startedAt": _TIME},
        "state": {},
        "timer": {"name": "timer", "scheduledAt": _TICK, "previousAt": _TICK, "missed": 0},
        "task": of_task if place.task is not None or place.of_tasks else {},
    }


def _event(place: ExpressionSite) -> dict[str, Any]:
    return {
        "id": "0123456789abcdef",
        "source": "/somewhere",
        "type": names.TASK_COMPLETED if place.of_tasks else "com.example.event",
        "specversion": "1.0",
        "correlationid": "0123456789abcdef",
        "subject": "subject",
        "time": _TIME,
        "datacontenttype": "application/json",
        "dataschema": "https://example.com/schema",
    }
