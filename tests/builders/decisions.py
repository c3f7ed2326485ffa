"""Decisions on events one after the other, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed


def decide_each(
    program_: Program, events: Iterable[Received], ledger: Ledger | None = None
) -> list[Decision]:
    """The decisions on events, one after the other."""
    decisions: list[Decision] = []
    ledger = ledger or Ledger()
    for item in events:
        decisions.append(decide(program_, ledger, item))
        ledger = decisions[-1].ledger
    return decisions


def after(program_: Program, *events: Received) -> Ledger:
    """The ledger that events lead to."""
    return decide_each(program_, events)[-1].ledger


def only_task(ledger: Ledger) -> str:
    """The id of the one pending task."""
    (task_id,) = ledger.pending_tasks
    return task_id


def emitted(decision: Decision) -> list[Event]:
    """The events that a decision added to the outbox, in order."""
    owed = [item for item in decision.ledger.outbox.values() if item.sequence == decision.received.sequence]
    bodies = [item.event for item in sorted(owed, key=lambda item: item.index) if item.event]
    return [parse_event(body.encode(), "no event") for body in bodies]


def session_states(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The state of every session."""
    return {key: session.state for key, session in ledger.sessions.items()}


def owed_work_of(ledger: Ledger, task_id: str) -> dict[str, Any]:
    """What an owed task is given."""
    owed: dict[str, Any] = json.loads(ledger.pending_tasks[task_id].owed or "{}")
    return owed


def letter_of(decision: Decision) -> tuple[str, str, str | None]:
    """Code, message and handler of the dead letter that a decision is."""
    assert decision.letter is not None, decision.outcome
    return decision.letter.code, decision.letter.message, decision.letter.handler


def failure_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str, str | None]:
    """Code, message and handler of a call that fails to decide."""
    try:
        call(*arguments, **options)
    except DecisionFailed as failure:
        return failure.code, failure.message, failure.handler
    raise AssertionError("it does not fail")
