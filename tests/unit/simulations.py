"""Short ways to say "when these events are simulated": an Agent with a task, messages, and what came of them."""

from collections.abc import Callable
from typing import Any

from heed import names
from heed.core.compiler.program import Program
from heed.core.effects import TaskWork
from heed.core.events import Event
from heed.core.simulation.simulator import simulate
from heed.core.simulation.steps import SimulatedMessage, SimulationRun, StubbedEnd
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program

STOP, HALT = "com.example.stop", "com.example.halt"
WORKER = program(
    {"name": "begin", "state": {"n": 1}, "start": [{"task": "work", "input": "${event.id}"}]},
    {"name": "halt", "type": HALT, "cancel": [{"task": "work"}]},
    {"name": "stop", "type": STOP, "end": True},
    {"name": "hear", "type": names.TASK_PROGRESS, "state": {"heard": "${event.data}"}},
    {
        "name": "done",
        "type": names.TASK_COMPLETED,
        "state": {"got": "${event.data}"},
        "emit": [{"type": "x.done"}],
    },
    {"name": "lost", "type": names.TASK_FAILED, "state": {"lost": "${event.data}"}},
    tasks={"work": job("${input}", publish=True)},
)


def message(id_: str, type_: str = ASKED, *, time: str | None = None, **extensions: Any) -> SimulatedMessage:
    """A given event that everybody may read."""
    return SimulatedMessage(
        names.event_subject(NAMESPACE, type_), Event(id_, "/test", type_, time=time, extensions=extensions)
    )


def told(id_: str, type_: str, data: Any = None, *, task: str = "work") -> SimulatedMessage:
    """What a task of the Agent says."""
    event = Event(id_, names.agent_source(NAMESPACE, AGENT), type_, data)
    return SimulatedMessage(names.inbox_subject(NAMESPACE, AGENT, type_), event, task=task)


def run(
    *given: SimulatedMessage,
    answer: StubbedEnd | Callable[[TaskWork], StubbedEnd | None] | None = None,
    agents: tuple[Program, ...] = (WORKER,),
    **options: Any,
) -> SimulationRun:
    """A simulation in which every task ends like that."""
    return simulate(agents, given, answer if callable(answer) else lambda work: answer, **options)


def in_turn(*answers: StubbedEnd) -> Callable[[TaskWork], StubbedEnd]:
    """The first task ends like the first of these, and so on."""
    left = iter(answers)
    return lambda work: next(left)


def stored_types(run_: SimulationRun) -> list[str]:
    """The types of what was stored, in order."""
    return [step.message.event.type.rpartition(".")[2] for step in run_.steps]


def state(run_: SimulationRun, session: str) -> Any:
    return run_.ledgers[WORKER.agent].sessions[session].state
