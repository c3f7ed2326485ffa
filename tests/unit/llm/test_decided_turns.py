"""Turns over `decide`, in any order, with duplicates, edits and crashes: tools once, budgets kept, exactly one end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from heed import names
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.events import Event, Received
from heed.core.ledger.ledger import (
    Ledger,
    count_decided,
    dump_ledger,
    list_owed_effects,
    load_ledger,
    settle,
)
from heed.core.llm.budget import Limit, SharedLimits
from heed.core.llm.model_answer import Usage
from heed.core.llm.turn_events import TurnReport
from heed.core.llm.turn_report import report_to_json
from heed.core.tasks.slots import SlotLimits
from tests.builders.agents import AGENT, NAMESPACE
from tests.builders.events import at, received, task_end
from tests.builders.turns import (
    HALT,
    STOP,
    asking_model,
    endpoint_away,
    loop_of,
    model_question,
    model_spec,
    told_by_worker,
    tool_call,
)

USED = Usage(4, 3)
PLAN = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["good", "bad", "pause"]), min_size=1, max_size=3),
        st.sampled_from(["again", "unpaid", "wrong", "nonsense"]),
    ),
    max_size=5,
)
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["hear", "hear", "hear", "act", "act", "edit", "halt", "stop", "deadline", "crash"]),
        st.integers(0, 20),
        st.booleans(),
    ),
    max_size=50,
)


@dataclass
class World:
    """An Agent, and all that may come to it, in any order and more than once; a crash forgets what is not committed."""

    plan: list[list[str] | str]
    programs: list[Program]
    ledger: Ledger = field(default_factory=Ledger)
    sequence: int = 0
    inbox: list[Received] = field(default_factory=list)
    owed: list[Effect] = field(default_factory=list)
    said: dict[str, Received] = field(default_factory=dict)
    tools: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    @property
    def program(self) -> Program:
        return self.programs[0]

    def hear(self, came: Received) -> None:
        """Decide an event; the same again gives the same, and the ledger survives its home."""
        self.sequence += 1
        came = replace(came, sequence=self.sequence, at=at(self.sequence))
        decision = decide(self.program, self.ledger, came)
        assert dump_ledger(decide(self.program, self.ledger, came).ledger) == dump_ledger(decision.ledger)
        assert decision.letter is None, decision.letter
        self._note(decision)
        self.ledger = load_ledger(dump_ledger(decision.ledger))
        self.owed += decision.effects
        self.check()

    def _note(self, decision: Decision) -> None:
        for effect in decision.effects:
            if (
                isinstance(effect, StartTask)
                and effect.record.parent is not None
                and effect.record.attempt == 1
            ):
                if effect.record.phase != "Queued" and effect.id in self.tools:
                    was = self.ledger.pending_tasks.get(effect.id)
                    assert was is not None and was.phase == "Queued"  # granted its slot
                elif effect.id not in self.tools:
                    self.tools.append(effect.id)
        for name in decision.handlers:
            if name in ("done", "failed"):
                event = decision.received.event
                assert isinstance(event, Event)
                self.ended[event.subject or ""] = self.ended.get(event.subject or "", 0) + 1

    def act(self, index: int, *, keep: bool) -> None:
        """Make an effect; with `keep` a crash follows before that is known."""
        effect = self.owed[index % len(self.owed)]
        match effect:
            case StartTask() if effect.record.phase == "Queued" or effect.record.kind == "wait":
                pass
            case StartTask():
                self.inbox.append(self._run(effect))
            case Publish(owed=owed):
                event = parse_event((owed.event or "").encode(), "no event")
                self.inbox.append(Received(0, at(0), owed.subject, event))
            case CancelTask(record=record) if record is not None:
                self.inbox.append(task_end(1, effect.id, reason="Cancelled"))
            case _:
                pass
        if not keep:
            self.owed.remove(effect)
            self.ledger = settle(self.ledger, [effect])

    def _run(self, effect: StartTask) -> Received:
        attempt_id = names.attempt_id(effect.id, effect.record.attempt)
        if attempt_id not in self.said:
            self.said[attempt_id] = (
                self._answer(attempt_id, effect)
                if effect.record.kind == "llm"
                else task_end(1, effect.id, "found")
            )
        return self.said[attempt_id]

    def _answer(self, attempt_id: str, effect: StartTask) -> Received:
        state = loop_of(effect.record).state
        said = self.plan[self.asked] if self.asked < len(self.plan) else "done"
        self.asked += 1
        report = TurnReport(state.turn, state.attempt, result="fine", usage=USED)
        match said:
            case "again" | "unpaid":
                report = replace(
                    report, result=None, usage=None, failure=endpoint_away(unpaid=said == "unpaid")
                )
            case "wrong":
                report = replace(report, result=None, problem="It does not fit.")
            case "nonsense":
                return told_by_worker(1, attempt_id, "nonsense")
            case list():
                arguments = {"good": {"what": "x"}, "bad": {}, "pause": {}}
                calls = tuple(
                    tool_call(f"c{index}", "pause" if kind == "pause" else "lookup", **arguments[kind])
                    for index, kind in enumerate(said)
                )
                report = replace(report, result=None, calls=calls)
            case _:
                pass
        return told_by_worker(1, attempt_id, report_to_json(report))

    def crash(self) -> None:
        """What was in flight is forgotten, and made from the ledger again."""
        self.owed = list_owed_effects(self.ledger)

    def due(self) -> Iterator[Received]:
        """What time brings."""
        for item in list(list_due_times(self.program, self.ledger)):
            if item.kind == "wait":
                yield task_end(1, item.key, {"until": item.at})
            elif item.kind == "retry":
                event = due_event(self.program.agent, names.origin(self.program.agent.uid, None), item)
                yield Received(0, at(0), names.inbox_subject(NAMESPACE, AGENT, event.type), event)

    def check(self) -> None:
        """What holds at every moment."""
        assert len(self.tools) == len(set(self.tools))
        assert all(count == 1 for count in self.ended.values())
        assert count_decided(self.ledger.totals) == self.sequence
        for label, budget in self.ledger.budgets.items():
            limit = self.programs[0].shared_limits.day if label.startswith("agentDay") else None
            tokens = budget.spent.tokens + sum(item.tokens for item in budget.reserved.values())
            assert limit is None or tokens <= (limit.tokens or 0)
            for key in budget.reserved:
                record = self.ledger.pending_tasks.get(key.split("/")[0])
                assert (
                    record is not None and record.loop is not None
                )  # no call is reserved that none waits for
        for task_id, record in self.ledger.pending_tasks.items():
            if record.loop is not None:
                for scope, account in loop_of(record).accounts.items():
                    assert scope.name == task_id and account.committed.turns <= 4
                under_way = [
                    tool
                    for tool in self.ledger.pending_tasks.values()
                    if tool.parent is not None and tool.parent.task == task_id and tool.phase != "Abandoned"
                ]
                assert len(under_way) == (record.tools or 0)
            if record.parent is not None and record.phase != "Abandoned":
                assert record.parent.task in self.ledger.pending_tasks


def make_programs(tokens: int, slots: int | None, *, parallel: bool) -> list[Program]:
    """A manifest, and one with another template of the tool."""
    spec = model_spec(budget={"turns": 4}, parallelTools=parallel, maxOutputTokens=5)
    limits = SharedLimits(session=Limit(turns=7), day=Limit(tokens=tokens))
    program = replace(asking_model(spec), shared_limits=limits, slots=SlotLimits(total=slots))
    edited = asking_model(spec | {"messages": []})
    other = {**program.tasks, "lookup": edited.tasks["refund"], "ask": edited.tasks["ask"]}
    return [program, replace(program, tasks=other, generation=4)]


@settings(max_examples=80, deadline=None)
@given(
    plan=PLAN,
    parallel=st.booleans(),
    tokens=st.integers(0, 3000),
    slots=st.none() | st.integers(1, 2),
    moves=MOVES,
)
def test_any_order_edit_and_crash_comes_to_one_end(
    plan: list[list[str] | str],
    parallel: bool,
    tokens: int,
    slots: int | None,
    moves: list[tuple[str, int, bool]],
) -> None:
    world = World(plan, make_programs(tokens, slots, parallel=parallel))
    world.hear(model_question())
    world.hear(model_question())
    (first, *others) = list(world.ledger.pending_tasks)
    assert not others  # the second one is a duplicate
    stopped = False
    for move, index, keep in moves:
        match move:
            case "hear" if world.inbox:
                came = world.inbox[index % len(world.inbox)]
                world.hear(came)
                if not keep:
                    world.inbox.remove(came)
            case "act" if world.owed:
                world.act(index, keep=keep)
            case "edit":
                world.programs.reverse()
            case "crash":
                world.crash()
            case "halt" if index < 2:
                world.hear(received(1, HALT, id_=f"halt{world.sequence}", correlationid="s"))
            case "stop" if index < 2:
                world.hear(received(1, STOP, id_=f"stop{world.sequence}", correlationid="s"))
                stopped = stopped or first not in world.ended
            case "deadline" if index < 2:
                world.hear(task_end(1, first, reason="DeadlineExceeded", id_="deadline"))
            case _:
                world.inbox += world.due()
    settle_down(world)

    assert not world.ledger.pending_tasks
    assert world.ended == ({} if stopped else {first: 1})
    assert all(not budget.reserved for budget in world.ledger.budgets.values())


def settle_down(world: World) -> None:
    """Left alone, it comes to its end."""
    world.crash()
    for _ in range(300):
        if world.owed:
            world.act(0, keep=False)
        elif world.inbox:
            world.hear(world.inbox.pop(0))
        elif due := list(world.due()):
            world.inbox += due
        elif approvals := [
            key for key, item in world.ledger.pending_tasks.items() if item.kind == "approval"
        ]:
            world.inbox.append(task_end(1, approvals[0], reason="DeadlineExceeded"))
        else:
            world.crash()
            if not world.owed:
                return
    raise AssertionError(f"it never ends: {json.dumps(dump_ledger(world.ledger)['pendingTasks'])}")
