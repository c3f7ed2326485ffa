"""The turns of a task that asks a model, as they are decided: calls, tools, ends, and what stops them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program, TaskTemplate
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_times import list_due_times
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger, dump_ledger, list_owed_effects, load_ledger, make_patch, settle
from heed.core.llm.budget import Limit, SharedLimits
from heed.core.llm.model_answer import Failure, FailureReason
from heed.core.llm.turn_events import RejectedCall, RepairRequest
from heed.core.policy.permissions import UNRESTRICTED, Quota, Quotas
from heed.core.tasks.slots import SlotLimits
from heed.core.tasks.work import work_of
from tests.builders.agents import AGENT, NAMESPACE, job, program
from tests.builders.decisions import owed_work_of, session_states
from tests.builders.events import at, received, task_end
from tests.builders.turns import (
    HALT,
    LATER,
    STOP,
    asking_model,
    endpoint_away,
    find_ask,
    list_tools,
    loop_of,
    model_question,
    model_spec,
    told_by_worker,
    tool_call,
    turn_made,
)

ASKING = asking_model()


class Story:
    """An Agent's ledger, decision by decision; whatever is owed is made at once."""

    def __init__(self, program: Program = ASKING, **options: Any) -> None:
        self.program, self.ledger, self.options = program, Ledger(), options
        self.sequence = 0
        self.decisions: list[Decision] = []

    def hear(self, came: Received) -> Decision:
        decision = decide(self.program, self.ledger, came, **self.options)
        self.decisions.append(decision)
        self.sequence = came.sequence
        self.ledger = load_ledger(dump_ledger(settle(decision.ledger, decision.effects)))
        return decision

    def ask(self) -> Decision:
        return self.hear(model_question(self.sequence + 1))

    def say(self, *calls: Any, **more: Any) -> Decision:
        return self.hear(turn_made(self.sequence + 1, self.ledger, *calls, **more))

    def end(self, task_id: str, result: Any = None, **more: Any) -> Decision:
        return self.hear(task_end(self.sequence + 1, task_id, result, **more))

    def hear_owed(self, decision: Decision) -> Decision:
        """The message that a decision owes the Agent's inbox comes."""
        (owed,) = [item.owed for item in decision.effects if isinstance(item, Publish)]
        event = parse_event((owed.event or "").encode(), "no event")
        return self.hear(Received(self.sequence + 1, at(self.sequence + 1), owed.subject, event))


def starts(decision: Decision) -> list[tuple[str, int]]:
    return [
        (item.record.task, item.record.attempt) for item in decision.effects if isinstance(item, StartTask)
    ]


def attempt_end(sequence: int, task_id: str, reason: str) -> Received:
    """The failure of a task's first attempt, as Heed tells it."""
    return received(
        sequence,
        names.TASK_FAILED,
        {"reason": reason, "attempt": 1},
        inbox=True,
        subject=task_id,
        source=names.agent_source(NAMESPACE, AGENT),
    )


def problems_of(story: Story) -> dict[str, str]:
    """What the model is told of its calls that were not made, by the calls; "" of others."""
    additions = loop_of(find_ask(story.ledger)[1]).state.additions
    return {
        item.call_id: item.problem if isinstance(item, RejectedCall) else ""
        for item in additions
        if not isinstance(item, RepairRequest)
    }


def asked(program: Program = ASKING, **options: Any) -> Story:
    story = Story(program, **options)
    story.ask()
    return story


def test_the_first_call_is_reserved_in_the_decision_that_owes_it() -> None:
    story = Story()

    decision = story.ask()

    task_id, record = find_ask(decision.ledger)
    account = next(iter(loop_of(record).accounts.values()))
    assert starts(decision) == [("ask", 1)]
    assert list(account.reserved) == [f"{task_id}/1/1"]
    assert account.reserved[f"{task_id}/1/1"].tokens > 100
    work = work_of(story.program.agent, task_id, record)
    assert work.spec["turn"] == {"turn": 1, "attempt": 1, "additions": []}
    assert work.spec["messages"] == [{"role": "user", "text": "How are you?"}]
    assert find_ask(story.ledger)[1].phase == "Started"


