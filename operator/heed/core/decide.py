"""The decision: what an Agent makes of one event. A new ledger and a list of effects; same inputs, same decision.

    Decision = decide(Program, Ledger, Received)

Folding `decide` over the stream from an empty ledger gives the only right ledger; everything else in Heed exists to
make the world agree with it. Time is the stream's own time of the event.
"""

from dataclasses import replace
from typing import Any, Final

from heed import names
from heed.api.status import Letter, Owed, PendingTask, Session
from heed.core import conforming, limits, outgoings, redrives, sessions
from heed.core import ledger as ledgers
from heed.core.bounds import NONE
from heed.core.decision import SHELL, Decision, Outcome
from heed.core.effects import Publish
from heed.core.events import Event, Malformed, Received
from heed.core.expressions import Scope, out_of_memory
from heed.core.ledger import Ledger
from heed.core.patterns import matches
from heed.core.program import Program, Reaction
from heed.core.react import agent_variable, event_variable, react
from heed.core.room import Room
from heed.core.tasks import progress_event
from heed.core.values import compact
from heed.core.waiting import MAX_WAITING
from heed.errors import DecisionFailed

__all__ = ["Decision", "decide"]

Variables = dict[str, Any]
NOTHING: Final = Scope({})


def decide(
    program: Program, ledger: Ledger, received: Received, *, room: Room | None = None, ahead: bool = False
) -> Decision:
    """Decide one event of the stream. Whatever the event is, the cursor moves past it and one total grows.

    With `room`, an event that the status cannot take now is left waiting. `ahead`: only the inbox is being read.
    """
    waited = received.sequence in ledger.waiting
    if not waited:
        if names.is_inbox(received.subject) and received.sequence <= (ledger.cursor.inbox or 0):
            return Decision(received, sessions.advanced(program, ledger, received, ahead=ahead), "passed")
        if received.sequence <= ledger.cursor.sequence:
            return _counted(ledger, received, "duplicates")
    decision = _decide(program, sessions.advanced(program, ledger, received, ahead=ahead), received, room)
    if not waited or decision.outcome == "waiting":
        return decision
    waiting = decision.ledger.waiting.left(received.sequence)
    return replace(decision, ledger=replace(decision.ledger, waiting=waiting))


def _decide(program: Program, ledger: Ledger, received: Received, room: Room | None) -> Decision:
    event, agent = received.event, program.agent
    if names.is_inbox(received.subject) and not names.is_inbox_of(
        received.subject, agent.namespace, agent.name
    ):  # nobody reads another one's; but who can write the status can have anything wait
        return _counted(ledger, received, "ignored")
    if isinstance(event, Malformed):
        return _dead(program, ledger, received, DecisionFailed(event.code, event.message))
    try:
        if event.type.startswith(names.TASK_EVENTS):
            return _decide_task_event(program, ledger, received, event, room)
        return _decide_event(program, ledger, received, event, room)
    except MemoryError:
        return _dead(program, ledger, received, out_of_memory())
    except Exception as error:  # a mistake of ours must cost one event, not the Agent
        failure = DecisionFailed("Undecidable", f"{type(error).__name__}: {error}; please report this")
        return _dead(program, ledger, received, failure)


def _decide_event(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Room | None
) -> Decision:
    digest = redrives.digest_of(program, received, event)
    if digest in ledger.recent_events:
        return _counted(ledger, received, "duplicates")
    reactions = _reactions(program, event)
    unchecked = ledger  # what waits is checked again when it waits no more
    try:
        if program.schemas and reactions and conforming.heard_misfits(program, received, event):
            ledger = replace(ledger, totals=ledgers.count(ledger.totals, schema_warnings=1))
        variables = _variables(program, event)
        scope = NOTHING if program.opening.work == NONE else Scope({**variables, "state": {}, "session": {}})
        if not sessions.subscribed(program, received, event, scope) or not reactions:
            return _counted(ledger, received, "ignored")
        key = sessions.session_key(program, event, scope)
        if ledger.waiting.places and ledger.waiting.blocks(key, received.sequence):
            return _left_waiting(program, unchecked, received, key, digest)
        decision = _decide_session(program, ledger, received, event, key, reactions, variables, digest)
    except DecisionFailed as failure:
        return _dead(program, ledger, received, failure, digest=digest)
    if _must_wait(decision, ledger, key, room):
        return _left_waiting(program, unchecked, received, key, digest)
    return decision


