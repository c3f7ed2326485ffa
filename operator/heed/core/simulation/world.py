"""The simulated world: a stream, a clock and the Agents' ledgers, which go on message by message.

The Agents decide with the operator's own `decide`; only the world around them is made up. Every message is settled
before the next: what is emitted is in the stream at once, and a task ends as soon as it starts, or after the given
event that its answer names, as `Answers` say. What is due by the time of the next given event comes before it, and
held events that are ready before everything else. With a `shuffle` seed, whatever waits to be stored is stored in some
other order, which the seed fixes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from heed import names
from heed.api.status import PendingTask
from heed.core.approval.ends import approval_timed_out
from heed.core.approval.request import find_approval
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program
from heed.core.decision.code import Answers as CodeAnswers
from heed.core.decision.code import without_code
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_events import deadline_end, due_event, timer_event, wait_completed
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.effects import AgentRef, CancelTask, Publish, StartTask, TaskEnd, TaskWork
from heed.core.events import Event, Received
from heed.core.ledger import ledger
from heed.core.ledger.ledger import Ledger
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.turn_events import TurnReport
from heed.core.llm.turn_report import report_to_json
from heed.core.schema.job_spec import explain_no_job
from heed.core.simulation.approval_stubs import stubbed_answer
from heed.core.simulation.object_stubs import play_objects
from heed.core.simulation.steps import Answers, Delivery, Origin, SimulatedMessage, SimulationStep, StubbedEnd
from heed.core.tasks.job_contract import REASON_INVALID
from heed.core.tasks.resource import Progress, progress_message
from heed.core.tasks.work import end_event, end_subject, work_of
from heed.core.type_patterns import matches

SIMULATED_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(seconds=1)  # from one message to the next
_CLOCK: Final = (
    datetime(1970, 1, 2, tzinfo=UTC),
    datetime(2200, 1, 1, tzinfo=UTC),
)  # times a stream may have


def with_uid(program: Program) -> Program:
    """The program with a derived uid, as a manifest has none, and ids of tasks and events need one."""
    if program.agent.uid:
        return program
    return replace(program, agent=replace(program.agent, uid=str(program.agent)))


@dataclass(slots=True)
class SimulatedWorld:
    """Stream, clock and ledgers. `code` has the answers of those Agents whose handlers are in code.

    `crashes` says at which commit, by its number, the operator is lost: before it, and again right after it.
    """

    programs: list[Program]
    answers: Answers
    given: list[SimulatedMessage]
    shuffle: str | None = None
    until: datetime | None = None
    advance: timedelta = timedelta(0)
    code: Mapping[AgentRef, CodeAnswers] = field(default_factory=dict)
    crashes: Callable[[int], bool] = lambda commit: False
    commits: int = 0
    ledgers: dict[AgentRef, Ledger] = field(init=False)
    caused: list[SimulatedMessage] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)  # ids of given events
    held: list[tuple[AgentRef, str, int, StubbedEnd]] = field(
        default_factory=list
    )  # ends of attempts that wait for a given event
    announced: set[tuple[AgentRef, DueTime]] = field(default_factory=set)
    sequence: int = 0
    clock: datetime = SIMULATED_START
    stream: dict[int, tuple[SimulatedMessage, Received]] = field(
        default_factory=dict
    )  # what is held by an Agent

    def __post_init__(self) -> None:
        self.ledgers = {program.agent: Ledger() for program in self.programs}
        if self.given:  # timers are scheduled right before the first event, not long ago
            first = _later(self.clock, self.given[0].event.time)
            self.clock = max(self.clock, first - 2 * _STEP)

    @property
    def now(self) -> str:
        """The clock as the stream writes it."""
        return _text(self.clock)

    def step(self) -> SimulationStep | None:
        """Decide a held event that is ready, or else store the next message, if any."""
        for program in self.programs:
            while ready := self.ledgers[program.agent].held.ready:
                message, received = self.stream[ready[0]]
                delivery = self._deliver(program, received)
                if delivery.decision.outcome != "held" or delivery.decision.effects:
                    at, message = delivery.decision.received.at, replace(message, origin="released")
                    return SimulationStep(received.sequence, at, message, (delivery,))
        following = self.next()
        return None if following is None else self.store(following)

    def next(self) -> SimulatedMessage | None:
        """The next message to store, if any."""
        if not self.caused:
            self._release()
        if self.shuffle is not None and self.caused:
            choice = int(names.digest(self.shuffle, self.sequence), 16)
            choice %= len(self.caused) + bool(self.given)
            return self.given.pop(0) if choice == len(self.caused) else self.caused.pop(choice)
        if not self.caused:
            self._announce_due()
        waiting = self.caused or self.given
        return waiting.pop(0) if waiting else None

    def _announce_due(self) -> None:
        """Publish what is due first, where that is before the next given event or within the time that is left."""
        due_times = [
            (due, program)
            for program in self.programs
            for due in list_due_times(program, self.ledgers[program.agent])
            if (program.agent, due) not in self.announced
        ]
        if due_times:
            due, program = min(due_times, key=lambda item: item[0])
            if datetime.fromisoformat(due.at) <= self._horizon():
                self.announced.add((program.agent, due))
                self._announce(program, due)

    def _horizon(self) -> datetime:
        """How far the clock may go without another given event."""
        if self.given:
            return _later(self.clock, self.given[0].event.time)
        if self.until is None:
            self.until = self.clock + self.advance
        return self.until

    def _announce(self, program: Program, due: DueTime) -> None:
        agent = program.agent
        record = self.ledgers[agent].pending_tasks.get(due.key)
        at = max(due.at, _text(self.clock))
        match due.kind:
            case "deadline" | "attempt" if record is not None:
                self._report(agent, record, deadline_end(due, at), "due")
            case "wait" if record is not None:
                self._report(agent, record, wait_completed(due, at), "due")
            case "approval" if record is not None:
                self._report(agent, record, approval_timed_out(due.key, record, at), "due")
            case "timer" | "timers":
                moment = max(datetime.fromisoformat(due.at), self.clock)
                if (tick := timer_event(program, self.ledgers[agent], due, moment)) is not None:
                    self._publish_due(agent, tick)
            case _:
                self._publish_due(agent, due_event(agent, names.origin(agent.uid, None), due))

    def _publish_due(self, agent: AgentRef, event: Event) -> None:
        subject = names.inbox_subject(agent.namespace, agent.name, event.type)
        self.caused.append(SimulatedMessage(subject, event, "due"))

    def store(self, message: SimulatedMessage) -> SimulationStep:
        """Put a message into the stream, and let every Agent that reads its subject decide it."""
        self.sequence += 1
        self.clock = _later(self.clock, message.event.time if message.origin in ("given", "due") else None)
        at = _text(self.clock)
        if message.task is not None:
            message = self._said(message, message.task)
        if message.event.time is None:
            message = replace(message, event=replace(message.event, time=at))
        received = Received(self.sequence, at, message.subject, message.event)
        readers = [program for program in self.programs if _reads(program, message.subject)]
        deliveries = tuple(self._deliver(program, received) for program in readers)
        if any(item.decision.outcome == "held" for item in deliveries):
            self.stream[self.sequence] = message, received
        if message.origin == "given":
            self.stored.add(message.event.id)
        return SimulationStep(self.sequence, at, message, deliveries)

    def _release(self) -> None:
        """Report the ends that waited for a given event, which is stored and settled now."""
        due = [item for item in self.held if item[3].after in self.stored]
        self.held = [item for item in self.held if item[3].after not in self.stored]
        for agent, task_id, attempt, answer in due:
            self.end_task(agent, task_id, answer, _text(self.clock), attempt)

    def _said(self, message: SimulatedMessage, task: str) -> SimulatedMessage:
        """A message of a task, with the task's id; that of none where none of its name runs."""
        agents = {program.agent: program for program in self.programs if _reads(program, message.subject)}
        running = [
            (agent, task_id, record)
            for agent in agents
            for task_id, record in self.ledgers[agent].pending_tasks.items()
            if record.task == task
        ]
        agent, task_id = running[0][:2] if running else (next(iter(agents)), f"{task}-none")
        event = replace(message.event, subject=task_id)
        attempt_id = names.attempt_id(task_id, running[0][2].attempt) if running else task_id
        if event.type == names.TASK_PROGRESS:
            subject = names.task_subject(agent.namespace, agent.name, attempt_id, event.type)
            return replace(message, subject=subject, event=event)
        self.ended.add(attempt_id)
        return replace(message, event=event)

    def _deliver(self, program: Program, received: Received) -> Delivery:
        agent = program.agent
        answers = self.code.get(agent, without_code)
        decision = decide(program, self.ledgers[agent], received, answers=answers)
        self.commits += 1
        if self.crashes(self.commits):
            decision = decide(program, self.ledgers[agent], received, answers=answers)
            decision = _recover(decision)
        self.ledgers[agent] = ledger.settle(decision.ledger, decision.effects)
        started = tuple(_works(agent, decision))
        published = tuple(_published(decision))
        self.caused.extend(published)
        for work in started:
            self._answer(agent, work, received.at)
        cancelled = tuple(effect for effect in decision.effects if isinstance(effect, CancelTask))
        for effect in cancelled:
            if effect.record is not None:
                reason = StubbedEnd(reason="Cancelled")
                self.end_task(agent, effect.id, reason, received.at)
        emitted = tuple(message.event for message in published)
        stopped = tuple(effect.id for effect in cancelled)
        return Delivery(agent, decision, started, emitted, stopped, _queued(decision))

    def _answer(self, agent: AgentRef, work: TaskWork, at: str) -> None:
        why = explain_no_job(work) if work.kind == "job" else None
        answer = self.answers(work) if why is None else StubbedEnd(reason=REASON_INVALID, message=why)
        if answer is None:
            return
        if answer.objects and work.kind == "resource":
            answer = _judge_objects(self.ledgers[agent].pending_tasks[work.id], work, answer, at)
        if answer.after is None or answer.after in self.stored:
            self.end_task(agent, work.id, answer, at, work.attempt)
        else:
            self.held.append((agent, work.id, work.attempt, answer))

    def end_task(
        self, agent: AgentRef, task_id: str, answer: StubbedEnd, at: str, attempt: int | None = None
    ) -> None:
        """Report the end of a task's attempt, or of the task as it was cancelled, once."""
        record = self.ledgers[agent].pending_tasks.get(task_id)
        if record is None or attempt not in (None, record.attempt):
            return
        approval = find_approval(self.ledgers[agent], task_id)
        if approval is not None and answer.reason is None:
            self._publish_end(agent, task_id, stubbed_answer(agent, approval, answer.result, at), "task")
            return
        for progress in answer.said:
            attempt_id = names.attempt_id(task_id, record.attempt)
            self.caused.append(SimulatedMessage(*progress_message(agent, attempt_id, progress, at), "task"))
        if answer.open:
            return
        cause = "cancelled" if attempt is None else "simulated"
        end = TaskEnd(
            task_id=task_id,
            id=names.digest(cause, names.attempt_id(task_id, record.attempt)),
            attempt=None if record.loop is not None else attempt,  # one of a model ends as a whole
            at=at,
            completed=answer.reason is None,
            result=answer.result,
            reason=answer.reason,
            message=answer.message,
            exit_code=answer.exit_code,
            cause=answer.cause,
            container=answer.container,
        )
        self._report(agent, record, end, "task")

    def say_turn(self, agent: AgentRef, task_id: str, report: TurnReport) -> None:
        """Let the call of the model that is under way be answered, with calls of tools or the result."""
        record = self.ledgers[agent].pending_tasks[task_id]
        state = LoopRecord.load(record.loop or "").state
        attempt_id = names.attempt_id(task_id, record.attempt)
        event = Event(
            names.digest("turn", attempt_id),
            names.agent_source(agent.namespace, agent.name),
            names.TASK_TURN,
            report_to_json(replace(report, turn=state.turn, attempt=state.attempt)),
            datacontenttype="application/json",
        )
        subject = names.task_subject(agent.namespace, agent.name, attempt_id, event.type)
        self.caused.append(SimulatedMessage(subject, event, "task"))

    def _report(self, agent: AgentRef, record: PendingTask, end: TaskEnd, origin: Origin) -> None:
        self._publish_end(agent, end.task_id, end_event(agent, record, end), origin)

    def _publish_end(self, agent: AgentRef, task_id: str, event: Event, origin: Origin) -> None:
        record = self.ledgers[agent].pending_tasks.get(task_id)
        attempt_id = names.attempt_id(task_id, 1 if record is None else record.attempt)
        if attempt_id in self.ended:
            return
        self.ended.add(attempt_id)
        self.caused.append(SimulatedMessage(end_subject(agent, event), event, origin))


