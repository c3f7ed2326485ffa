"""Results of tools, from the ends of their tasks in the stream, as the texts that a model reads.

The ledger has the places of the ends only. They are looked up when the next call of the model starts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from heed import names
from heed.core.effects import AgentRef, TaskWork
from heed.core.events import Event, Received
from heed.core.llm.tool_text import GONE, cut_text, tool_text
from heed.core.tasks.work import TURN
from heed.engine.ports import EventBus

REFERENCE: Final = "reference"
_ENDS: Final = (names.TASK_COMPLETED, names.TASK_FAILED)


async def add_tool_results(bus: EventBus, work: TaskWork) -> TaskWork:
    """The work of a call of a model with texts in place of references. Raises BusUnavailable, StreamMissing."""
    turn: Mapping[str, Any] = work.spec[TURN]
    additions: list[dict[str, Any]] = list(turn["additions"])
    places = [int(item[REFERENCE]) for item in additions if REFERENCE in item]
    found: dict[int, Received | None] = {}
    while left := places[len(found) :]:
        found |= zip(left, await bus.fetch(left), strict=False)
    told = [
        {
            "call": item["call"],
            "name": item["name"],
            "text": _text(work.agent, found[int(item[REFERENCE])], len(additions)),
        }
        if REFERENCE in item
        else item
        for item in additions
    ]
    return replace(work, spec={**work.spec, TURN: {**turn, "additions": told}})


def _text(agent: AgentRef, received: Received | None, results: int) -> str:
    if received is None or not isinstance(received.event, Event) or received.event.type not in _ENDS:
        return GONE
    if not names.is_inbox_of(received.subject, agent.namespace, agent.name):
        return GONE
    completed = received.event.type == names.TASK_COMPLETED
    return cut_text(tool_text(received.event.data, completed=completed), results)
