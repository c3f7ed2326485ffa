"""The loop of turns through any order, duplicate, lost action and crash: tools once, turns paid once, budgets kept."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from heed.core.llm.budget import Account, Accounts, Amount, Limit, Price, Scope
from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.transcript import ToolCall
from heed.core.llm.turn_events import (
    Action,
    CallModel,
    CompleteTask,
    FailTask,
    Happening,
    RejectedCall,
    StartTool,
    ToolEnded,
    ToolText,
    TurnReport,
)
from heed.core.llm.turn_loop import LoopRules, LoopState, LoopStep, advance_loop, begin_loop

TASK = Scope("task", "t")
PLAN = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=3),
        st.sampled_from(["again", "unpaid", "wrong"]),
    ),
    max_size=6,
)


@dataclass
class World:
    """A model that follows a plan, tools, and a ledger; everything that is asked for may be done more than once.

    Turn `n` of the model is the same however often it is asked for: the transcript has it after the first time.
    """

    plan: list[list[str] | str]
    rules: LoopRules
    committed: LoopStep = field(init=False)
    owed: list[Action] = field(default_factory=list)
    inbox: list[Happening] = field(default_factory=list)
    reports: dict[tuple[int, int], TurnReport] = field(default_factory=dict)
    ran: list[tuple[int, int]] = field(default_factory=list)
    ends: list[Action] = field(default_factory=list)
    additions: dict[int, CallModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._commit(begin_loop(self.rules, {}, 10))

    @property
    def state(self) -> LoopState:
        return self.committed.state

    @property
    def accounts(self) -> Accounts:
        return self.committed.accounts

    def _commit(self, step: LoopStep) -> None:
        self.committed = step
        self.owed += step.actions

    def take(self, index: int, *, keep: bool) -> None:
        """Decide one happening, and commit; a crash before the commit leaves it where it is."""
        happening = self.inbox[index % len(self.inbox)]
        self._commit(advance_loop(self.state, self.accounts, happening, self.rules))
        if not keep:
            self.inbox.remove(happening)

    def act(self, index: int, *, keep: bool) -> None:
        """Do one action; a crash after it leaves it owed."""
        action = self.owed[index % len(self.owed)]
        match action:
            case CallModel():
                self.inbox.append(self._call(action))
            case StartTool():
                if (action.turn, action.index) not in self.ran:  # a task's derived id is known
                    self.ran.append((action.turn, action.index))
                self.inbox.append(ToolEnded(action.turn, action.call_id, f"{action.turn}/{action.index}", 2))
            case CompleteTask() | FailTask():
                if not keep:
                    self.ends.append(action)
        if not keep:
            self.owed.remove(action)

    def _call(self, action: CallModel) -> TurnReport:
        known = self.additions.setdefault(action.turn, action)
        assert known.additions == action.additions  # what a turn adds to the transcript never changes
        place = (action.turn, action.attempt)
        if place not in self.reports:
            self.reports[place] = self._answer(*place)
        return self.reports[place]

    def _answer(self, turn: int, attempt: int) -> TurnReport:
        said = self.plan[len(self.reports)] if len(self.reports) < len(self.plan) else "done"
        used = Usage(4, 3)
        match said:
            case "again" | "unpaid":
                failure = Failure(FailureReason.ENDPOINT_AWAY, "away", unpaid=said == "unpaid")
                return TurnReport(turn, attempt, failure=failure)
            case "wrong":
                return TurnReport(turn, attempt, problem="It does not fit.", usage=used)
            case "done":
                return TurnReport(turn, attempt, result="done", usage=used)
        calls = tuple(
            ToolCall(f"c{index}", "tool", "{}", {})
            if kind == "good"
            else ToolCall(f"c{index}", "tool", "{", None, "MalformedToolArguments", "No JSON.")
            for index, kind in enumerate(said)
        )
        return TurnReport(turn, attempt, calls, usage=used)


def check(world: World, limit: Limit) -> None:
    """What holds at every moment."""
    account = world.accounts.get(TASK, Account())
    assert account.committed.tokens <= (limit.tokens or 0) and account.committed.turns <= (limit.turns or 0)
    assert len(world.ran) == len(set(world.ran))
    assert len(world.ends) <= 1


@settings(max_examples=300, deadline=None)
@given(
    plan=PLAN,
    parallel=st.booleans(),
    tokens=st.integers(0, 2000),
    turns=st.integers(0, 8),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.booleans()), max_size=60),
)
def test_any_order_and_any_crash_comes_to_one_end(
    plan: list[list[str] | str], parallel: bool, tokens: int, turns: int, moves: list[tuple[bool, int, bool]]
) -> None:
    limit = Limit(tokens=tokens, turns=turns)
    rules = LoopRules("t", {TASK: limit}, Price(1, 1, 1), max_output_tokens=5, parallel_tools=parallel)
    world = World(plan, rules)
    for acts, index, keep in moves:
        if acts and world.owed:
            world.act(index, keep=keep)
        elif world.inbox:
            world.take(index, keep=keep)
        check(world, limit)
    while world.owed or world.inbox:  # left alone, it comes to its end
        if world.owed:
            world.act(0, keep=False)
        else:
            world.take(0, keep=False)
        check(world, limit)

    assert world.state.phase == "ended" and len(world.ends) == 1
    account = world.accounts.get(TASK, Account())
    assert account.reserved == {}
    assert account.spent == expected_spending(world)
    assert_results_went_back(world)


def expected_spending(world: World) -> Amount:
    """Each turn that the model gave, once; what may have been paid, as it was reserved."""
    spent = Amount()
    for (turn, _), report in world.reports.items():
        if report.usage is not None:
            spent += Amount(tokens=7, cost=7, turns=1)
        elif report.failure is not None and not report.failure.unpaid:
            context = context_of(world, turn)
            spent += Amount(tokens=context + 5, cost=context + 5, turns=1)
    return spent + Amount(tool_calls=tool_calls(world))


def tool_calls(world: World) -> int:
    """Calls of all turns that were not refused as a whole."""
    started = {turn for turn, _ in world.ran}
    return sum(
        sum(call.arguments is not None for call in report.calls)
        for (turn, _), report in world.reports.items()
        if turn in started
    )


def context_of(world: World, turn: int) -> int:
    """The bound on the input of a turn, from the reports before it."""
    return 10 if turn == 1 else world_contexts(world)[turn]


def world_contexts(world: World) -> dict[int, int]:
    """Played again without crashes, the loop reserves the same for each turn."""
    again = World(world.plan, world.rules)
    contexts = {again.state.turn: again.state.context}
    while again.owed or again.inbox:
        if again.owed:
            again.act(0, keep=False)
        else:
            again.take(0, keep=False)
        if again.state.phase == "calling":
            contexts[again.state.turn] = again.state.context
    return contexts


def assert_results_went_back(world: World) -> None:
    """The model got, in their order, the result of each call that was made and the refusal of each other one."""
    for (turn, _), report in world.reports.items():
        following = world.additions.get(turn + 1)
        if following is None or not report.calls:
            continue
        told = [
            (addition.call_id, isinstance(addition, ToolText))
            for addition in following.additions
            if isinstance(addition, ToolText | RejectedCall)
        ]
        assert told == [(call.id, call.arguments is not None) for call in report.calls]
