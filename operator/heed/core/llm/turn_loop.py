"""The loop of an `llm` task as a state machine: model, tools, model, … until it answers or may not go on.

`begin_loop` and `advance_loop` give the next state, the accounts, and actions. The state is committed first and the
actions are done after that, any number of times. Whatever is not waited for, duplicates and late reports, changes
nothing and asks for nothing. So a crash repeats at most the call of the model that is under way; an ended tool is
never started again.

    begin ─▶ calling ─▶ tools ─▶ calling ─▶ … ─▶ ended
               │  ▲ again, or one repair
               └──┘
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from heed.core.llm.budget import (
    FREE,
    Accounts,
    Amount,
    Limit,
    Price,
    Scope,
    Shortfall,
    release,
    reserve,
    settle,
)
from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.token_estimate import TOKENS_PER_ENTRY, TOKENS_PER_REQUEST, most_tokens
from heed.core.llm.transcript import MALFORMED_ARGUMENTS, ToolCall
from heed.core.llm.turn_events import (
    Action,
    Addition,
    CallModel,
    CancelTool,
    CompleteTask,
    FailTask,
    Happening,
    LoopStopped,
    RejectedCall,
    RepairRequest,
    StartTool,
    ToolEnded,
    ToolRefused,
    ToolText,
    TurnReport,
)

MAX_REPAIRS: Final = 1  # in a row
MAX_ATTEMPTS: Final = 5  # of one turn
FIRST_RETRY_DELAY_S: Final = 2.0
LAST_RETRY_DELAY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class LoopRules:
    """What a loop goes by: its task's id, limits of all scopes, prices, the most output of a turn, and its patience."""

    task_id: str
    limits: Mapping[Scope, Limit] = field(default_factory=dict)
    price: Price = FREE
    max_output_tokens: int = 4096
    parallel_tools: bool = True
    repairs: int = MAX_REPAIRS
    attempts: int = MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call of a tool in the current turn. Its arguments are kept until it is started."""

    id: str
    name: str
    arguments: Mapping[str, Any] | None = None
    started: bool = False
    problem: str = ""
    reference: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has its result, or will never have one."""
        return self.reference is not None or bool(self.problem)


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where a loop is. `context` bounds the transcript's tokens; `additions` are what the call under way adds to it."""

    phase: Literal["calling", "tools", "ended"]
    turn: int
    attempt: int
    context: int
    repairs: int = 0
    additions: tuple[Addition, ...] = ()
    calls: tuple[PendingCall, ...] = ()


@dataclass(frozen=True, slots=True)
class LoopStep:
    """What comes of a happening."""

    state: LoopState
    accounts: Accounts
    actions: tuple[Action, ...] = ()


def settings_of_turn(settings: ModelSettings, turn: int, additions: Sequence[Addition]) -> ModelSettings:
    """Settings of one turn: a tool is demanded in the first one only, else a loop could not end.

    Where the answer itself is repaired no tool may be called, so that the endpoint can enforce the output's schema.
    """
    if settings.output is not None and any(isinstance(addition, RepairRequest) for addition in additions):
        return replace(settings, tool_choice="none")
    return settings if turn == 1 or settings.tool_choice == "none" else replace(settings, tool_choice="auto")


def begin_loop(rules: LoopRules, accounts: Accounts, prompt_tokens: int) -> LoopStep:
    """The first call of the model, whose input is at most so many tokens."""
    return _call(LoopState("calling", 1, 1, prompt_tokens), accounts, rules)


def advance_loop(state: LoopState, accounts: Accounts, happening: Happening, rules: LoopRules) -> LoopStep:
    """What a happening makes of a loop."""
    match happening:
        case LoopStopped() if state.phase != "ended":
            return _stop(state, accounts, rules, FailTask(happening.reason, happening.message))
        case TurnReport() if state.phase == "calling" and _place(happening) == (state.turn, state.attempt):
            return _take_report(state, accounts, happening, rules)
        case ToolEnded() | ToolRefused() if state.phase == "tools" and happening.turn == state.turn:
            return _take_result(state, accounts, happening, rules)
        case _:
            return LoopStep(state, accounts)


