"""Opening a step: the cursor moves past the event, and sessions that were idle for too long end."""

from dataclasses import replace

from heed import names
from heed.api.status import Cursor
from heed.core.decision.model import Outcome
from heed.core.decision.session_expiry import end_idle_sessions
from heed.core.decision.step import Step
from heed.core.ledger.ledger import Ledger


def open_step(step: Step, *, ahead: bool) -> Outcome | None:
    """Move the ledger past the event. An event that the cursor has passed already is not decided again.

    `ahead`: only the inbox is read, so the cursor of all other events stays where it is.
    """
    ledger, received = step.opened, step.received
    step.waited = received.sequence in ledger.waiting
    found = ledger.held.places.get(received.sequence)
    step.released = found if found is not None and found.phase != "Held" else None
    again = step.waited or step.released is not None
    read_ahead = names.is_inbox(received.subject) and received.sequence <= (ledger.cursor.inbox or 0)
    if not again and not read_ahead and received.sequence <= ledger.cursor.sequence:
        return "duplicates"
    moved = _moved(step, ahead=ahead)
    now = moved.cursor.time or ""
    step.opened = step.ledger = moved
    end_idle_sessions(step, now)
    if step.released is not None:  # what it starts now begins now, not when the event came
        step.received = replace(received, at=now)
    return "passed" if read_ahead and not again else None


def _moved(step: Step, *, ahead: bool) -> Ledger:
    """The ledger with its cursor past the event. The cursor's time never goes back."""
    ledger, received, cursor = step.opened, step.received, step.opened.cursor
    sequence = cursor.sequence if ahead else max(cursor.sequence, received.sequence)
    inbox = max(cursor.inbox or 0, received.sequence) if ahead else cursor.inbox
    if inbox is not None and inbox <= sequence:
        inbox = None
    now = max(received.at, cursor.time or "")
    return Ledger(
        Cursor(cursor.stream, sequence, now, cursor.created, inbox),
        ledger.totals,
        ledger.sessions,
        ledger.pending_tasks,
        ledger.waiting,
        ledger.recent_tasks,
        ledger.recent_events,
        ledger.outbox,
        ledger.task_rate,
        ledger.timers,
        ledger.held,
        ledger.budgets,
    )
