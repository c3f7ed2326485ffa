"""The loop of turns, one happening after the other."""

from typing import Any

import pytest

from heed.core.llm.budget import Account, Accounts, Amount, Limit, Price, Scope
from heed.core.llm.model_answer import Answer, Failure, FailureReason, Usage
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.token_estimate import TOKENS_PER_ENTRY, TOKENS_PER_REQUEST, most_tokens
from heed.core.llm.transcript import AssistantTurn, ToolCall
from heed.core.llm.turn_events import (
    Action,
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
    ToolText,
    TurnReport,
    report_turn,
)
from heed.core.llm.turn_loop import LoopRules, LoopState, advance_loop, begin_loop, settings_of_turn
from tests.builders.models import ORDER_SCHEMA, a_tool, model_settings

TASK = Scope("task", "chat-1")
RULES = LoopRules("chat-1", {TASK: Limit()}, Price(1, 10, 0), max_output_tokens=100)
USED = Usage(30, 5)
A, B = ToolCall("a", "look_up", "{}", {"order": "7"}), ToolCall("b", "refund", "{}", {"sum": 1})
WRONG = ToolCall("w", "look_up", "{", None, "MalformedToolArguments", "No JSON.")


class Loop:
    """A loop that happenings go into, with what it asked for last."""

    def __init__(self, rules: LoopRules = RULES, prompt_tokens: int = 40) -> None:
        self.rules = rules
        step = begin_loop(rules, {}, prompt_tokens)
        self.state: LoopState = step.state
        self.accounts: Accounts = step.accounts
        self.actions: tuple[Action, ...] = step.actions

    def take(self, happening: Happening) -> tuple[Action, ...]:
        step = advance_loop(self.state, self.accounts, happening, self.rules)
        self.state, self.accounts, self.actions = step.state, step.accounts, step.actions
        return step.actions

    def answer(
        self, *calls: ToolCall, result: Any = None, usage: Usage | None = USED, **said: Any
    ) -> tuple[Action, ...]:
        return self.take(TurnReport(self.state.turn, self.state.attempt, calls, result, usage=usage, **said))

    def fail(self, reason: FailureReason, **said: Any) -> tuple[Action, ...]:
        failure = Failure(reason, "words", **said)
        return self.take(
            TurnReport(self.state.turn, self.state.attempt, usage=failure.usage, failure=failure)
        )

    def end_tool(self, call_id: str, tokens: int = 3) -> tuple[Action, ...]:
        return self.take(ToolEnded(self.state.turn, call_id, f"ref-{call_id}", tokens))

    @property
    def spent(self) -> Amount:
        return self.accounts.get(TASK, Account()).spent

    @property
    def reserved(self) -> list[Amount]:
        return list(self.accounts.get(TASK, Account()).reserved.values())


def test_a_call_is_reserved_before_it_is_made() -> None:
    loop = Loop()
    assert loop.actions == (CallModel(1, 1),)
    assert loop.reserved == [Amount(tokens=140, cost=40 + 1000, turns=1)]


def test_an_answer_completes_the_task_and_is_settled_by_its_usage() -> None:
    loop = Loop()
    assert loop.answer(result="Hi") == (CompleteTask("Hi"),)
    assert loop.state.phase == "ended"
    assert (loop.spent, loop.reserved) == (Amount(tokens=35, cost=80, turns=1), [])


def test_an_answer_without_usage_is_settled_as_reserved() -> None:
    loop = Loop()
    loop.answer(result="Hi", usage=None)
    assert loop.spent == Amount(tokens=140, cost=1040, turns=1)


def test_several_calls_start_at_once_and_the_model_waits_for_all_in_their_order() -> None:
    loop = Loop()
    assert loop.answer(A, B) == (
        StartTool(1, 0, "a", "look_up", {"order": "7"}),
        StartTool(1, 1, "b", "refund", {"sum": 1}),
    )
    assert loop.spent.tool_calls == 2
    assert loop.end_tool("b", 20) == ()
    assert loop.end_tool("a", 10) == (
        CallModel(2, 1, (ToolText("a", "look_up", "ref-a"), ToolText("b", "refund", "ref-b"))),
    )
    assert loop.reserved == [
        Amount(
            tokens=35 + TOKENS_PER_REQUEST + 30 + 2 * TOKENS_PER_ENTRY + 100,
            cost=35 + TOKENS_PER_REQUEST + 30 + 2 * TOKENS_PER_ENTRY + 1000,
            turns=1,
        )
    ]


def test_calls_run_one_after_the_other_where_they_must() -> None:
    loop = Loop(LoopRules("chat-1", parallel_tools=False))
    assert loop.answer(A, WRONG, B) == (StartTool(1, 0, "a", "look_up", {"order": "7"}),)
    assert loop.end_tool("b") == ()
    assert loop.end_tool("a") == (StartTool(1, 2, "b", "refund", {"sum": 1}),)
    (call,) = loop.end_tool("b")
    assert isinstance(call, CallModel) and [item.call_id for item in call.additions] == ["a", "w", "b"]  # type: ignore[union-attr]