def test_an_answer_without_tools_ends_the_task_once_and_handlers_hear_of_it() -> None:
    story = asked()
    report = turn_made(2, story.ledger, result={"mood": "fine"})

    decision = story.hear(report)

    assert decision.outcome == "turns" and story.ledger.totals.turns == 1
    assert find_ask(story.ledger)[1].tools == 0 and list_owed_effects(story.ledger) == []
    heard = story.hear_owed(decision)
    assert heard.handlers == ("done",)
    assert session_states(story.ledger)["s"]["done"] == {
        "data": {"task": "ask", "result": {"mood": "fine"}},
        "kind": "llm",
    }
    assert not story.ledger.pending_tasks and story.ledger.totals.tasks_completed == 1
    again = replace(report, sequence=9)
    assert story.hear(again).outcome == "stale"


def test_tools_are_tasks_of_the_session_whose_names_derive_from_the_call() -> None:
    story = asked()
    task_id, _ = find_ask(story.ledger)

    decision = story.say(tool_call("a", what="shoes"), tool_call("b", "pay_back", amount=3))

    lookup, refund = (
        names.tool_id(task_id, 1, 0, "lookup"),
        names.tool_id(task_id, 1, 1, "refund"),
    )
    assert list(list_tools(story.ledger)) == [lookup, refund]
    assert sorted(starts(decision)) == [("lookup", 1), ("refund", 1)]
    tool = decision.ledger.pending_tasks[lookup]
    assert (tool.session, tool.input, tool.parent and tool.parent.call) == ("s", {"what": "shoes"}, "a")
    containers = owed_work_of(decision.ledger, lookup)["spec"]["template"]["spec"]["containers"]
    assert containers[0]["args"] == ["shoes", "How are you?"]
    title = json.loads(story.ledger.pending_tasks[refund].request or "{}")["title"]
    assert title == "Pay 3 back?"
    assert find_ask(story.ledger)[1].tools == 2
    assert story.ledger.totals.tasks_started == 3


def test_ends_of_tools_go_back_to_the_model_and_to_no_handler() -> None:
    story = asked()
    story.say(tool_call("a", what="shoes"), tool_call("b", what="hats"))
    first, second = list_tools(story.ledger)

    half = story.end(second, {"hats": 2})
    whole = story.end(first, reason="BackoffLimitExceeded")

    assert (half.outcome, half.handlers, starts(half)) == ("turns", (), [])
    assert starts(whole) == [("ask", 2)]
    task_id, record = find_ask(whole.ledger)
    assert record.attempt == 2 and record.tools is None
    work = work_of(story.program.agent, task_id, record)
    assert work.spec["turn"] == {
        "turn": 2,
        "attempt": 1,
        "additions": [
            {"call": "a", "name": "lookup", "reference": "4"},
            {"call": "b", "name": "lookup", "reference": "3"},
        ],
    }
    assert "messages" not in work.spec  # they are in the transcript
    assert session_states(story.ledger)["s"] == {}
    assert story.ledger.totals.tasks_failed == 1 and story.ledger.totals.tasks_completed == 1


def test_a_report_of_an_earlier_call_and_a_second_one_change_nothing() -> None:
    story = asked()
    report = turn_made(2, story.ledger, tool_call("a", what="shoes"))
    story.hear(report)
    before = story.ledger

    decision = story.hear(replace(report, sequence=3))

    assert decision.outcome == "stale" and decision.effects == ()
    assert dict(story.ledger.pending_tasks) == dict(before.pending_tasks)
    story.end(*list_tools(story.ledger))
    assert story.hear(replace(report, sequence=9)).outcome == "stale"
    assert find_ask(story.ledger)[1].attempt == 2


