"""An `llm` task played over real HTTP: the loop as the engine drives it, the turns as a worker makes them.

What is durable are the loop's last commit with the actions that it owes, events that were published, the tools' tasks,
and the transcript. A crash at any point loses all else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heed.core.llm.budget import Account, Amount, Scope
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.model_answer import Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.token_estimate import most_tokens
from heed.core.llm.transcript import Prompt
from heed.core.llm.transcript_record import TranscriptRecord, record_from_json, record_to_json
from heed.core.llm.turn_events import (
    Action,
    CallModel,
    CancelTool,
    CompleteTask,
    FailTask,
    Happening,
    StartTool,
    ToolEnded,
)
from heed.core.llm.turn_loop import LoopRules, LoopStep, advance_loop, begin_loop
from heed.core.llm.turn_report import report_from_json, report_to_json
from heed.worker.llm.model_client import EndpointAccess, ModelClient
from heed.worker.llm.turn_runner import TurnWork, run_turn
from tests.unit.llm.model_service import Tool

TASK = Scope("task", "chat-1")


class Crash(Exception):
    """Operator or worker die here."""


@dataclass
class Points:
    """Counts the points at which a crash is possible, and crashes at one of them, once."""

    crash_at: int | None = None
    passed: int = 0

    def reach(self) -> None:
        self.passed += 1
        if self.passed == self.crash_at:
            raise Crash


@dataclass
class MemoryTranscript:
    """A transcript in memory, that goes through JSON as the stream's does."""

    points: Points
    records: list[Any] = field(default_factory=list)

    async def read(self) -> Sequence[TranscriptRecord]:
        return [record_from_json(record) for record in self.records]

    async def append(self, record: TranscriptRecord) -> TranscriptRecord:
        self.points.reach()
        for known in self.records:
            if known["key"] == record.key:
                return record_from_json(known)
        self.records.append(record_to_json(record))
        self.points.reach()
        return record


@dataclass
class PlayedTask:
    """A task at work."""

    settings: ModelSettings
    rules: LoopRules
    access: EndpointAccess
    prompts: tuple[Prompt, ...]
    tools: Mapping[str, Tool]
    client: ModelClient
    points: Points = field(default_factory=Points)
    runs: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    waits: list[float] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    inbox: list[Happening] = field(default_factory=list)
    owed: list[Action] = field(default_factory=list)
    end: CompleteTask | FailTask | None = None
    committed: LoopStep | None = None

    def __post_init__(self) -> None:
        self.transcript = MemoryTranscript(self.points)

    @property
    def spent(self) -> Amount:
        assert self.committed is not None
        account = self.committed.accounts.get(TASK, Account())
        assert account.reserved == {}, "something is still reserved"
        return account.spent

    async def run(self) -> CompleteTask | FailTask:
        """Play to the end, through crashes."""
        while self.end is None:
            try:
                await self._work()
            except Crash:
                continue
        return self.end

    async def _work(self) -> None:
        if self.committed is None:
            estimate = ModelCall.of(self.settings, self.prompts).estimate.most
            self._commit(begin_loop(self.rules, {}, estimate))
        while self.end is None:
            while self.owed:
                self.points.reach()
                await self._perform(self.owed[0])
                self.points.reach()
                self.owed.pop(0)
            if not self.inbox:
                return
            assert self.committed is not None
            step: LoopStep = self.committed
            self._commit(advance_loop(step.state, step.accounts, self.inbox[0], self.rules))
            self.inbox.pop(0)

    def _commit(self, step: LoopStep) -> None:
        self.points.reach()
        record = LoopRecord(step.state, step.accounts)
        assert LoopRecord.load(record.dump()) == record
        self.committed = step
        self.owed += step.actions
        if self.points.passed + 1 == self.points.crash_at and self.inbox:
            self.inbox.insert(0, self.inbox[0])  # a cursor that lags: the event is read again

    async def _perform(self, action: Action) -> None:
        match action:
            case CallModel():
                self.waits += [action.after_s] if action.after_s else []
                await self._call_model(action)
            case StartTool():
                task = f"{action.turn}-{action.index}"
                if task not in self.texts:
                    self.runs[action.name] += 1
                    self.texts[task] = self.tools[action.name](action.arguments)
                tokens = most_tokens(self.texts[task])
                self.inbox.append(ToolEnded(action.turn, action.call_id, task, tokens))
            case CancelTool():
                pass
            case CompleteTask() | FailTask():
                self.end = action

    async def _call_model(self, action: CallModel) -> None:
        work = TurnWork(self.settings, action.turn, action.attempt, self.prompts, action.additions)
        report = await run_turn(work, self.transcript, self._read_text, self._ask)
        self.points.reach()
        self.inbox.append(report_from_json(report_to_json(report), report.turn, report.attempt))

    async def _read_text(self, reference: str) -> str:
        return self.texts[reference]

    async def _ask(self, call: ModelCall) -> Outcome:
        self.calls += 1
        outcome = await self.client.ask(call, self.access)
        self.points.reach()
        return outcome