def test_a_second_end_of_a_tool_counts_for_nothing() -> None:
    loop = Loop()
    loop.answer(A, B)
    loop.end_tool("a", 10)
    before = loop.state
    assert loop.take(ToolEnded(1, "a", "other", 99)) == ()
    assert loop.take(ToolEnded(2, "b", "early", 99)) == ()
    assert loop.take(ToolEnded(1, "unknown", "x", 99)) == ()
    assert loop.state == before


def test_reports_that_are_not_waited_for_count_for_nothing() -> None:
    loop = Loop()
    before, accounts = loop.state, loop.accounts
    for turn, attempt in ((0, 1), (2, 1), (1, 0), (1, 2)):
        assert loop.take(TurnReport(turn, attempt, (A,), usage=USED)) == ()
    assert (loop.state, loop.accounts) == (before, accounts)
    loop.answer(A)
    assert loop.take(TurnReport(1, 1, (B,), usage=USED)) == ()
    assert [call.id for call in loop.state.calls] == ["a"]


# ── repairs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_that_cannot_be_made_is_told_to_the_model_beside_those_that_are_made() -> None:
    loop = Loop()
    assert loop.answer(WRONG, A) == (StartTool(1, 1, "a", "look_up", {"order": "7"}),)
    assert loop.spent.tool_calls == 1
    assert loop.end_tool("a") == (
        CallModel(2, 1, (RejectedCall("w", "look_up", "No JSON."), ToolText("a", "look_up", "ref-a"))),
    )


def test_malformed_calls_alone_lead_to_one_repair_and_no_second() -> None:
    loop = Loop()
    assert loop.answer(WRONG) == (CallModel(2, 1, (RejectedCall("w", "look_up", "No JSON."),)),)
    assert loop.answer(WRONG) == (FailTask("MalformedToolArguments", "look_up: No JSON."),)
    assert loop.spent.turns == 2 and loop.reserved == []


def test_a_good_turn_in_between_earns_another_repair() -> None:
    loop = Loop()
    loop.answer(WRONG)
    loop.answer(A)
    assert loop.state.additions == ()  # they are in the transcript, and no longer in the ledger
    loop.end_tool("a")
    (call,) = loop.answer(WRONG)
    assert isinstance(call, CallModel)


def test_an_unknown_tool_has_its_own_reason() -> None:
    loop = Loop(LoopRules("chat-1", repairs=0))
    unknown = ToolCall("u", "lookup", "{}", None, "UnknownTool", "There is none.")
    assert loop.answer(unknown) == (FailTask("UnknownTool", "lookup: There is none."),)


def test_a_wrong_schema_is_repaired_once() -> None:
    loop = Loop()
    text = "It does not fit. Answer again."
    assert loop.answer(problem="It does not fit.") == (CallModel(2, 1, (RepairRequest(text),)),)
    told = most_tokens(text) + TOKENS_PER_ENTRY
    assert loop.reserved[0].tokens == 35 + TOKENS_PER_REQUEST + told + 100
    assert loop.answer(problem="Still not.") == (FailTask("WrongSchema", "Still not."),)


def test_a_call_that_its_endpoint_could_not_read_is_asked_for_again() -> None:
    loop = Loop()
    (call,) = loop.fail(FailureReason.MALFORMED_TOOL_ARGUMENTS, usage=USED)
    assert call == CallModel(2, 1, (RepairRequest("words Answer again."),))


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_passing_failure_is_tried_again_later_with_the_same_additions() -> None:
    loop = Loop()
    loop.answer(A)
    (first,) = loop.end_tool("a")
    assert isinstance(first, CallModel)
    waits = []
    for attempt in (2, 3, 4, 5):
        (again,) = loop.fail(FailureReason.RATE_LIMITED, unpaid=True)
        assert again == CallModel(2, attempt, first.additions, again.after_s)  # type: ignore[union-attr]
        waits.append(again.after_s)
    assert waits == [2.0, 4.0, 8.0, 16.0]
    assert loop.fail(FailureReason.RATE_LIMITED, unpaid=True) == (FailTask("RateLimited", "words"),)
    assert loop.spent == Amount(tokens=35, cost=80, turns=1, tool_calls=1)


def test_a_wait_that_the_endpoint_asks_for_is_the_least() -> None:
    loop = Loop()
    assert loop.fail(FailureReason.RATE_LIMITED, retry_after_s=30.0) == (CallModel(1, 2, (), 30.0),)
    assert loop.fail(FailureReason.RATE_LIMITED, retry_after_s=1.0) == (CallModel(1, 3, (), 4.0),)


