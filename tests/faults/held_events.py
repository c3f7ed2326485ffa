"""Whether held events acted when they had to: not before their session's state let them, nor after their time.

What a handler waits for is written down here once more, over the states that the decisions left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from heed.core.decision.model import Decision
from heed.core.events import Event
from tests.faults.agents import HELD_SECONDS
from tests.faults.incarnation import Findings, Incarnation
from tests.faults.spec_parts import DOMAIN

CONDITIONS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    DOMAIN + "order.settled": lambda state: "item" in state,
    DOMAIN + "order.audited": lambda state: "packed" in state or "failed" in state,
}
ACTING = {DOMAIN + "order.settled": "settle", DOMAIN + "order.audited": "audit"}
EXPIRED = {DOMAIN + "order.settled": "HoldExpired", DOMAIN + "order.audited": "unaudited"}


def held_findings(item: Incarnation) -> Findings:
    """Every event that may be held acted once: when its session was ready for it, or else when its time was over."""
    if item.program.agent.name != "clerk":
        return []
    since: dict[int, str] = {}
    decided: set[int] = set()
    wrong = []
    for decision in item.fold.decisions:
        event, sequence = decision.received.event, decision.received.sequence
        if not isinstance(event, Event) or event.type not in CONDITIONS:
            continue
        if sequence in decided:
            wrong.append(f"{item}: event {sequence} acted again after it had acted")
        at = since.setdefault(sequence, decision.received.at)
        if (amiss := _amiss(decision, event, at)) is not None:
            wrong.append(f"{item}: event {sequence} {amiss}")
        if decision.outcome != "held":
            decided.add(sequence)
    if item.alive:
        wrong += [f"{item}: event {sequence} is held still" for sequence in since.keys() - decided]
    return wrong


def _amiss(decision: Decision, event: Event, since: str) -> str | None:
    ready, over = CONDITIONS[event.type](_state(decision, event)), _is_over(decision, since)
    became = decision.letter.code if decision.letter is not None else ",".join(decision.handlers)
    if decision.outcome == "held" and ready:
        return "was held although its session was ready"
    if became == ACTING[event.type] and not ready:
        return "acted although its session was not ready"
    if became == EXPIRED[event.type] and (ready or not over):
        return f"was given up although {'its session was ready' if ready else 'it had time left'}"
    if decision.outcome not in ("held", "duplicates") and became not in (
        ACTING[event.type],
        EXPIRED[event.type],
    ):
        return f"became {decision.outcome} {became}"
    return None


def _state(decision: Decision, event: Event) -> Mapping[str, Any]:
    """The state of the event's session when it was decided."""
    if decision.before is not None:
        return decision.before
    session = decision.ledger.sessions.get(event.correlationid)
    return {} if session is None else session.state


def _is_over(decision: Decision, since: str) -> bool:
    now = datetime.fromisoformat(decision.ledger.cursor.time or "")
    return now >= datetime.fromisoformat(since) + timedelta(seconds=HELD_SECONDS)
