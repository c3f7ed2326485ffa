"""Simulations: Agents' real decisions in memory, event by event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic_core import to_jsonable_python

from heed import names
from heed.api.status import DeadLetterCause, PendingTask
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.events import Event as CloudEvent
from heed.core.ledger.ledger import Ledger
from heed.core.llm.model_answer import Usage
from heed.core.llm.transcript import ToolCall
from heed.core.llm.turn_events import TurnReport
from heed.core.simulation.steps import Delivery, SimulatedMessage, SimulationStep, StubbedEnd
from heed.core.simulation.world import SimulatedWorld, with_uid
from heed.sdk.agent import Agent
from heed.sdk.durations import parse_duration
from heed.sdk.errors import CodeError
from heed.sdk.events import Event
from heed.sdk.in_process import answers_of, compile_code
from heed.sdk.state import task_name
from heed.sdk.tasks import Task
from heed.sdk.testing.plan import Plan, TaskAction
from heed.sdk.testing.transcript import write_transcript

MAX_STEPS = 10_000  # of one action: more is an Agent that goes round in circles


@dataclass(frozen=True, slots=True, repr=False)
class DeadLetter:
    """An event that could not be decided, and why."""

    event: CloudEvent
    cause: DeadLetterCause

    def __str__(self) -> str:
        return f"{self.event.type}: {self.cause.code}: {self.cause.message.splitlines()[0]}"

    def __repr__(self) -> str:
        return f"<DeadLetter {self}>"


class Simulation:
    """Agents on a virtual stream and clock. Whatever an action causes is decided when it returns.

    An Agent that is no code takes part as its manifest. Tasks stay open until the test ends them; waits, retries,
    timeouts and timers come with the clock.
    """

    def __init__(self, *agents: Agent | Mapping[str, Any]) -> None:
        if not agents:
            raise ValueError("a simulation needs an Agent")
        self._agents = {agent.name: agent for agent in agents if isinstance(agent, Agent)}
        programs = [with_uid(_compile(agent)) for agent in agents]
        self._programs = {program.agent.name: program for program in programs}
        answers = {self._programs[name].agent: answers_of(agent) for name, agent in self._agents.items()}
        self._world = SimulatedWorld(programs, lambda work: None, [], code=answers, crashes=self._crashes_at)
        self._crashes: set[int] = set()  # numbers of commits
        self._crashes_from: int | None = None
        self._first = programs[0].agent.name
        self._count = 0
        self.steps: list[SimulationStep] = []
        self.emitted: list[CloudEvent] = []
        self.dead_letters: list[DeadLetter] = []

    # ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        event: Event | CloudEvent,
        *,
        session: str | None = None,
        id: str | None = None,
        source: str = "/test",
        type: str | None = None,
        to: str | None = None,
    ) -> str:
        """Publish an event; `session` is its correlationid, `to` an Agent that alone gets it. Returns its id.

        A second event of the same id and source is a duplicate, as it is on a real stream. `type` is for events of
        classes that have several.
        """
        if isinstance(event, CloudEvent):
            made = event
        else:
            made = self._event(event, type or event.event_type, session, id, source)
        namespace = self._programs[self._first].agent.namespace
        subject = (
            names.event_subject(namespace, made.type)
            if to is None
            else names.inbox_subject(namespace, to, made.type)
        )
        self._world.given.append(SimulatedMessage(subject, made))
        self._settle()
        return made.id

    def complete(self, task: Task[Any] | str, result: Any = None, *, session: str | None = None) -> None:
        """Complete the oldest open task of a name: with a result of its declared type, or as JSON."""
        self._end(task, StubbedEnd(result=to_jsonable_python(result, by_alias=True)), session)

    def fail(
        self,
        task: Task[Any] | str,
        reason: str = "Error",
        message: str | None = None,
        *,
        session: str | None = None,
    ) -> None:
        """Let an attempt at the oldest open task of a name fail; the next attempt comes with the clock."""
        self._end(task, StubbedEnd(reason=reason, message=message), session)

    def answer(
        self,
        task: Task[Any] | str,
        choice: str = "approve",
        *,
        fields: Mapping[str, Any] | None = None,
        comment: str = "",
        user: str | None = None,
        session: str | None = None,
    ) -> None:
        """Answer the oldest open approval of a name, as one of its approvers or as this user."""
        stub: dict[str, Any] = {"choice": choice, "fields": dict(fields or {}), "comment": comment}
        if user is not None:
            stub["answeredBy"] = user
        self._end(task, StubbedEnd(result=stub), session)

    def advance(self, duration: str) -> None:
        """Let time pass, and come what is due by then."""
        until = self._world.clock + timedelta(seconds=parse_duration(duration))
        self._world.until = until
        self._settle()
        self._world.clock = max(self._world.clock, until)

    def crash(self, at: int | None = None) -> None:
        """Lose the operator at each commit from here on, or only at the `at`-th one, where 1 is the next.

        It is lost before the commit, so that the event is decided a second time, which counts; and right after it, so
        that all it does is what the stored ledger says. A decision that is different the second time is no mistake.
        """
        commits = self._world.commits
        if at is None:
            self._crashes_from = commits + 1
        elif at < 1:
            raise ValueError(f"at={at}: the next commit is the first one; count from 1")
        else:
            self._crashes.add(commits + at)

    def play(self, plan: Plan) -> list[TaskAction]:
        """Do what a plan says. The end of a task takes place as soon as there is such a task.

        Returns those ends for which there was none.
        """
        put_off: list[TaskAction] = []
        for action in plan.actions:
            if isinstance(action, TaskAction):
                put_off.append(action)
            else:
                action.perform(self)
            while due := next((item for item in put_off if item.is_due(self)), None):
                put_off.remove(due)
                due.perform(self)
        return put_off

    # ── what came of it ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its Agents."""
        return tuple(self._programs)

    @property
    def now(self) -> datetime:
        """The simulated time."""
        return self._world.clock

    def ledger(self, agent: Agent | str | None = None) -> Ledger:
        """The whole ledger of an Agent, or of the Agent of a name; of the first one if none is given."""
        return self._world.ledgers[self._program(agent).agent]

    def state(self, session: str | None = None, agent: Agent | str | None = None) -> Any:
        """The state of a session, of the only one if none is named; None where there is none (any more).

        It is a map where the Agent is a manifest.
        """
        sessions = self.ledger(agent).sessions
        if session is None:
            if len(sessions) > 1:
                raise AssertionError(f"there are {len(sessions)} sessions, name one: {', '.join(sessions)}")
            session = next(iter(sessions), "")
        found = sessions.get(session)
        if found is None:
            return None
        code = self._agents.get(self._program(agent).agent.name)
        return dict(found.state) if code is None else code.state.load(found.state, {})

    def pending(self, task: Task[Any] | str | None = None, session: str | None = None) -> list[PendingTask]:
        """The open tasks of all Agents, of a name and a session if those are given; oldest first."""
        return [record for _, _, record in self._open(task, session)]

    def transcript(self) -> str:
        """What came, and what each Agent made of it, as text. The fixture `simulation` shows it where a test fails."""
        return write_transcript(self.steps)

    def assert_emitted(self, *events: Event) -> None:
        """Raise AssertionError unless exactly these events were emitted, in this order, since the last such call."""
        wanted = [(item.event_type, item.dump()) for item in events]
        found = [(item.type, item.data) for item in self.emitted]
        if wanted != found:
            lines = ["these were to be emitted:", *map(_line, wanted), "and these were:", *map(_line, found)]
            raise AssertionError("\n".join([*lines, *self._troubles()]))
        self.emitted.clear()

    # ── how ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _crashes_at(self, commit: int) -> bool:
        return commit in self._crashes or (self._crashes_from is not None and commit >= self._crashes_from)

    def _event(
        self, event: Event, type_: str, session: str | None, id: str | None, source: str
    ) -> CloudEvent:
        if not names.is_type(type_):
            raise ValueError(
                f'"{type_}" is no single type of an event; say which it is: publish(event, type=…)'
            )
        self._count += 1
        extensions = {} if session is None else {"correlationid": session}
        made = CloudEvent(id or f"event-{self._count}", source, type_, event.dump())
        made.extensions, made.datacontenttype = extensions, "application/json"
        return made

    def _program(self, agent: Agent | str | None) -> Program:
        name = agent.name if isinstance(agent, Agent) else agent
        return self._programs[self._first if name is None else name]

    def _end(self, task: Task[Any] | str, end: StubbedEnd, session: str | None) -> None:
        name = task_name(task)
        found = next(self._open(task, session), None)
        if found is None:
            running = sorted({record.task for record in self.pending()})
            message = f"no task {name} is open; open are: {', '.join(running) or 'none'}"
            raise AssertionError("\n".join([message, *self._troubles()]))
        program, task_id, record = found
        self._world.end_task(program.agent, task_id, end, self._world.now, record.attempt)
        self._settle()

    def turn(
        self,
        task: Task[Any] | str,
        *calls: tuple[str, Mapping[str, Any]],
        session: str | None = None,
        tokens: int = 0,
    ) -> None:
        """Let the model of the oldest open task of a name call tools: each a name and its arguments.

        They are tasks then, which end like others. The model's answer is what the task completes with.
        """
        found = next((item for item in self._open(task, session) if item[2].tools is None), None)
        if found is None or found[2].loop is None:
            raise AssertionError(f"no call of a model is under way for {task_name(task)}")
        program, task_id, _ = found
        wanted = tuple(
            ToolCall(f"call_{number}", name, "", dict(arguments))
            for number, (name, arguments) in enumerate(calls)
        )
        self._world.say_turn(program.agent, task_id, TurnReport(0, 0, wanted, usage=Usage(tokens, 0)))
        self._settle()

    def _open(self, task: Task[Any] | str | None, session: str | None) -> Any:
        name = None if task is None else task_name(task)
        for program in self._programs.values():
            for task_id, record in self._world.ledgers[program.agent].pending_tasks.items():
                if record.phase in ("Owed", "Started") and name in (None, record.task):
                    if session in (None, record.session):
                        yield program, task_id, record

    def _settle(self) -> None:
        self._world.until = self._world.until or self._world.clock
        for _ in range(MAX_STEPS):
            if (step := self._world.step()) is None:
                self._world.until = None
                return
            self._note(step)
        busiest = self.steps[-1].message.event.type
        raise CodeError("Endless", f"{MAX_STEPS} events came of one; the last one was {busiest}")

    def _note(self, step: SimulationStep) -> None:
        self.steps.append(step)
        for delivery in step.deliveries:
            self.emitted += [event for event in delivery.emitted if not names.is_reserved(event.type)]
            self._note_letter(step, delivery)

    def _note_letter(self, step: SimulationStep, delivery: Delivery) -> None:
        if (cause := delivery.decision.letter) is not None:
            self.dead_letters.append(DeadLetter(step.message.event, cause))

    def _troubles(self) -> list[str]:
        return [f"dead letter: {letter}" for letter in self.dead_letters]


class SimulationFactory(Protocol):
    """Makes a Simulation of Agents: what the fixture `simulation` is."""

    def __call__(self, *agents: Agent | Mapping[str, Any]) -> Simulation:
        """The simulation."""


def _compile(agent: Agent | Mapping[str, Any]) -> Program:
    return compile_code(agent) if isinstance(agent, Agent) else compile_agent(parse_agent(dict(agent)))


def _line(event: tuple[str, Any]) -> str:
    return f"  {event[0]} {event[1]}"
