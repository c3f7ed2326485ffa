"""Admission: whether an event fits its schema, is subscribed to, in which session it belongs, and whether it may go on.

The event of a task needs none of that: it belongs to the session that started the task.
"""

from dataclasses import replace

from heed import names
from heed.api.status import HeldEvent
from heed.core.cel.expression import ExpressionError, Scope
from heed.core.decision.event_variables import build_variables
from heed.core.decision.model import Outcome
from heed.core.decision.schema_check import check_schema
from heed.core.decision.sessions import evaluate_key, find_session
from heed.core.decision.step import Step, TaskContext
from heed.core.decision.ticks import evaluate_tick_key, remember_session
from heed.core.ledger.ledger import add_to_totals
from heed.core.type_patterns import matches
from heed.errors import DecisionFailed


def admit(step: Step) -> Outcome | None:
    """Find the event's handlers, its variables and its session. Raises DecisionFailed."""
    event_type = step.event.type
    step.reactions = [item for item in step.program.reactions if matches(item.pattern, event_type)]
    if step.released is not None:
        return _admit_released(step, step.released)
    return _admit_event(step) if step.task is None else _admit_task_event(step, step.task)


def _admit_released(step: Step, held: HeldEvent) -> Outcome | None:
    """What was admitted when it was set aside goes on in the session of then."""
    step.key = held.session
    step.session = find_session(step.ledger, held.session, step.received, step.event)
    step.variables = build_variables(step.program, step.event)
    return None


def _admit_task_event(step: Step, task: TaskContext) -> Outcome | None:
    step.key = task.session
    step.session = find_session(step.ledger, task.session, step.received, step.event)
    step.variables = build_variables(step.program, step.event)
    step.variables |= {"task": task.variable, "input": task.input}
    return None


def _admit_event(step: Step) -> Outcome | None:
    ledger = step.ledger
    if step.program.schemas and step.reactions and _count_schema_warnings(step):
        step.ledger = replace(ledger, totals=add_to_totals(ledger.totals, schema_warnings=1))
    step.variables = build_variables(step.program, step.event)
    scope = Scope(step.variables)
    if not _is_subscribed(step, scope) or not step.reactions:
        return "ignored"
    if step.tick is not None:
        step.key = evaluate_tick_key(step, step.tick)
    elif step.key is None:
        step.key = evaluate_key(step.program, step.event, scope)
    if ledger.waiting.places and ledger.waiting.blocks(step.key, step.received.sequence):
        return "waiting"
    step.session = find_session(ledger, step.key, step.received, step.event)
    if step.tick is not None:
        remember_session(step, step.tick)
    return None


def _count_schema_warnings(step: Step) -> int:
    """1 where the event does not fit its EventType and that only warns. Unsubscribed events are not checked."""
    program, origin = step.program, step.received.origin
    if not names.is_inbox(origin) and not any(
        program.matches(item, step.event.type, origin) for item in program.subscriptions
    ):
        return 0
    return check_schema(program, names.namespace_of_subject(origin), step.event)


def _is_subscribed(step: Step, scope: Scope) -> bool:
    """Whether a subscription matches; what was sent to this Agent alone needs none. Raises DecisionFailed.

    A redriven broadcast event is matched with the subscriptions of today, as if it were published again.
    """
    program, origin = step.program, step.received.origin
    if names.is_inbox(origin):
        return True
    for index, item in enumerate(program.subscriptions):
        if not program.matches(item, step.event.type, origin):
            continue
        try:
            if item.where is None or item.where.holds(scope):
                return True
        except ExpressionError as error:
            raise DecisionFailed("ExpressionFailed", f"spec.subscribe[{index}].where: {error}") from None
    return False
