"""How a decision ends: what became of the event is counted; it is a dead letter, or left in the stream to wait."""

from dataclasses import replace
from typing import Final

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.core.decision.model import Decision, Outcome
from heed.core.decision.sessions import touch_session
from heed.core.decision.step import Step
from heed.core.effects import Publish, StartTask
from heed.core.ledger.deferred import MAX_DEFERRED_EVENTS
from heed.core.ledger.ledger import Ledger, add_to_totals
from heed.core.tasks.slots import grant_slots
from heed.errors import DecisionFailed

_COUNTED: Final = frozenset(
    ("ignored", "duplicates", "stale", "dead_lettered", "due", "retried", "turns")
)  # a handled event is counted already
_MAX_MESSAGE: Final = 1000  # characters of a letter's cause


def defer(step: Step) -> Outcome:
    """Nothing is decided yet: the ledger notes where the event is in the stream. Raises DecisionFailed: Saturated.

    What was found out about the event is dropped: it is evaluated again once there is headroom.
    """
    step.ledger, waiting, sequence = step.opened, step.opened.waiting, step.received.sequence
    if step.released is not None:
        return "waiting"  # where it is already: it stays ready
    if len(waiting) >= MAX_DEFERRED_EVENTS and sequence not in waiting:
        message = f"{MAX_DEFERRED_EVENTS} events wait for room already; redrive it later"
        raise DecisionFailed("Saturated", message)
    step.ledger = replace(step.ledger, waiting=waiting.with_event(sequence, step.key or ""))
    return "waiting"


def write_letter(step: Step, failure: DecisionFailed) -> Outcome:
    """A dead letter: the message itself stays in the stream, the ledger owes the letter with its cause."""
    program, received, redrive = step.program, step.received, step.received.redrive
    if step.task is not None and step.task.ended:
        step.ledger = touch_session(step.ledger, step.task.session, step.session)
    task = redrive.task if redrive and redrive.task else step.task.to_letter() if step.task else None
    letter = DeadLetterCause(
        failure.code,
        failure.message[:_MAX_MESSAGE],
        failure.handler,
        program.generation,
        redrive.attempt if redrive else 1,
        task,
    )
    key = names.letter_id(step.origin, received.sequence)
    subject = names.dead_subject(program.agent.namespace, program.agent.name)
    owed = OutboxMessage(received.sequence, 0, subject, received.at, letter=letter)
    step.ledger = replace(
        step.ledger,
        outbox={**step.ledger.outbox, key: owed},
        recent_events=step.ledger.recent_events.with_digest(step.digest),
    )
    step.effects, step.letter = (Publish(key, owed),), letter
    return "dead_lettered"


def conclude(step: Step, outcome: Outcome) -> Decision:
    """The decision on an event, by what became of it."""
    ledger = step.ledger
    if outcome == "ignored" and step.key is not None and step.key in ledger.sessions:
        ledger = touch_session(ledger, step.key, step.session)
    if outcome in _COUNTED:
        ledger = replace(ledger, totals=add_to_totals(ledger.totals, **{outcome: 1}))
    if step.waited and outcome != "waiting":
        ledger = replace(ledger, waiting=ledger.waiting.without_event(step.received.sequence))
    ledger = _release(step, ledger, outcome)
    if outcome == "due" or (step.program.slots.any and ledger.pending_tasks is not step.former):
        ledger = _give_slots(step, ledger)
    effects = (*step.farewells, *step.effects, *step.stops) if step.farewells or step.stops else step.effects
    decision = Decision(step.received, ledger, outcome, effects, letter=step.letter)
    match outcome:
        case "handled":
            decision.session, decision.handlers = step.key, tuple(step.result.handlers)
            decision.before, decision.after = step.before, step.after
            decision.state_size = step.result.state_size
        case "ignored":
            decision.session, decision.before, decision.after = step.key, step.before, step.before
        case "waiting" | "held":
            decision.session, decision.held = step.key, step.held
    return decision


def _give_slots(step: Step, ledger: Ledger) -> Ledger:
    """The ledger with free slots given to queued tasks, whose starts are effects of this decision."""
    now = ledger.cursor.time or step.received.at
    tasks, granted = grant_slots(step.program.slots, step.former, ledger.pending_tasks, now)
    if tasks is ledger.pending_tasks:
        return ledger
    starts = {task_id: StartTask(task_id, tasks[task_id]) for task_id in granted}
    effects = [
        starts.pop(effect.id, effect) if isinstance(effect, StartTask) else effect for effect in step.effects
    ]
    step.effects = (*effects, *starts.values())
    return replace(ledger, pending_tasks=tasks)


def _release(step: Step, ledger: Ledger, outcome: Outcome) -> Ledger:
    """The ledger with what was decided no longer held, and what waited for this to be looked at again."""
    held = ledger.held
    if not held.places:
        return ledger
    if step.released is not None and outcome not in ("waiting", "held"):
        held = held.without_events((step.received.sequence,))
    if outcome == "handled" and step.key is not None and step.key in held.sessions:
        if step.before != step.after or step.result.ended:
            held = held.recall((step.key,))
    return ledger if held is ledger.held else replace(ledger, held=held)
