"""How much an Agent may have by the limits of its policies. They count what the ledger says, by the stream's time.

So the same events make the same decisions whenever they are made. Tasks that are Abandoned do not count: how long one
stays in the ledger depends on the world.
"""

from collections.abc import Mapping

from heed.api.status import PendingTask, Session, TaskRate
from heed.core.decision.model import HandlerResult
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import Quota, Quotas
from heed.errors import POLICY_VIOLATION, DecisionFailed


def check_starts(
    limits: Quotas, ledger: Ledger, cancelled: Mapping[str, PendingTask], result: HandlerResult
) -> None:
    """Raise DecisionFailed for more tasks than may be pending, or be started in a minute."""
    if not result.starts:
        return
    handler, count = result.starts[-1].handler, len(result.starts)
    if (cap := limits.pending_tasks) is not None:
        tasks = {**ledger.pending_tasks, **cancelled}.values()
        pending = sum(task.phase != "Abandoned" for task in tasks)
        if pending + count > cap.most:
            raise _refused(
                cap, "pending tasks", f"there are {pending}, and {count} more would start", handler
            )
    if (cap := limits.tasks_per_minute) is not None:
        so_far = _rate(ledger).started
        if so_far + count > cap.most:
            raise _refused(cap, "tasks per minute", f"{so_far} have started, and {count} more would", handler)


def check_session(
    limits: Quotas, ledger: Ledger, key: str, kept: Mapping[str, Session], result: HandlerResult
) -> None:
    """Raise DecisionFailed where a decision would open one more session than there may be."""
    cap = limits.sessions
    if cap is None or key in ledger.sessions or key not in kept or len(kept) <= cap.most:
        return
    raise _refused(cap, "sessions", "this event would open another one", result.handlers[-1])


def check_hops(limits: Quotas, hops: int, result: HandlerResult) -> None:
    """Raise DecisionFailed where what is emitted would be further from its origin than it may be."""
    if (cap := limits.hops) is not None and hops >= cap.most:
        happened = f"the event is {hops} decisions from its origin"
        raise _refused(cap, "hops", happened, result.emits[0].handler)


def count_starts(limits: Quotas, ledger: Ledger, started: int) -> TaskRate | None:
    """The count of tasks after `started` more; None where nothing limits it."""
    if limits.tasks_per_minute is None:
        return None
    now = _rate(ledger)
    return TaskRate(now.minute, now.started + started)


def _rate(ledger: Ledger) -> TaskRate:
    """The count of the minute that the cursor is in, whose time never goes back."""
    minute = f"{(ledger.cursor.time or '')[:16]}:00Z"
    known = ledger.task_rate
    return known if known is not None and known.minute == minute else TaskRate(minute)


def _refused(cap: Quota, what: str, because: str, handler: str) -> DecisionFailed:
    return DecisionFailed(POLICY_VIOLATION, f"{cap.refusal(what)}; {because}", handler)