def test_a_call_that_failed_is_made_again_later_under_an_id_of_its_own() -> None:
    story = asked()

    decision = story.say(failure=endpoint_away(unpaid=True), usage=None)

    task_id, record = find_ask(decision.ledger)
    assert (record.phase, record.attempt, record.due) == ("Retrying", 2, at(4))
    assert starts(decision) == []
    (due,) = [item for item in list_due_times(story.program, story.ledger) if item.kind == "retry"]
    assert due.key == f"{task_id}-2"
    came = received(
        5,
        "dev.heed.due.retry",
        {"at": due.at, "key": due.key},
        inbox=True,
        source=names.agent_source(NAMESPACE, AGENT),
    )
    assert starts(story.hear(came)) == [("ask", 2)]
    account = next(iter(loop_of(find_ask(story.ledger)[1]).accounts.values()))
    assert list(account.reserved) == [f"{task_id}/1/2"]


def test_a_call_whose_worker_was_lost_is_made_again_and_counts_as_paid() -> None:
    story = asked()
    task_id, record = find_ask(story.ledger)
    reserved = next(iter(loop_of(record).accounts.values())).committed.tokens
    lost = attempt_end(2, task_id, "FunctionLost")

    story.hear(lost)

    record = find_ask(story.ledger)[1]
    assert (record.phase, record.attempt) == ("Retrying", 2)
    assert next(iter(loop_of(record).accounts.values())).spent.tokens == reserved
    assert story.hear(replace(lost, sequence=3)).outcome == "stale"


@pytest.mark.parametrize("data", ["nonsense", {}, {"turn": 1, "attempt": 1, "calls": [{"id": 3}]}, None])
def test_a_report_that_cannot_be_read_is_an_answer_that_is_asked_for_again(data: Any) -> None:
    story = asked()
    task_id, _ = find_ask(story.ledger)

    decision = story.hear(told_by_worker(2, task_id, data))

    assert decision.outcome == "turns"
    assert (find_ask(story.ledger)[1].phase, find_ask(story.ledger)[1].attempt) == ("Retrying", 2)


def test_a_budget_without_room_for_the_first_call_fails_the_task_before_it() -> None:
    story = Story(asking_model(model_spec(budget={"tokens": 100})))

    decision = story.ask()

    assert starts(decision) == []
    story.hear_owed(decision)
    failed = session_states(story.ledger)["s"]["failed"]["data"]
    assert failed["reason"] == "BudgetExceeded" and "the budget of the task" in failed["message"]
    assert not story.ledger.pending_tasks


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (SharedLimits(session=Limit(turns=1)), "the session s, 1 turns"),
        (SharedLimits(day=Limit(turns=1)), f"the Agent and day {AGENT}/2026-01-31, 1 turns"),
        (
            SharedLimits(policies={"demo/thrifty": Limit(turns=1)}),
            "AgentPolicy demo/thrifty/2026-01-31, 1 turns",
        ),
    ],
)
def test_shared_budgets_are_kept_by_all_tasks_together(limits: SharedLimits, said: str) -> None:
    story = asked(replace(ASKING, shared_limits=limits))
    story.hear_owed(story.say(result="fine"))

    story.hear_owed(story.ask())

    message = session_states(story.ledger)["s"]["failed"]["data"]["message"]
    assert said in message and "1 spent, 0 reserved" in message
    assert len(story.ledger.budgets) == 1


def test_budgets_of_days_and_sessions_that_are_over_are_forgotten() -> None:
    limits = SharedLimits(session=Limit(turns=9), day=Limit(turns=9))
    story = asked(replace(ASKING, shared_limits=limits))
    story.hear_owed(story.say(result="fine"))
    story.hear(received(story.sequence + 1, STOP, correlationid="s"))
    day = 24 * 3600
    story.hear(replace(model_question(9, "other"), at=at(day)))

    assert sorted(story.ledger.budgets) == [f"agentDay {AGENT}/2026-02-01", "session other"]
    patch = make_patch(story.decisions[-2].ledger, story.ledger)
    assert patch["budgets"]["session s"] is None


def test_what_keeps_a_tool_from_starting_is_told_to_the_model() -> None:
    limits = replace(UNRESTRICTED, limits=Quotas(pending_tasks=Quota(2, ("demo/small",))))
    story = asked(replace(ASKING, permissions=limits))

    story.say(tool_call("a", what="x"), tool_call("b", what="y"), tool_call("c"))
    (tool,) = list_tools(story.ledger)
    decision = story.end(tool, "found")

    said = problems_of(story)
    assert starts(decision) == [("ask", 2)] and said["a"] == ""
    assert "PolicyViolation" in said["b"] and "pending tasks" in said["b"]
    assert story.decisions[1].letter is None