def _must_wait(decision: Decision, ledger: Ledger, key: str, room: Room | None) -> bool:
    """Whether there is no room for a decision, or others that would open a session have waited longer."""
    if decision.outcome != "handled":
        return False
    opens = key not in ledger.sessions and decision.after is not None
    if opens and ledger.waiting.places and ledger.waiting.first(1)[0] < decision.received.sequence:
        return True
    if room is None or not (ledger.sessions or ledger.pending_tasks):
        return False  # one session there may be in any case, else nothing would ever go on
    if decision.growth <= (limit := room.to_open if opens else max(0, room.to_go_on)):
        return False
    before = 0 if opens else len(compact(decision.before or {}).encode()) + SHELL
    return decision.growth - before > limit


def _left_waiting(program: Program, ledger: Ledger, received: Received, key: str, digest: str) -> Decision:
    """No decision yet: the ledger notes where the event is in the stream."""
    if len(ledger.waiting) >= MAX_WAITING and received.sequence not in ledger.waiting:
        failure = DecisionFailed("Saturated", f"{MAX_WAITING} events wait for room already; redrive it later")
        return _dead(program, ledger, received, failure, digest=digest)
    ledger = replace(ledger, waiting=ledger.waiting.joined(received.sequence, key))
    return Decision(received, ledger, "waiting", session=key)


def _decide_task_event(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Room | None
) -> Decision:
    """The end of a pending task takes it out of the ledger, whatever the handlers then do or fail to do."""
    if not names.is_inbox(received.subject):
        failure = DecisionFailed(
            "ReservedType", f"{event.type} is for the ends of tasks; choose a type of your own"
        )
        return _dead(program, ledger, received, failure)
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
        return _counted(ledger, received, "stale")
    session = sessions.session_of(ledger, record.session, received, event)
    ledger = sessions.task_ended(ledger, task_id, received, event)
    try:
        return _decide_of_task(program, ledger, received, event, room, task_id, record)
    except DecisionFailed as failure:
        ledger = _touched(ledger, record.session, session)
        return _dead(program, ledger, received, failure, task=redrives.task_kept(task_id, record))


def _decide_progress(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Room | None, task_id: str
) -> Decision:
    """What a pending task says of itself. Which task that is, the subject says: the broker lets nobody else use it."""
    record = ledger.pending_tasks.get(task_id)
    if (
        record is None
        or record.phase == "Abandoned"
        or event.type != names.TASK_PROGRESS
        or event.subject not in (None, task_id)
    ):
        return _counted(ledger, received, "stale")
    digest = names.progress_digest(task_id, event.source, event.id)
    if digest in ledger.recent_events:
        return _counted(ledger, received, "duplicates")
    event = progress_event(task_id, record, event)
    try:
        return _decide_of_task(program, ledger, received, event, room, task_id, record, digest)
    except DecisionFailed as failure:
        kept = redrives.task_kept(task_id, record)
        return _dead(program, ledger, received, failure, task=kept, digest=digest)


def _decide_of_task(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    room: Room | None,
    task_id: str,
    record: PendingTask,
    digest: str | None = None,
) -> Decision:
    task = redrives.task_variable(task_id, record)
    decision = _decide_end(program, ledger, received, event, record.session, task, record.input, digest)
    if room is not None and decision.growth > room.left:
        raise DecisionFailed("StatusFull", "the Agent's status is full; end sessions, or remember less")
    return decision


def _decide_end_again(program: Program, ledger: Ledger, received: Received, event: Event) -> Decision:
    """A task's end whose letter was redriven: its task has left the ledger, and comes with the letter."""
    digest = redrives.digest_of(program, received, event)
    if digest in ledger.recent_events:
        return _counted(ledger, received, "duplicates")
    lost = received.redrive.task if received.redrive else None
    try:
        session, task, input_ = redrives.task_of(received)
        return _decide_end(program, ledger, received, event, session, task, input_, digest)
    except DecisionFailed as failure:
        return _dead(program, ledger, received, failure, task=lost, digest=digest)


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
    variables = _variables(program, event) | {"task": task, "input": input_}
    reactions = _reactions(program, event)
    return _decide_session(program, ledger, received, event, session, reactions, variables, digest)