def test_what_may_have_been_paid_is_counted() -> None:
    loop = Loop()
    loop.fail(FailureReason.ENDPOINT_AWAY)
    assert loop.spent == Amount(tokens=140, cost=1040, turns=1)
    loop.fail(FailureReason.EMPTY_ANSWER, usage=USED)
    assert loop.spent == Amount(tokens=175, cost=1120, turns=2)


@pytest.mark.parametrize(
    "reason",
    [
        FailureReason.QUOTA_GONE,
        FailureReason.NOT_AUTHORIZED,
        FailureReason.INVALID_REQUEST,
        FailureReason.CONTEXT_OVERFLOW,
        FailureReason.SILENTLY_TRUNCATED,
        FailureReason.CONTENT_FILTERED,
        FailureReason.REFUSED,
        FailureReason.CUT_SHORT,
    ],
)
def test_what_no_repetition_helps_ends_the_task(reason: FailureReason) -> None:
    loop = Loop()
    assert loop.fail(reason, unpaid=True) == (FailTask(reason.value, "words"),)
    assert loop.reserved == []


# ── budgets and ends ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_call_that_could_cross_a_budget_is_not_made() -> None:
    assert Loop(LoopRules("chat-1", {TASK: Limit(tokens=140)}, max_output_tokens=100)).actions == (
        CallModel(1, 1),
    )
    loop = Loop(LoopRules("chat-1", {TASK: Limit(tokens=139)}, max_output_tokens=100))
    (end,) = loop.actions
    assert isinstance(end, FailTask) and end.reason == "BudgetExceeded" and "the task chat-1" in end.message


def test_a_looping_model_stops_at_its_budget() -> None:
    loop = Loop(LoopRules("chat-1", {TASK: Limit(turns=3)}))
    made = 0
    while loop.state.phase != "ended":
        made += 1
        loop.answer(A)
        loop.end_tool("a")
    assert made == 3
    assert loop.actions[-1] == FailTask(
        "BudgetExceeded",
        "the budget of the task chat-1, 3 turns, could be exceeded: 3 spent, 0 reserved, 1 asked for",
    )


def test_no_tool_starts_where_the_calls_would_cross_a_budget() -> None:
    loop = Loop(LoopRules("chat-1", {TASK: Limit(tool_calls=1)}))
    (end,) = loop.answer(A, B)
    assert isinstance(end, FailTask) and end.reason == "BudgetExceeded"
    assert loop.spent.tool_calls == 0


def test_a_stop_cancels_tools_that_are_under_way() -> None:
    loop = Loop()
    loop.answer(A, WRONG, B)
    loop.end_tool("a")
    assert loop.take(LoopStopped("Cancelled", "by a person")) == (
        CancelTool(1, 2),
        FailTask("Cancelled", "by a person"),
    )
    assert loop.take(LoopStopped("Cancelled", "again")) == ()
    assert loop.end_tool("b") == ()


def test_a_stop_counts_the_call_under_way_as_reserved() -> None:
    loop = Loop()
    loop.take(LoopStopped("Timeout", "over"))
    assert (loop.spent, loop.reserved) == (Amount(tokens=140, cost=1040, turns=1), [])
    assert loop.answer(result="late") == ()


# ── reports and settings ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_has_the_calls_or_the_result() -> None:
    text = Answer(AssistantTurn("ChatCompletions", ({},), "Hi"), "stop", "m", USED, {"a": 1}, None)
    assert report_turn(1, 2, text, structured=False) == TurnReport(1, 2, (), "Hi", usage=USED)
    assert report_turn(1, 2, text, structured=True) == TurnReport(1, 2, (), {"a": 1}, usage=USED)
    calls = Answer(AssistantTurn("ChatCompletions", ({},), "Hi", (A,)), "stop", "m", USED)
    assert report_turn(1, 1, calls, structured=False) == TurnReport(1, 1, (A,), usage=USED)
    failure = Failure(FailureReason.CUT_SHORT, "words", usage=USED)
    assert report_turn(1, 1, failure, structured=False) == TurnReport(1, 1, usage=USED, failure=failure)


@pytest.mark.parametrize(
    ("choice", "turn", "then"),
    [
        ("required", 1, "required"),
        ("required", 2, "auto"),
        ("look_up", 2, "auto"),
        ("none", 2, "none"),
        ("auto", 2, "auto"),
    ],
)
def test_a_tool_is_demanded_in_the_first_turn_only(choice: str, turn: int, then: str) -> None:
    settings = model_settings(tools=(a_tool(),), tool_choice=choice)
    assert settings_of_turn(settings, turn, ()).tool_choice == then
    assert settings_of_turn(settings, turn, (RepairRequest("Again."),)).tool_choice == then


def test_a_structured_answer_is_repaired_without_tools() -> None:
    settings = model_settings(tools=(a_tool(),), output=CheckedSchema.of(ORDER_SCHEMA))
    assert settings_of_turn(settings, 2, (RepairRequest("Again."),)).tool_choice == "none"
    assert settings_of_turn(settings, 2, (RejectedCall("a", "t", "No."),)).tool_choice == "auto"
