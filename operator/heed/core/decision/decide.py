"""The decision: what an Agent makes of one event. A new ledger and a list of effects; same inputs, same decision.

    Decision = decide(Program, Ledger, Received)

Folding `decide` over the stream from an empty ledger gives the only right ledger; everything else in Heed exists to
make the world agree with it. Time is the stream's own time of the event.
"""

from dataclasses import replace

from heed import names
from heed.core.cel.expression import Scope, out_of_memory
from heed.core.codec.canonical_json import compact
from heed.core.compiler.program import Program
from heed.core.decision import redrive, schema_check, sessions
from heed.core.decision.model import SHELL, Decision
from heed.core.decision.task_events import decide_task_event
from heed.core.decision.transition import counted, dead, handled, reactions_to, variables_of
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger import ledger as ledgers
from heed.core.ledger.deferred import MAX_WAITING
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed

__all__ = ["Decision", "decide"]


def decide(
    program: Program, ledger: Ledger, received: Received, *, room: Headroom | None = None, ahead: bool = False
) -> Decision:
    """Decide one event of the stream. Whatever the event is, the cursor moves past it and one total grows.

    With `room`, an event that the status cannot take now is left waiting. `ahead`: only the inbox is being read.
    """
    waited = received.sequence in ledger.waiting
    if not waited:
        if names.is_inbox(received.subject) and received.sequence <= (ledger.cursor.inbox or 0):
            return Decision(received, sessions.advanced(program, ledger, received, ahead=ahead), "passed")
        if received.sequence <= ledger.cursor.sequence:
            return counted(ledger, received, "duplicates")
    decision = _decide(program, sessions.advanced(program, ledger, received, ahead=ahead), received, room)
    if not waited or decision.outcome == "waiting":
        return decision
    waiting = decision.ledger.waiting.left(received.sequence)
    return replace(decision, ledger=replace(decision.ledger, waiting=waiting))


def _decide(program: Program, ledger: Ledger, received: Received, room: Headroom | None) -> Decision:
    event, agent = received.event, program.agent
    if names.is_inbox(received.subject) and not names.is_inbox_of(
        received.subject, agent.namespace, agent.name
    ):  # nobody reads another one's; but who can write the status can have anything wait
        return counted(ledger, received, "ignored")
    if isinstance(event, MalformedMessage):
        if not program.hears(names.namespace_of_subject(received.origin)):
            return counted(ledger, received, "ignored")
        return dead(program, ledger, received, DecisionFailed(event.code, event.message))
    try:
        if event.type.startswith(names.TASK_EVENTS):
            return decide_task_event(program, ledger, received, event, room)
        return _decide_event(program, ledger, received, event, room)
    except MemoryError:
        return dead(program, ledger, received, out_of_memory())
    except Exception as error:  # a mistake of ours must cost one event, not the Agent
        failure = DecisionFailed("Undecidable", f"{type(error).__name__}: {error}; please report this")
        return dead(program, ledger, received, failure)


def _decide_event(
    program: Program, ledger: Ledger, received: Received, event: Event, room: Headroom | None
) -> Decision:
    digest = redrive.digest_of(program, received, event)
    if digest in ledger.recent_events:
        return counted(ledger, received, "duplicates")
    reactions = reactions_to(program, event)
    unchecked = ledger  # what waits is checked again when it waits no more
    try:
        if program.schemas and reactions and schema_check.heard_misfits(program, received, event):
            ledger = replace(ledger, totals=ledgers.count(ledger.totals, schema_warnings=1))
        variables = variables_of(program, event)
        scope = Scope(variables)
        if not sessions.subscribed(program, received, event, scope) or not reactions:
            return counted(ledger, received, "ignored")
        key = sessions.session_key(program, event, scope)
        if ledger.waiting.places and ledger.waiting.blocks(key, received.sequence):
            return _left_waiting(program, unchecked, received, key, digest)
        decision = handled(program, ledger, received, event, key, reactions, variables, digest)
    except DecisionFailed as failure:
        return dead(program, ledger, received, failure, digest=digest)
    if _must_wait(decision, ledger, key, room):
        return _left_waiting(program, unchecked, received, key, digest)
    return decision


def _must_wait(decision: Decision, ledger: Ledger, key: str, room: Headroom | None) -> bool:
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
        return dead(program, ledger, received, failure, digest=digest)
    ledger = replace(ledger, waiting=ledger.waiting.joined(received.sequence, key))
    return Decision(received, ledger, "waiting", session=key)
