"""Why an Agent ignored an event, or set it aside: for people, after the decision."""

from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision
from heed.core.events import Event
from heed.core.type_patterns import matches


def why_held(decision: Decision) -> str | None:
    """What an event that was set aside waits for, or None where it was not."""
    held = decision.held
    return None if held is None else f"{held.handler} holds it, until {held.until} at most"


def why_ignored(program: Program, decision: Decision) -> str | None:
    """What kept the event from being handled, or None where nothing did."""
    event = decision.received.event
    if decision.outcome != "ignored" or not isinstance(event, Event):
        return None
    reactions = [item for item in program.reactions if matches(item.pattern, event.type)]
    if not reactions:
        return f"no handler has a type that matches {event.type}"
    if decision.session is None:  # it never came to the handlers
        asked = [
            f"spec.subscribe[{index}].where"
            for index, item in enumerate(program.subscriptions)
            if item.where is not None and program.matches(item, event.type, decision.received.origin)
        ]
        return f"{', '.join(asked)} was false" if asked else f"no subscription has the type {event.type}"
    if conditions := ", ".join(f"{item.path}.when" for item in reactions if item.when):
        return f"{conditions} was false"
    return f"{', '.join(f'{item.code.function}()' for item in reactions if item.code)} did not act"