def _place(report: TurnReport) -> tuple[int, int]:
    return report.turn, report.attempt


def reservation_key(rules: LoopRules, state: LoopState) -> str:
    """Under which the call under way is reserved."""
    return f"{rules.task_id}/{state.turn}/{state.attempt}"


# ── calls of the model ──────────────────────────────────────────────────────────────────────────────────────────────


def _call(state: LoopState, accounts: Accounts, rules: LoopRules, after_s: float = 0.0) -> LoopStep:
    """Reserve a call and ask for it; or end where a limit has no room for it."""
    most = rules.price.most(state.context, rules.max_output_tokens)
    amount = Amount(tokens=state.context + rules.max_output_tokens, cost=most, turns=1)
    reserved = reserve(accounts, reservation_key(rules, state), amount, rules.limits)
    if isinstance(reserved, Shortfall):
        return _fail(state, accounts, FailureReason.BUDGET_EXCEEDED, str(reserved))
    return LoopStep(state, reserved, (CallModel(state.turn, state.attempt, state.additions, after_s),))


def _take_report(state: LoopState, accounts: Accounts, report: TurnReport, rules: LoopRules) -> LoopStep:
    accounts = _settle_report(accounts, reservation_key(rules, state), report, rules)
    if report.failure is not None:
        return _take_failure(state, accounts, report.failure, rules)
    context = _context_after(state, report.usage, rules)
    state = replace(state, context=context, additions=(), attempt=1)
    if report.calls:
        return _take_calls(state, accounts, report.calls, rules)
    if report.problem is not None:
        return _repair(state, accounts, FailureReason.WRONG_SCHEMA, report.problem, rules)
    return LoopStep(replace(state, phase="ended", calls=()), accounts, (CompleteTask(report.result),))


def _settle_report(accounts: Accounts, key: str, report: TurnReport, rules: LoopRules) -> Accounts:
    """By usage; as reserved where it is unknown and may have been paid."""
    if report.usage is not None:
        cost = rules.price.cost(report.usage)
        return settle(accounts, key, Amount(tokens=report.usage.total, cost=cost, turns=1))
    if report.failure is not None and report.failure.unpaid:
        return release(accounts, key)
    return settle(accounts, key, None)


def _context_after(state: LoopState, usage: Usage | None, rules: LoopRules) -> int:
    """The most tokens of the transcript with the turn that came: counted by the endpoint, or as estimated."""
    counted = state.context + rules.max_output_tokens if usage is None else usage.total
    return counted + TOKENS_PER_REQUEST


def _take_failure(state: LoopState, accounts: Accounts, failure: Failure, rules: LoopRules) -> LoopStep:
    if failure.rule == "repair":
        return _repair(state, accounts, failure.reason, failure.message, rules)
    if failure.rule == "never" or state.attempt >= rules.attempts:
        return _fail(state, accounts, failure.reason, failure.message)
    delay = min(FIRST_RETRY_DELAY_S * 2.0 ** (state.attempt - 1), LAST_RETRY_DELAY_S)
    again = replace(state, attempt=state.attempt + 1)
    return _call(again, accounts, rules, max(delay, failure.retry_after_s))


def _repair(
    state: LoopState, accounts: Accounts, reason: FailureReason, problem: str, rules: LoopRules
) -> LoopStep:
    """One more turn in which the model is told what was wrong."""
    if state.repairs >= rules.repairs:
        return _fail(state, accounts, reason, problem)
    request = RepairRequest(f"{problem} Answer again.")
    return _call_next(replace(state, repairs=state.repairs + 1), accounts, (request,), rules)


def _call_next(
    state: LoopState, accounts: Accounts, additions: tuple[Addition, ...], rules: LoopRules
) -> LoopStep:
    told = sum(most_tokens(_text_of(addition)) + TOKENS_PER_ENTRY for addition in additions)
    following = replace(
        state,
        phase="calling",
        turn=state.turn + 1,
        attempt=1,
        context=state.context + told,
        additions=additions,
        calls=(),
    )
    return _call(following, accounts, rules)