def _recover(decision: Decision) -> Decision:
    """A decision as a restart right after its commit finds it: the stored ledger, and the effects that this owes."""
    written = ledger.load_ledger(ledger.dump_ledger(decision.ledger))
    queued = [
        item for item in decision.effects if isinstance(item, StartTask) and item.record.phase == "Queued"
    ]
    return replace(decision, ledger=written, effects=(*ledger.list_owed_effects(written), *queued))


def _judge_objects(record: PendingTask, work: TaskWork, answer: StubbedEnd, at: str) -> StubbedEnd:
    """What the objects of an answer say, as an answer without them."""
    said = tuple(play_objects(record, work, answer.objects, at))
    progress = tuple(item for item in said if isinstance(item, Progress))
    end = next((item for item in said if isinstance(item, TaskEnd)), None)
    if end is None:
        return replace(answer, said=progress, open=True)
    return replace(answer, said=progress, result=end.result, reason=end.reason, message=end.message)


def _text(clock: datetime) -> str:
    """A time as the stream writes it."""
    return clock.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _later(clock: datetime, time: str | None) -> datetime:
    """The stream's clock at the next message: the message's own time, or else a second later; never back."""
    usual = clock + _STEP
    try:
        given = None if time is None else datetime.fromisoformat(time).astimezone(UTC)
    except (ValueError, OverflowError):  # a leap second, or an hour before the year 1
        return usual
    if given is None or not clock < given or not _CLOCK[0] < given < _CLOCK[1]:
        return usual
    return given


def _reads(program: Program, subject: str) -> bool:
    return any(matches(pattern, subject) for pattern in program.subjects)


def _queued(decision: Decision) -> tuple[str, ...]:
    starts = (effect for effect in decision.effects if isinstance(effect, StartTask))
    return tuple(effect.id for effect in starts if effect.record.phase == "Queued")


def _works(agent: AgentRef, decision: Decision) -> Iterator[TaskWork]:
    for effect in decision.effects:
        if isinstance(effect, StartTask) and effect.record.phase != "Queued":
            yield work_of(agent, effect.id, effect.record)


def _published(decision: Decision) -> Iterator[SimulatedMessage]:
    for effect in decision.effects:
        if isinstance(effect, Publish) and effect.owed.event is not None:
            event = parse_event(effect.owed.event.encode(), "an emitted event cannot be read")
            yield SimulatedMessage(effect.owed.subject, event, "emitted")
