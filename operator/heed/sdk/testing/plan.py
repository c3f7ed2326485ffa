"""Plans: what a test does to a simulation, as values that a strategy can put in any order and a report can show."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from heed.core.events import Event as CloudEvent
from heed.sdk.events import Event
from heed.sdk.state import task_name
from heed.sdk.tasks import Task

if TYPE_CHECKING:
    from heed.sdk.testing.simulation import Simulation


class Action(ABC):
    """One thing that a test does to a simulation: one of the classes below, each named after a method of it."""

    __slots__ = ()

    @abstractmethod
    def perform(self, simulation: "Simulation") -> None:
        """Do it."""

    def __repr__(self) -> str:
        """The code that makes it, without what is as it is by default."""
        told = []
        for item in fields(self):  # type: ignore[arg-type]  # all that can be made are dataclasses
            value = getattr(self, item.name)
            if item.default is MISSING and item.default_factory is MISSING:
                told.append(repr(value))
            elif value != (item.default if item.default_factory is MISSING else item.default_factory()):
                told.append(f"{item.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


@dataclass(frozen=True, slots=True, repr=False)
class Publish(Action):
    """Publish an event."""

    event: Event | CloudEvent
    session: str | None = None
    id: str | None = None
    type: str | None = None
    to: str | None = None

    def perform(self, simulation: "Simulation") -> None:
        """Publish it."""
        simulation.publish(self.event, session=self.session, id=self.id, type=self.type, to=self.to)


@dataclass(frozen=True, slots=True, repr=False)
class Advance(Action):
    """Let time pass."""

    duration: str

    def perform(self, simulation: "Simulation") -> None:
        """Let it pass."""
        simulation.advance(self.duration)


@dataclass(frozen=True, slots=True, repr=False)
class Crash(Action):
    """Lose the operator at a commit: the `at`-th one from here, where 1 is the next."""

    at: int = 1

    def perform(self, simulation: "Simulation") -> None:
        """Lose it."""
        simulation.crash(at=self.at)


class TaskAction(Action):
    """An action on the oldest open task of a name, or the oldest in a session; it is put off until there is one."""

    __slots__ = ()
    task: Task[Any] | str
    session: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_name(self.task))

    def is_due(self, simulation: "Simulation") -> bool:
        """Whether there is an open task for it."""
        return bool(simulation.pending(self.task, self.session))


@dataclass(frozen=True, slots=True, repr=False)
class Complete(TaskAction):
    """Complete a task with a result."""

    task: Task[Any] | str
    result: Any = None
    session: str | None = None

    def perform(self, simulation: "Simulation") -> None:
        """Complete it."""
        simulation.complete(self.task, self.result, session=self.session)


@dataclass(frozen=True, slots=True, repr=False)
class Fail(TaskAction):
    """Let an attempt at a task fail."""

    task: Task[Any] | str
    reason: str = "Error"
    message: str | None = None
    session: str | None = None

    def perform(self, simulation: "Simulation") -> None:
        """Let it fail."""
        simulation.fail(self.task, self.reason, self.message, session=self.session)


@dataclass(frozen=True, slots=True, repr=False)
class Answer(TaskAction):
    """Answer an approval."""

    task: Task[Any] | str
    choice: str = "approve"
    fields: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    session: str | None = None

    def perform(self, simulation: "Simulation") -> None:
        """Answer it."""
        simulation.answer(self.task, self.choice, fields=self.fields, user=self.user, session=self.session)


class Plan:
    """Actions in their order. It is shown as the code that makes it."""

    __slots__ = ("actions",)

    def __init__(self, *actions: Action) -> None:
        self.actions = actions

    def __eq__(self, other: object) -> bool:
        """Whether it has the same actions in the same order."""
        return isinstance(other, Plan) and self.actions == other.actions

    __hash__ = None  # type: ignore[assignment]  # what actions hold may be unhashable

    def __repr__(self) -> str:
        lines = "".join(f"    {action},\n" for action in self.actions)
        return f"Plan(\n{lines})" if lines else "Plan()"