def _decide_session(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    key: str,
    reactions: list[Reaction],
    variables: Variables,
    digest: str | None = None,
) -> Decision:
    """Let the handlers react within a session, and take what they did into the ledger. Raises DecisionFailed.

    `digest` is what the event is remembered by, once it has been handled.
    """
    session = sessions.session_of(ledger, key, received, event)
    before = dict(session.state) if key in ledger.sessions else None
    variables["session"] = {"key": key, "startedAt": session.started_at}
    reacted = react(program, reactions, variables, session.state)
    if not reacted.handlers:
        if key in ledger.sessions:
            ledger = _touched(ledger, key, session)
        return replace(_counted(ledger, received, "ignored"), session=key, before=before, after=before)
    outgoings.check_count(reacted)
    origin = names.origin(program.agent.uid, ledger.cursor.created)
    cancelled, limited = outgoings.cancelled(ledger, key, reacted), program.permissions.limits
    limits.check_starts(limited, ledger, cancelled, reacted)
    started = outgoings.started(program, origin, received, event, key, variables, reacted)
    emitted = outgoings.emitted(program, origin, received, event, session.correlationid, reacted)
    outgoings.check_size(started, emitted)
    tasks = {**ledger.pending_tasks, **cancelled, **started}
    kept = sessions.kept(ledger.sessions, tasks, key, sessions.touched(ledger, session, reacted.state))
    limits.check_session(limited, ledger, key, kept, reacted)
    ledger = Ledger(
        cursor=ledger.cursor,
        totals=ledgers.count(
            ledger.totals,
            handled=1,
            emitted=len(emitted),
            tasks_started=len(started),
            schema_warnings=reacted.misfits,
        ),
        sessions=kept,
        pending_tasks=tasks,
        waiting=ledger.waiting,
        recent_tasks=ledger.recent_tasks,
        recent_events=ledger.recent_events.with_digest(digest),
        outbox={**ledger.outbox, **emitted},
        task_rate=limits.rate(limited, ledger, len(started)),
    )
    return Decision(
        received=received,
        ledger=ledger,
        outcome="handled",
        effects=(*outgoings.starts(started), *outgoings.publishes(emitted), *outgoings.cancels(cancelled)),
        session=key,
        handlers=tuple(reacted.handlers),
        before=before,
        after=dict(reacted.state) if key in ledger.sessions else None,
        state_size=reacted.state_size,
    )


def _touched(ledger: Ledger, key: str, session: Session) -> Ledger:
    """The ledger with a session that heard of something and was not changed by it."""
    touched = sessions.touched(ledger, session, session.state)
    return replace(ledger, sessions=sessions.kept(ledger.sessions, ledger.pending_tasks, key, touched))


def _counted(ledger: Ledger, received: Received, outcome: Outcome) -> Decision:
    """A decision that only counts."""
    return Decision(received, replace(ledger, totals=ledgers.count(ledger.totals, **{outcome: 1})), outcome)


def _dead(
    program: Program,
    ledger: Ledger,
    received: Received,
    failure: DecisionFailed,
    *,
    task: str | None = None,
    digest: str | None = None,
) -> Decision:
    """A dead letter: the message itself stays in the stream, the ledger owes the letter with its cause."""
    attempt = received.redrive.attempt if received.redrive else 1
    letter = Letter(failure.code, failure.message[:1000], failure.handler, program.generation, attempt, task)
    key = names.letter_id(names.origin(program.agent.uid, ledger.cursor.created), received.sequence)
    subject = names.dead_subject(program.agent.namespace, program.agent.name)
    owed = Owed(received.sequence, 0, subject, received.at, letter=letter)
    recent = ledger.recent_events.with_digest(digest)
    ledger = replace(ledger, outbox={**ledger.outbox, key: owed}, recent_events=recent)
    counted = _counted(ledger, received, "dead_lettered")
    return replace(counted, effects=(Publish(key, owed),), letter=letter)


def _reactions(program: Program, event: Event) -> list[Reaction]:
    return [reaction for reaction in program.reactions if matches(reaction.pattern, event.type)]


def _variables(program: Program, event: Event) -> Variables:
    return {"event": event_variable(event), "agent": agent_variable(program), "task": {}, "input": {}}
