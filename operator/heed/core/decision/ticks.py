"""Ticks of timers: whether one is still due, what it carries, and what becomes of the session of the one before.

A tick that is accepted moves its timer on in the ledger, whatever the handlers then do or fail to do.
"""

from dataclasses import replace
from typing import Any

from heed import names
from heed.core.cel.expression import ExpressionError, Scope
from heed.core.cel.template import TemplateError
from heed.core.compiler.timers import CompiledTimer
from heed.core.decision.event_variables import build_agent_variable
from heed.core.decision.model import HandlerResult, Outcome
from heed.core.decision.outputs import Outputs, cancel_tasks
from heed.core.decision.requests import canonicalize_output
from heed.core.decision.sessions import check_key, has_tasks
from heed.core.decision.step import Step, TickContext
from heed.core.due.timers import (
    Tick,
    drop_ticks,
    fire_tick,
    note_session,
    parse_time,
    read_dropped,
    read_tick,
    restate_tick,
    schedule_timers,
    skip_tick,
)
from heed.core.ledger.ledger import Ledger, drop_keys
from heed.errors import DecisionFailed


def is_tick(step: Step) -> bool:
    """Whether the event is one that this Agent's own timers published: nothing else may claim to be."""
    agent, event = step.program.agent, step.event
    return (
        names.TIMER_EXTENSION in event.extensions
        and names.is_inbox(step.received.origin)
        and event.source == names.agent_source(agent.namespace, agent.name)
    )


def route_tick(step: Step, digest: str) -> Outcome | None:
    """Move the timer on, and give the event its data. `digest` is what the event is remembered by.

    A tick that is redriven, or was held, moved its timer when it came first. Raises DecisionFailed.
    """
    tick = read_tick(step.event)
    again = step.received.redrive is not None or step.released is not None
    if tick is None:
        return "stale"
    step.digest = digest
    if again and digest in step.ledger.recent_events:
        return "duplicates"
    if not again:
        before = step.ledger
        if (outcome := _accept(step, tick, digest)) is not None:
            return outcome
        tick = restate_tick(before, step.ledger, tick)
        step.event = replace(step.event, data=tick.data)
    step.tick = TickContext(tick.timer, tick.scheduled_at, _variables(step, tick))
    timer = _timer(step)
    if timer is not None and timer.data is not None:
        step.event = replace(step.event, data=_render(timer, step.tick))
    return None


def route_dropped(step: Step) -> Outcome:
    """Ticks were too late."""
    dropped = read_dropped(step.event)
    ledger = None if dropped is None else drop_ticks(step.program, step.ledger, dropped)
    if ledger is None:
        return "stale"
    step.ledger = ledger
    return "due"


def route_scheduling(step: Step) -> Outcome:
    """The timers are not those of the program: they are scheduled by the stream's time."""
    step.ledger = schedule_timers(step.program, step.ledger, parse_time(step.received.at))
    return "due"


def evaluate_tick_key(step: Step, tick: TickContext) -> str:
    """The key of the tick's session, which the timer remembers. Raises DecisionFailed."""
    timer = _timer(step)
    if timer is None or timer.session is None:
        return f"{tick.timer}@{tick.scheduled_at}"
    path = f"spec.timers.{tick.timer}.session"
    try:
        return check_key(timer.session.value(Scope(tick.variables)), path)
    except ExpressionError as error:
        raise DecisionFailed("ExpressionFailed", f"{path}: {error}") from None


def remember_session(step: Step, tick: TickContext) -> None:
    """Note in the ledger which session the timer's last tick belongs to."""
    if step.received.redrive is None:
        step.ledger = note_session(step.ledger, tick.timer, step.key or "")


def _accept(step: Step, tick: Tick, digest: str) -> Outcome | None:
    """Take a tick that is due into the ledger. One that comes again, or too late, changes nothing."""
    timer = step.program.timers.get(tick.timer)
    busy = _busy_session(step.ledger, tick.timer)
    overlap = "Allow" if timer is None or busy is None else timer.overlap
    advance = skip_tick if overlap == "Skip" else fire_tick
    if (moved := advance(step.program, step.ledger, tick)) is None:
        return "duplicates" if digest in step.ledger.recent_events else "stale"
    step.ledger = _end_session(step, moved, busy) if busy is not None and overlap == "Replace" else moved
    return "due" if overlap == "Skip" else None


def _busy_session(ledger: Ledger, name: str) -> str | None:
    """The key of the session of the timer's last tick, while that has tasks."""
    state = ledger.timers.get(name)
    key = None if state is None else state.session
    return key if key is not None and has_tasks(ledger.pending_tasks, key) else None


def _end_session(step: Step, ledger: Ledger, key: str) -> Ledger:
    """The ledger without a session; its tasks are stopped, as by `end`."""
    outputs = Outputs(cancel_tasks(ledger, key, HandlerResult({}, ended=True)), {}, {})
    step.stops = outputs.stops
    return replace(
        ledger,
        sessions=drop_keys(ledger.sessions, [key]),
        pending_tasks=outputs.change(ledger.pending_tasks),
        held=ledger.held.recall([key]),
    )


def _timer(step: Step) -> CompiledTimer | None:
    """The tick's timer; None where there is none any more, or its expressions were too costly before."""
    return step.program.timers.get(step.tick.timer) if step.tick and step.program.verdict is None else None


def _variables(step: Step, tick: Tick) -> dict[str, Any]:
    return {"timer": tick.variable, "agent": build_agent_variable(step.program)}


def _render(timer: CompiledTimer, tick: TickContext) -> Any:
    path = f"spec.timers.{timer.name}.data"
    try:
        data = timer.data.render(Scope(tick.variables)) if timer.data else None
    except TemplateError as error:
        raise DecisionFailed("TemplateFailed", f"{path}{error.path}: {error.message}") from None
    return canonicalize_output(data, path)