def test_a_tool_whose_template_fails_is_refused_alone_and_the_model_asked_at_once() -> None:
    story = asked()

    decision = story.say(tool_call("a"))

    assert starts(decision) == [("ask", 2)]
    assert "TemplateFailed" in problems_of(story)["a"]


def test_tools_that_the_manifest_has_no_more_are_refused() -> None:
    story = asked()
    story.program = replace(
        ASKING, tasks={name: task for name, task in ASKING.tasks.items() if name != "lookup"}
    )

    story.say(tool_call("a", what="x"))

    assert problems_of(story) == {"a": "The tool lookup is not there any more."}


def test_a_task_that_the_manifest_has_no_more_goes_on_with_what_it_was_given() -> None:
    story = asked()
    story.program = replace(ASKING, tasks={name: ASKING.tasks[name] for name in ("lookup",)})
    story.say(tool_call("a", what="x"))
    story.end(*list_tools(story.ledger))

    story.hear_owed(story.say(result="done"))

    assert session_states(story.ledger)["s"]["done"]["data"]["result"] == "done"


def test_one_tool_after_the_other_where_the_manifest_says_so() -> None:
    story = asked(asking_model(model_spec(parallelTools=False)))
    story.say(tool_call("a", what="x"), tool_call("b", what="y"))

    assert [record.parent and record.parent.call for record in list_tools(story.ledger).values()] == ["a"]
    story.end(*list_tools(story.ledger))
    assert [record.parent and record.parent.call for record in list_tools(story.ledger).values()] == ["b"]
    assert starts(story.end(*list_tools(story.ledger))) == [("ask", 2)]


def test_a_cancelled_task_takes_its_tools_along() -> None:
    story = asked(replace(ASKING, shared_limits=SharedLimits(session=Limit(turns=9))))
    story.say(tool_call("a", what="x"), tool_call("b", "pay_back", amount=1))
    tools = list(list_tools(story.ledger))

    decision = story.hear(received(3, HALT, correlationid="s"))

    cancelled = {item.id: item.record for item in decision.effects if isinstance(item, CancelTask)}
    task_id, record = find_ask(decision.ledger)
    assert record.phase == "Cancelling" and record.loop is None
    assert cancelled == {task_id: record, tools[0]: None, tools[1]: None}
    assert list(story.ledger.pending_tasks) == [task_id]
    assert story.hear(task_end(4, tools[0], "late")).outcome == "stale"
    story.hear(task_end(5, task_id, reason="Cancelled"))
    assert session_states(story.ledger)["s"]["failed"]["data"]["reason"] == "Cancelled"


def test_a_task_past_its_deadline_takes_its_tools_along_and_counts_what_was_reserved() -> None:
    story = asked(replace(ASKING, shared_limits=SharedLimits(session=Limit(turns=9))))
    task_id, _ = find_ask(story.ledger)
    reserved = story.ledger.budgets["session s"].reserved[f"{task_id}/1/1"]

    story.hear(task_end(2, task_id, reason="DeadlineExceeded"))

    assert not story.ledger.pending_tasks
    assert (
        story.ledger.budgets["session s"].spent == reserved and not story.ledger.budgets["session s"].reserved
    )
    story.hear(model_question(3))
    story.say(tool_call("a", what="x"))
    decision = story.end(find_ask(story.ledger)[0], reason="DeadlineExceeded")
    assert [item.record for item in decision.effects if isinstance(item, CancelTask)] == [None]
    assert not story.ledger.pending_tasks


@pytest.mark.parametrize("calling", [True, False])
def test_a_session_that_ends_leaves_nothing(calling: bool) -> None:
    story = asked(replace(ASKING, shared_limits=SharedLimits(session=Limit(turns=9), day=Limit(turns=9))))
    if not calling:
        story.say(tool_call("a", what="x"))
    report = turn_made(3, story.ledger, result="x") if calling else None

    story.hear(received(4, STOP, correlationid="s"))

    assert not story.ledger.pending_tasks and not story.ledger.sessions
    budget = story.ledger.budgets[f"agentDay {AGENT}/2026-01-31"]
    assert not budget.reserved and budget.spent.turns == 1
    if report is not None:
        assert story.hear(replace(report, sequence=5)).outcome == "stale"


