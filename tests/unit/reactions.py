"""Short ways to say "what the handlers of this Agent make of an event with these data"."""

from typing import Any

from heed.core.compiler.program import Program
from heed.core.decision.event_variables import build_agent_variable, build_event_variable
from heed.core.decision.handlers import react
from heed.core.decision.model import HandlerResult
from heed.core.events import Event
from tests.builders.agents import ASKED, job, program
from tests.builders.decisions import failure_of

TASKS = {"work": job("${input}"), "other": job()}


def reacting(*handlers: dict[str, Any]) -> Program:
    return program(*({"name": f"h{index}", **handler} for index, handler in enumerate(handlers)), tasks=TASKS)


def reacted(program_: Program, data: Any = None, state: dict[str, Any] | None = None) -> HandlerResult:
    """What all handlers of an Agent make of an event with these data."""
    event = build_event_variable(Event("e1", "/shop", ASKED, data))
    variables = {
        "event": event,
        "agent": build_agent_variable(program_),
        "session": {"key": "s"},
        "task": {},
        "input": {},
    }
    return react(program_, program_.reactions, variables, state or {})


def failure(
    program_: Program, data: Any = None, state: dict[str, Any] | None = None
) -> tuple[str, str, str | None]:
    """Code, message and handler of a reaction that fails."""
    return failure_of(reacted, program_, data, state)
