"""What is stored in a simulated stream, how simulated tasks end, and what came of it."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, TaskWork
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.resource import Progress

Origin = Literal["given", "emitted", "task", "due", "released"]


@dataclass(frozen=True, slots=True)
class StubbedEnd:
    """How a task ends: with a result, or with a reason to have failed; `after` a given event with that id, if any.

    A resource task with `objects` ends as its CEL says when its object becomes each of these in turn.
    """

    result: Any = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    cause: str | None = None
    container: str | None = None
    after: str | None = None
    objects: tuple[Mapping[str, Any], ...] = ()
    said: tuple[Progress, ...] = ()  # before its end
    open: bool = False  # whether it says nothing more


Answers = Callable[[TaskWork], StubbedEnd | None]


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """A message to store in the stream. `task` names the task that publishes it: the Agent's oldest running one."""

    subject: str
    event: Event
    origin: Origin = "given"
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One Agent's decision on one message. `started` has the tasks with their rendered specs."""

    agent: AgentRef
    decision: Decision
    started: tuple[TaskWork, ...]
    emitted: tuple[Event, ...]
    cancelled: tuple[str, ...]
    queued: tuple[str, ...] = ()  # tasks that wait for a slot


@dataclass(frozen=True, slots=True)
class SimulationStep:
    """A stored message with its deliveries. `at` is RFC 3339."""

    sequence: int
    at: str
    message: SimulatedMessage
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """A finished simulation. `waiting` messages were not stored: the run stopped before them."""

    steps: tuple[SimulationStep, ...]
    programs: Mapping[AgentRef, Program]
    ledgers: Mapping[AgentRef, Ledger]
    waiting: int

    def busiest(self, count: int = 5) -> list[tuple[str, int]]:
        """The types with the most messages."""
        return Counter(step.message.event.type for step in self.steps).most_common(count)
