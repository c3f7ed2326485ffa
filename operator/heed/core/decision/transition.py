"""What the handlers of an Agent make of one event, taken into a new ledger; or why nothing came of it."""

from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage, Session
from heed.core.compiler.program import CompiledHandler, Program
from heed.core.decision import outputs, quotas, sessions
from heed.core.decision.handlers import Reacted, agent_variable, event_variable, react
from heed.core.decision.model import Decision, Outcome
from heed.core.effects import Publish
from heed.core.events import Event, Received
from heed.core.ledger import ledger as ledgers
from heed.core.ledger.ledger import Ledger
from heed.core.type_patterns import matches
from heed.errors import DecisionFailed

Variables = dict[str, Any]


def handled(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    key: str,
    reactions: list[CompiledHandler],
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
            ledger = touched(ledger, key, session)
        return replace(counted(ledger, received, "ignored"), session=key, before=before, after=before)
    after = _taken_in(program, ledger, received, event, key, variables, session, reacted, digest)
    return replace(after, before=before)


def _taken_in(
    program: Program,
    ledger: Ledger,
    received: Received,
    event: Event,
    key: str,
    variables: Variables,
    session: Session,
    reacted: Reacted,
    digest: str | None,
) -> Decision:
    """What the handlers did, in a new ledger and as effects. Raises DecisionFailed."""
    outputs.check_count(reacted)
    origin = names.origin(program.agent.uid, ledger.cursor.created)
    cancelled, limited = outputs.cancelled(ledger, key, reacted), program.permissions.limits
    quotas.check_starts(limited, ledger, cancelled, reacted)
    started = outputs.started(program, origin, received, event, key, variables, reacted)
    emitted = outputs.emitted(program, origin, received, event, session.correlationid, reacted)
    outputs.check_size(started, emitted)
    tasks = {**ledger.pending_tasks, **cancelled, **started}
    kept = sessions.kept(ledger.sessions, tasks, key, sessions.touched(ledger, session, reacted.state))
    quotas.check_session(limited, ledger, key, kept, reacted)
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
        task_rate=quotas.rate(limited, ledger, len(started)),
    )
    return Decision(
        received=received,
        ledger=ledger,
        outcome="handled",
        effects=(*outputs.starts(started), *outputs.publishes(emitted), *outputs.cancels(cancelled)),
        session=key,
        handlers=tuple(reacted.handlers),
        after=dict(reacted.state) if key in ledger.sessions else None,
        state_size=reacted.state_size,
    )


def touched(ledger: Ledger, key: str, session: Session) -> Ledger:
    """The ledger with a session that heard of something and was not changed by it."""
    touched = sessions.touched(ledger, session, session.state)
    return replace(ledger, sessions=sessions.kept(ledger.sessions, ledger.pending_tasks, key, touched))


def counted(ledger: Ledger, received: Received, outcome: Outcome) -> Decision:
    """A decision that only counts."""
    return Decision(received, replace(ledger, totals=ledgers.count(ledger.totals, **{outcome: 1})), outcome)


def dead(
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
    letter = DeadLetterCause(
        failure.code, failure.message[:1000], failure.handler, program.generation, attempt, task
    )
    key = names.letter_id(names.origin(program.agent.uid, ledger.cursor.created), received.sequence)
    subject = names.dead_subject(program.agent.namespace, program.agent.name)
    owed = OutboxMessage(received.sequence, 0, subject, received.at, letter=letter)
    recent = ledger.recent_events.with_digest(digest)
    ledger = replace(ledger, outbox={**ledger.outbox, key: owed}, recent_events=recent)
    decision = counted(ledger, received, "dead_lettered")
    return replace(decision, effects=(Publish(key, owed),), letter=letter)


def reactions_to(program: Program, event: Event) -> list[CompiledHandler]:
    """The handlers of the event's type, in listed order."""
    return [reaction for reaction in program.reactions if matches(reaction.pattern, event.type)]


def variables_of(program: Program, event: Event) -> Variables:
    """What expressions see of the event and the Agent."""
    return {"event": event_variable(event), "agent": agent_variable(program), "task": {}, "input": {}}
