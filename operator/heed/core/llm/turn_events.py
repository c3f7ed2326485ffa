"""What happens to the loop of turns, and what it asks for; both small enough for an event and a ledger.

Texts of any length stay in the transcript and in the events of the tools' ends; here are references to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.core.llm.model_answer import Answer, Failure, Outcome, Usage
from heed.core.llm.transcript import ToolCall

# ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TurnReport:
    """What became of a call of the model, once its turn is in the transcript.

    `calls` are tools that the model wants; without any, `result` is the task's: the structured output, or the text.
    `problem` says why a structured output is none; `failure` why there is no turn at all.
    """

    turn: int
    attempt: int
    calls: tuple[ToolCall, ...] = ()
    result: Any = None
    problem: str | None = None
    usage: Usage | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool's end: `reference` is where its text stands, `tokens` the most that it can be."""

    turn: int
    call_id: str
    reference: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolRefused:
    """A tool was not started. `problem` is a sentence for the model."""

    turn: int
    call_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class LoopStopped:
    """The task is over from outside: cancelled, or out of its time."""

    reason: str
    message: str


Happening = TurnReport | ToolEnded | ToolRefused | LoopStopped


def report_turn(turn: int, attempt: int, outcome: Outcome, *, structured: bool) -> TurnReport:
    """A call's outcome as the report of it."""
    match outcome:
        case Failure():
            return TurnReport(turn, attempt, usage=outcome.usage, failure=outcome)
        case Answer(turn=said):
            result = None if said.calls else outcome.output if structured else said.text
            return TurnReport(turn, attempt, said.calls, result, outcome.problem, outcome.usage)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ToolText:
    """The text at a reference, as the result of a call."""

    call_id: str
    name: str
    reference: str


@dataclass(frozen=True, slots=True)
class RejectedCall:
    """A call that cannot be made, and what the model is told of it."""

    call_id: str
    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """A user's message that says what was wrong with the answer."""

    text: str


Addition = ToolText | RejectedCall | RepairRequest


@dataclass(frozen=True, slots=True)
class CallModel:
    """Append the additions to the transcript, once, and call the model, after so many seconds."""

    turn: int
    attempt: int
    additions: tuple[Addition, ...] = ()
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StartTool:
    """Start a task for a call; its id derives from the turn and the place of the call in it."""

    turn: int
    index: int
    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CancelTool:
    """Cancel the task of a call, whose result nobody waits for any more."""

    turn: int
    index: int


@dataclass(frozen=True, slots=True)
class CompleteTask:
    """The task is completed."""

    result: Any


@dataclass(frozen=True, slots=True)
class FailTask:
    """The task has failed. `reason` is a FailureReason's value, or that of LoopStopped."""

    reason: str
    message: str


Action = CallModel | StartTool | CancelTool | CompleteTask | FailTask
