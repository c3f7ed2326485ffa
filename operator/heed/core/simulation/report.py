"""The transcript of a simulation as JSON."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from heed.core.codec.cloudevents_json import event_to_json
from heed.core.compiler.audience import Listener, explain_unheeded
from heed.core.compiler.program import Program
from heed.core.decision.explain import why_held, why_ignored
from heed.core.ledger.ledger import dump_ledger
from heed.core.simulation.steps import Delivery, SimulationRun, SimulationStep

Json = dict[str, Any]

OUTCOMES: Final = {
    "handled": "handled",
    "ignored": "ignored",
    "duplicates": "duplicate",
    "stale": "stale",
    "dead_lettered": "deadLettered",
    "due": "due",
    "held": "held",
    "retried": "retried",
    "turns": "turn",
}
STARTED_FIELDS: Final = ("agent", "id", "task", "kind", "attempt", "input", "spec")
LETTER_FIELDS: Final = ("agent", "sequence", "id", "type", "code", "message", "handler")
UNHEARD_FIELDS: Final = ("sequence", "id", "type", "why")
HELD_FIELDS: Final = ("agent", "sequence", "session", "handler", "since", "until")
PENDING_FIELDS: Final = ("agent", "id", "task", "kind", "session", "input", "phase", "due")


def build_report(run: SimulationRun) -> Json:
    """The transcript: `events` in stream order, `agents` with their status, unheard events and pending tasks.

    {events: [{sequence, time, origin, subject, event, deliveries: [{agent, outcome, why, session, handlers, before,
    after, tasks, emitted, cancelled, letter}]}], agents: {namespace/name: status}, outcomes: {outcome: count}, emitted:
    [event], tasks: [{agent, id, task, kind, attempt, input, spec}], letters: [{agent, sequence, id, type, code,
    message, handler}], unheard: [{sequence, id, type, why}] of given events, pending: [{agent, id, task, kind,
    session, input, phase, due}], held: [{agent, sequence, session, handler, since, until}], waiting: count}

    An event that was held has an entry when it is set aside, and one of the origin "released" when it is decided.
    """
    events = [_step(step, run) for step in run.steps]
    deliveries = [delivery for event in events for delivery in event["deliveries"]]
    outcomes = Counter(delivery["outcome"] for delivery in deliveries)
    return {
        "events": events,
        "agents": {str(agent): dump_ledger(ledger) for agent, ledger in run.ledgers.items()},
        "outcomes": dict(sorted(outcomes.items())),
        "emitted": [event for delivery in deliveries for event in delivery["emitted"]],
        "tasks": [{"agent": item["agent"], **task} for item in deliveries for task in item["tasks"]],
        "letters": list(_letters(run)),
        "unheard": list(_unheard(run)),
        "pending": list(_pending(run)),
        "held": list(_held(run)),
        "waiting": run.waiting,
    }


def _step(step: SimulationStep, run: SimulationRun) -> Json:
    return {
        "sequence": step.sequence,
        "time": step.at,
        "origin": step.message.origin,
        "subject": step.message.subject,
        "event": event_to_json(step.message.event),
        "deliveries": [_delivery(item, run.programs[item.agent]) for item in step.deliveries],
    }


def _delivery(delivery: Delivery, program: Program) -> Json:
    decision = delivery.decision
    letter = decision.letter
    return {
        "agent": str(delivery.agent),
        "outcome": OUTCOMES[decision.outcome],
        "why": why_ignored(program, decision) or why_held(decision),
        "session": decision.session,
        "handlers": list(decision.handlers),
        "before": decision.before,
        "after": decision.after,
        "tasks": [
            {
                "id": work.id,
                "task": work.task,
                "kind": work.kind,
                "attempt": work.attempt,
                "input": work.document.get("input"),
                "spec": work.spec,
            }
            for work in delivery.started
        ],
        "emitted": [event_to_json(event) for event in delivery.emitted],
        "cancelled": list(delivery.cancelled),
        "queued": list(delivery.queued),
        "letter": None
        if letter is None
        else {"code": letter.code, "message": letter.message, "handler": letter.handler},
    }


def _letters(run: SimulationRun) -> Iterator[Json]:
    for step in run.steps:
        for delivery in step.deliveries:
            if (letter := delivery.decision.letter) is not None:
                yield {
                    "agent": str(delivery.agent),
                    "sequence": step.sequence,
                    "id": step.message.event.id,
                    "type": step.message.event.type,
                    "code": letter.code,
                    "message": letter.message,
                    "handler": letter.handler,
                }


def _unheard(run: SimulationRun) -> Iterator[Json]:
    """The given events that no Agent heeds: what Agents emit may be for others."""
    listeners = [Listener.of(program) for program in run.programs.values()]
    for step in run.steps:
        if step.message.origin == "given" and (why := explain_unheeded(listeners, step.message.subject)):
            event = step.message.event
            yield {"sequence": step.sequence, "id": event.id, "type": event.type, "why": why}


def _pending(run: SimulationRun) -> Iterator[Json]:
    for agent, ledger in run.ledgers.items():
        for task_id, record in ledger.pending_tasks.items():
            yield {
                "agent": str(agent),
                "id": task_id,
                "task": record.task,
                "kind": record.kind,
                "session": record.session,
                "input": record.input,
                "phase": record.phase,
                "due": record.due,
            }


def _held(run: SimulationRun) -> Iterator[Json]:
    """What is set aside at the end."""
    for agent, ledger in run.ledgers.items():
        for sequence, item in ledger.held.places.items():
            yield {
                "agent": str(agent),
                "sequence": sequence,
                "session": item.session,
                "handler": item.handler,
                "since": item.since,
                "until": item.until,
            }
