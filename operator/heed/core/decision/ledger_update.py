"""Applying: what the handlers did goes into a new ledger, and leaves it as effects, if limits and headroom allow it."""

from heed.core.codec.canonical_json import dump_compact
from heed.core.decision import quotas
from heed.core.decision.model import SESSION_BYTES, Outcome, estimate_growth
from heed.core.decision.outputs import render_outputs
from heed.core.decision.sessions import keep_session, update_session
from heed.core.decision.step import Step
from heed.core.effects import Effect
from heed.core.ledger.ledger import Ledger, add_to_totals
from heed.errors import DecisionFailed


def apply(step: Step) -> Outcome:
    """Take what the handlers did into the ledger, unless it has to wait for headroom. Raises DecisionFailed."""
    before, key, result, limits = step.ledger, step.key or "", step.result, step.program.permissions.limits
    outputs = render_outputs(step)
    tasks = outputs.change(before.pending_tasks)
    sessions = keep_session(before.sessions, tasks, key, update_session(before, step.session, result.state))
    quotas.check_session(limits, before, key, sessions, result)
    effects = outputs.effects
    if not _fits(step, effects, opens=key in sessions and key not in before.sessions):
        return "waiting"
    step.effects = effects
    step.after = dict(result.state) if key in sessions else None
    step.ledger = Ledger(
        cursor=before.cursor,
        totals=add_to_totals(
            before.totals,
            handled=1,
            emitted=len(outputs.emitted),
            tasks_started=len(outputs.started),
            schema_warnings=result.schema_warnings,
        ),
        sessions=sessions,
        pending_tasks=tasks,
        waiting=before.waiting,
        recent_tasks=before.recent_tasks,
        recent_events=before.recent_events.with_digest(step.digest),
        outbox={**before.outbox, **outputs.emitted, **outputs.ends},
        task_rate=quotas.count_starts(limits, before, len(outputs.started)),
        timers=before.timers,
        held=before.held,
        budgets=step.budgets,
    )
    return "handled"


def _fits(step: Step, effects: tuple[Effect, ...], *, opens: bool) -> bool:
    """Whether the status has room for the decision; False where the event has to wait for it.

    Raises DecisionFailed for the event of a task, which never waits: it is what makes room. `opens`: a session more.
    """
    headroom, ledger = step.headroom, step.ledger
    growth = estimate_growth(effects, step.result.state_size)
    if step.task is not None:
        if step.task.limited and headroom is not None and growth > headroom.left:
            raise DecisionFailed("StatusFull", "the Agent's status is full; end sessions, or remember less")
        return True
    waiting = ledger.waiting
    if opens and waiting.places and waiting.first(1)[0] < step.received.sequence:
        return False  # others that would open a session have waited longer
    if headroom is None or not (ledger.sessions or ledger.pending_tasks):
        return True  # one session there may be in any case, else nothing would ever go on
    limit = headroom.for_new_session if opens else max(0, headroom.for_open_session)
    if growth <= limit:
        return True
    there = 0 if opens else len(dump_compact(step.before or {}).encode()) + SESSION_BYTES
    return growth - there <= limit
