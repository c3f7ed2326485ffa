"""Holding: an event whose handler waits for the session's state is set aside, until that state or a time has come.

Nothing of its decision is kept until then. It stays in the stream, and the ledger notes its place. Each change of the
session's state, and the end of its time, has it looked at again.
"""

from dataclasses import replace
from typing import Final

from heed import names
from heed.api.status import HeldEvent
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.decision.event_variables import build_variables
from heed.core.decision.handlers import react_to_event
from heed.core.decision.model import HoldRequest, Outcome, estimate_hold
from heed.core.decision.sessions import add_seconds, touch_session
from heed.core.decision.step import Step
from heed.core.events import Event
from heed.core.ledger.held import MAX_HELD_EVENTS, MAX_HELD_IN_SESSION
from heed.core.type_patterns import matches
from heed.errors import DecisionFailed

HOLD_EXPIRED: Final = "HoldExpired"
HOLD_LIMIT: Final = "HoldLimit"
_TRACE: Final = ("traceparent", "tracestate")


def hold(step: Step) -> Outcome | None:
    """Set the event aside where a handler has to wait, or see that its time is over. Raises DecisionFailed."""
    if (request := step.result.hold) is None:
        return None
    if step.event.type in names.UNHELD_TYPES:
        message = f"{request.path}: holds {step.event.type}, which cannot wait"
        raise DecisionFailed("BadAnswer", message, request.handler)
    held = _record(step, request)
    if not _is_over(step, held):
        return _set_aside(step, held)
    _expire(step, request, held)
    return None


def _record(step: Step, request: HoldRequest) -> HeldEvent:
    """The event as the ledger holds it. Its time counts from the event, however often it is looked at."""
    since = step.received.at if step.released is None else step.released.since
    until = add_seconds(since, request.seconds)
    return HeldEvent(step.key or "", request.handler, since, until, step.program.generation)


def _is_over(step: Step, held: HeldEvent) -> bool:
    """Whether its time is over, as its due time has said; nothing else does, so that the stream alone decides."""
    before = step.released
    return before is not None and before.phase == "Expired" and held.until <= before.until


def _set_aside(step: Step, held: HeldEvent) -> Outcome:
    sequence, ledger = step.received.sequence, step.ledger
    if ledger.held.is_full(held.session, sequence):
        message = (
            f"{MAX_HELD_IN_SESSION} events of the session are held already, or {MAX_HELD_EVENTS} of the Agent; "
            "redrive it later"
        )
        raise DecisionFailed(HOLD_LIMIT, message, held.handler)
    if step.released is None:
        if not _fits(step, held):
            return "waiting"
        if held.session in ledger.sessions:
            ledger = touch_session(ledger, held.session, step.session)
    step.ledger = replace(ledger, held=ledger.held.with_event(sequence, held))
    step.held = held
    return "held"


def _fits(step: Step, held: HeldEvent) -> bool:
    """Whether the status has room for its place; one event there may be in any case."""
    headroom, ledger = step.headroom, step.ledger
    if headroom is None or not (ledger.sessions or ledger.pending_tasks or ledger.held.places):
        return True
    return estimate_hold(held) <= headroom.for_open_session


def _expire(step: Step, request: HoldRequest, held: HeldEvent) -> None:
    """Let the handlers of dev.heed.hold.expired act instead of those of the event. Raises DecisionFailed."""
    message = f"{request.path}.until: did not hold by {held.until}"
    if not request.handled:
        raise DecisionFailed(HOLD_EXPIRED, f"{message}; redrive it once it does", request.handler)
    step.event = _expired_event(step, held)
    step.reactions = [item for item in step.program.reactions if matches(item.pattern, step.event.type)]
    session = step.variables["session"]
    step.variables = {**build_variables(step.program, step.event), "session": session}
    step.result = react_to_event(step)
    if not step.result.handlers:
        unheard = f"{message}, and no handler of {names.HOLD_EXPIRED} acted on that; redrive it"
        raise DecisionFailed(HOLD_EXPIRED, unheard, request.handler)


def _expired_event(step: Step, held: HeldEvent) -> Event:
    """The event dev.heed.hold.expired: never published, but what an event is decided as whose time is over.

    It has the id and the place in the flow of the event itself, which is what causes all that comes of it.
    """
    event, agent = step.event, step.program.agent
    trace = {name: value for name in _TRACE if (value := event.extensions.get(name)) is not None}
    return Event(
        id=event.id,
        source=names.agent_source(agent.namespace, agent.name),
        type=names.HOLD_EXPIRED,
        subject=event.subject,
        time=held.until,
        datacontenttype="application/json",
        data={
            "event": event_to_json(event),
            "handler": held.handler,
            "heldSince": held.since,
            "heldUntil": held.until,
        },
        extensions={
            "correlationid": event.correlationid,
            "causationid": event.id,
            "heedhops": event.hops,
            **trace,
        },
    )
