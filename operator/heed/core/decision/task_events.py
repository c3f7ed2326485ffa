"""What tasks say of themselves: their progress, and their ends, which take them out of the ledger."""

from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.compiler.program import Program
from heed.core.decision import redrive, sessions
from heed.core.decision.model import Decision
from heed.core.decision.transition import counted, dead, handled, reactions_to, touched, variables_of
from heed.core.events import Event, Received
from heed.core.ledger import ledger as ledgers
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.work import progress_event
from heed.errors import DecisionFailed


def decide_task_event(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Headroom | None
) -> Decision:
    """The end of a pending task takes it out of the ledger, whatever the handlers then do or fail to do."""
    if not names.is_inbox(received.origin):
        failure = DecisionFailed(
            "ReservedType", f"{event.type} is for the ends of tasks; choose a type of your own"
        )
        return dead(program, ledger, received, failure)
    if received.redrive is not None and received.redrive.task is not None:
        return _decide_end_again(program, ledger, received, event)
    if (speaker := names.task_of_subject(received.subject)) is not None:
        return _decide_progress(program, ledger, received, event, room, speaker)
    task_id = event.subject or ""
    record = ledger.pending_tasks.get(task_id)
    if (
        record is None
        or record.phase == "Abandoned"
        or event.type not in (names.TASK_COMPLETED, names.TASK_FAILED)
    ):
        return counted(ledger, received, "stale")
    may_run = event.source != names.agent_source(program.agent.namespace, program.agent.name)
    session = sessions.session_of(ledger, record.session, received, event)
    ledger = sessions.task_ended(ledger, task_id, received, event, may_run=may_run)
    try:
        decision = _decide_of_task(program, ledger, received, event, room, task_id, record)
    except DecisionFailed as failure:
        ledger = touched(ledger, record.session, session)
        decision = dead(program, ledger, received, failure, task=redrive.task_kept(task_id, record))
    return _stopping(decision, task_id) if may_run else decision


def _stopping(decision: Decision, task_id: str) -> Decision:
    """The decision on an end that is not Heed's own word, so that the task may still run: it is stopped as well."""
    stop = ledgers.cancel(task_id, decision.ledger.pending_tasks[task_id])
    return replace(decision, effects=(*decision.effects, stop))


def _decide_progress(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Headroom | None, task_id: str
) -> Decision:
    """What a pending task says of itself. Which task that is, the subject says: the broker lets nobody else use it."""
    record = ledger.pending_tasks.get(task_id)
    if (
        record is None
        or record.phase == "Abandoned"
        or event.type != names.TASK_PROGRESS
        or event.subject not in (None, task_id)
    ):
        return counted(ledger, received, "stale")
    digest = names.progress_digest(task_id, event.source, event.id)
    if digest in ledger.recent_events:
        return counted(ledger, received, "duplicates")
    event = progress_event(task_id, record, event)
    try:
        return _decide_of_task(program, ledger, received, event, room, task_id, record, digest)
    except DecisionFailed as failure:
        kept = redrive.task_kept(task_id, record)
        return dead(program, ledger, received, failure, task=kept, digest=digest)


def _decide_of_task(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    room: Headroom | None,
    task_id: str,
    record: PendingTask,
    digest: str | None = None,
) -> Decision:
    task = redrive.task_variable(task_id, record)
    decision = _decide_end(program, ledger, received, event, record.session, task, record.input, digest)
    if room is not None and decision.growth > room.left:
        raise DecisionFailed("StatusFull", "the Agent's status is full; end sessions, or remember less")
    return decision


def _decide_end_again(program: Program, ledger: Ledger, received: Received, event: Event) -> Decision:
    """A task's end whose letter was redriven: its task has left the ledger, and comes with the letter."""
    digest = redrive.digest_of(program, received, event)
    if digest in ledger.recent_events:
        return counted(ledger, received, "duplicates")
    lost = received.redrive.task if received.redrive else None
    try:
        session, task, input_ = redrive.task_of(received)
        return _decide_end(program, ledger, received, event, session, task, input_, digest)
    except DecisionFailed as failure:
        return dead(program, ledger, received, failure, task=lost, digest=digest)


def _decide_end(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    session: str,
    task: dict[str, Any],
    input_: Any,
    digest: str | None = None,
) -> Decision:
    variables = variables_of(program, event) | {"task": task, "input": input_}
    reactions = reactions_to(program, event)
    return handled(program, ledger, received, event, session, reactions, variables, digest)