def _text_of(addition: Addition) -> str:
    """What is new to the estimate: results were counted when they came."""
    match addition:
        case ToolText():
            return ""
        case RejectedCall():
            return addition.problem
        case RepairRequest():
            return addition.text


# ── calls of tools ──────────────────────────────────────────────────────────────────────────────────────────────────


def _take_calls(
    state: LoopState, accounts: Accounts, calls: tuple[ToolCall, ...], rules: LoopRules
) -> LoopStep:
    wrong = next((call for call in calls if call.arguments is None), None)
    if wrong is not None and state.repairs >= rules.repairs:
        return _fail(
            state,
            accounts,
            FailureReason(wrong.reason or MALFORMED_ARGUMENTS),
            f"{wrong.name}: {wrong.problem}",
        )
    made = sum(call.arguments is not None for call in calls)
    key = f"{rules.task_id}/{state.turn}/tools"
    reserved = reserve(accounts, key, Amount(tool_calls=made), rules.limits)
    if isinstance(reserved, Shortfall):
        return _fail(state, accounts, FailureReason.BUDGET_EXCEEDED, str(reserved))
    pending = tuple(PendingCall(call.id, call.name, call.arguments, problem=call.problem) for call in calls)
    repairs = 0 if wrong is None else state.repairs + 1
    state = replace(state, phase="tools", repairs=repairs, calls=pending)
    return _go_on(state, settle(reserved, key, None), rules)


def _take_result(
    state: LoopState, accounts: Accounts, ended: ToolEnded | ToolRefused, rules: LoopRules
) -> LoopStep:
    calls = list(state.calls)
    for index, call in enumerate(calls):
        if call.id == ended.call_id and call.started and not call.is_over:
            calls[index], tokens = _close_call(call, ended)
            state = replace(state, calls=tuple(calls), context=state.context + tokens)
            return _go_on(state, accounts, rules)
    return LoopStep(state, accounts)


def _close_call(call: PendingCall, ended: ToolEnded | ToolRefused) -> tuple[PendingCall, int]:
    """The call as it is over, and the most tokens of its result. A refusal is counted when the model is told."""
    if isinstance(ended, ToolRefused):
        return replace(call, problem=ended.problem), 0
    return replace(call, reference=ended.reference), ended.tokens


def _go_on(state: LoopState, accounts: Accounts, rules: LoopRules) -> LoopStep:
    """Start what can be started: all calls at once, or one after the other; call the model when all are over."""
    if all(call.is_over for call in state.calls):
        return _call_next(state, accounts, tuple(map(_addition_of, state.calls)), rules)
    calls, actions = list(state.calls), list[Action]()
    for index, call in enumerate(calls):
        if call.is_over:
            continue
        if not call.started:
            actions.append(StartTool(state.turn, index, call.id, call.name, call.arguments or {}))
            calls[index] = replace(call, started=True, arguments=None)
        if not rules.parallel_tools:
            break
    return LoopStep(replace(state, calls=tuple(calls)), accounts, tuple(actions))


def _addition_of(call: PendingCall) -> Addition:
    if call.reference is None:
        return RejectedCall(call.id, call.name, call.problem)
    return ToolText(call.id, call.name, call.reference)


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stop(state: LoopState, accounts: Accounts, rules: LoopRules, end: FailTask) -> LoopStep:
    """End from outside. A call of the model under way counts as reserved: it may be paid, and no report is taken."""
    if state.phase == "calling":
        accounts = settle(accounts, reservation_key(rules, state), None)
    cancelled = tuple(
        CancelTool(state.turn, index)
        for index, call in enumerate(state.calls)
        if call.started and not call.is_over
    )
    return LoopStep(replace(state, phase="ended", calls=(), additions=()), accounts, (*cancelled, end))


def _fail(state: LoopState, accounts: Accounts, reason: FailureReason, message: str) -> LoopStep:
    ended = replace(state, phase="ended", calls=(), additions=())
    return LoopStep(ended, accounts, (FailTask(reason.value, message),))