def test_a_model_that_waits_for_tools_holds_no_slot() -> None:
    story = Story(replace(ASKING, slots=SlotLimits(total=1)))
    assert starts(story.ask()) == [("ask", 1)]

    decision = story.say(tool_call("a", what="x"), tool_call("b", what="y"))

    first, second = list_tools(story.ledger).values()
    assert (first.phase, second.phase) == ("Started", "Queued")
    assert find_ask(story.ledger)[1].tools == 2
    assert [item.record.phase for item in decision.effects if isinstance(item, StartTask)] == [
        "Owed",
        "Queued",
    ]
    ids = list(list_tools(story.ledger))
    assert ("lookup", 1) in starts(story.end(ids[0]))
    assert starts(story.end(ids[1])) == [("ask", 2)]


def test_a_full_status_keeps_tools_and_long_results_out_and_ends_the_task() -> None:
    story = asked()
    story.options = {"room": Headroom(600, 0)}
    story.say(tool_call("a", what="x"))
    assert "StatusFull" in problems_of(story)["a"]

    decision = story.say(result="x" * 5000)

    story.options = {}
    story.hear_owed(decision)
    assert session_states(story.ledger)["s"]["failed"]["data"]["reason"] == "StatusFull"


def test_a_result_that_no_outbox_should_hold_fails_the_task() -> None:
    story = asked()

    story.hear_owed(story.say(result="x" * 200_000))

    assert session_states(story.ledger)["s"]["failed"]["data"]["reason"] == "ResultTooLarge"


def test_arguments_that_no_ledger_should_hold_fail_the_task_and_start_nothing() -> None:
    story = asked(asking_model(model_spec(parallelTools=False)))

    decision = story.say(tool_call("a", what="x"), tool_call("b", what="y" * 70_000))

    assert starts(decision) == [] and not list_tools(story.ledger)
    story.hear_owed(decision)
    assert session_states(story.ledger)["s"]["failed"]["data"]["reason"] == "TurnTooLarge"
    assert story.ledger.totals.tasks_started == 1


def test_what_no_attempt_can_mend_fails_the_task() -> None:
    story = asked()
    failure = Failure(FailureReason.QUOTA_GONE, "no credit", unpaid=True)

    story.hear_owed(story.say(failure=failure, usage=None))

    failed = session_states(story.ledger)["s"]["failed"]["data"]
    assert (failed["reason"], failed["message"]) == ("QuotaGone", "no credit")


def test_a_refused_start_fails_the_task_for_good() -> None:
    story = asked()
    task_id, _ = find_ask(story.ledger)

    story.hear(attempt_end(2, task_id, "PolicyViolation"))

    assert session_states(story.ledger)["s"]["failed"]["data"]["reason"] == "PolicyViolation"
    assert not story.ledger.pending_tasks


def test_a_call_has_the_timeout_of_an_attempt() -> None:
    story = asked(asking_model(attempt_timeout=30))
    assert find_ask(story.ledger)[1].attempt_deadline == at(31)

    story.say(tool_call("a", what="x"))
    assert find_ask(story.ledger)[1].attempt_deadline is None
    story.end(*list_tools(story.ledger))

    assert find_ask(story.ledger)[1].attempt_deadline == at(33)


def test_tools_see_the_session_as_it_is_when_they_start() -> None:
    story = asked()
    story.hear(received(2, LATER, correlationid="s"))
    story.program = replace(ASKING, tasks={**ASKING.tasks, "lookup": reading_state()})

    decision = story.say(tool_call("a", what="x"))

    (tool,) = list_tools(decision.ledger)
    args = owed_work_of(decision.ledger, tool)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["sand"]
    assert decision.ledger.pending_tasks[tool].cause.correlationid == "s"


def reading_state() -> TaskTemplate:
    return program({}, tasks={"lookup": job("${state.topic}")}).tasks["lookup"]
