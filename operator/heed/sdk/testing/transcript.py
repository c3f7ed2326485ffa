"""The transcript of a simulation, for people: what came, what each Agent made of it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from heed.core.simulation.steps import Delivery, SimulationStep

MAX_STEPS_SHOWN: Final = 60
MAX_VALUE_CHARS: Final = 200

_ORIGINS: Final = {
    "given": "",
    "emitted": " (emitted)",
    "task": " (task)",
    "due": " (due)",
    "released": " (held until now)",
}


def write_transcript(steps: Sequence[SimulationStep]) -> str:
    """The last steps of a simulation as text."""
    left_out = len(steps) - MAX_STEPS_SHOWN
    head = [f"… {left_out} events before …"] if left_out > 0 else []
    return "\n".join([*head, *(line for step in steps[-MAX_STEPS_SHOWN:] for line in _step(step))])


def _step(step: SimulationStep) -> Iterator[str]:
    event = step.message.event
    yield f"#{step.sequence} {step.at[:19]} {event.type} {event.id} {_brief(event.data)}{_ORIGINS[step.message.origin]}"
    for delivery in step.deliveries:
        yield from (f"    {line}" for line in _delivery(delivery))
    if not step.deliveries:
        yield "    no Agent here heeds it"


def _delivery(delivery: Delivery) -> Iterator[str]:
    decision = delivery.decision
    session = "" if decision.session is None else f", session {decision.session}"
    handlers = f" by {', '.join(decision.handlers)}" if decision.handlers else ""
    yield f"{delivery.agent.name}: {decision.outcome.replace('_', ' ')}{handlers}{session}"
    if decision.letter is not None:
        yield f"  {decision.letter.code}: {decision.letter.message.splitlines()[0]}"
    if decision.handlers and decision.after != decision.before:
        yield f"  state {_brief(decision.before)} -> {_brief(decision.after)}"
    for work in delivery.started:
        yield f"  starts {work.task} {_brief(work.document.get('input'))}, attempt {work.attempt}"
    for event in delivery.emitted:
        yield f"  emits {event.type} {_brief(event.data)}"
    for task_id in delivery.cancelled:
        yield f"  cancels {task_id}"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"
