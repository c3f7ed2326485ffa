"""Slots: never more tasks at once than there may be, none that is free, and sessions take turns, whatever restarts."""

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed import names
from heed.api.status import PendingTask
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from heed.core.effects import CancelTask, StartTask, TaskWork
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger, dump_ledger, list_owed_effects, load_ledger, settle
from heed.core.simulation.steps import StubbedEnd
from heed.core.tasks.slots import SlotLimits, find_grantable, holds_slot, is_idle
from heed.core.tasks.work import work_of
from heed.engine.batch import effects_still_owed
from tests.builders.agents import AGENT, NAMESPACE, job, manifest, nap, problems, program
from tests.builders.decisions import letter_of
from tests.builders.events import at, received, task_end
from tests.unit.simulations import message, run

HALT, STOP = "com.example.halt", "com.example.stop"


def queueing(total: int | None = None, **limits: Any) -> Program:
    """An Agent that starts what an event lists; `limits` are further fields of its tasks a and b."""
    spec = {} if total is None else {"maxConcurrentTasks": total}
    tasks = {name: job(**limits.get(name, {})) for name in ("a", "b")} | {"nap": nap("1h")}
    return program(
        {"name": "begin", "start": [{"from": "${event.data}"}]},
        {"name": "halt", "type": HALT, "cancel": [{"task": "a"}]},
        {"name": "stop", "type": STOP, "end": True},
        {"name": "over", "type": "dev.heed.task.*", "when": "false"},
        tasks=tasks,
        **spec,
    )


class Story:
    """Events that an Agent decides one after the other, and the tasks that it starts by that."""

    def __init__(self, agent: Program) -> None:
        self.agent, self.ledger, self.sequence = agent, Ledger(), 0
        self.begun: list[str] = []  # ids, in the order in which they got their slots
        self.last: Decision

    def decide(self, came: Received) -> Decision:
        self.last = decide(self.agent, self.ledger, came)
        self.ledger = settle(self.last.ledger, [e for e in self.last.effects if isinstance(e, CancelTask)])
        for effect in self.last.effects:
            if isinstance(effect, StartTask) and effect.record.phase == "Owed":
                self.begun.append(names.attempt_id(effect.id, effect.record.attempt))
        return self.last

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def ask(self, session: str, *tasks: str, priority: int | None = None) -> list[str]:
        """Start tasks in a session; their ids."""
        more = {} if priority is None else {"priority": priority}
        items = [{"task": task, "input": {"of": session}, **more} for task in tasks]
        before = set(self.ledger.pending_tasks)
        self.decide(received(self.next(), data=items, correlationid=session))
        new = {task: self.place_of(task) for task in set(self.ledger.pending_tasks) - before}
        origin = names.origin(self.agent.agent.uid, None)
        ids = [names.task_id(origin, self.sequence, index, task) for index, task in enumerate(tasks)]
        assert set(ids) == set(new)
        return ids

    def place_of(self, task: str) -> int:
        queue = self.ledger.pending_tasks[task].queue
        return 0 if queue is None else queue.place

    def end(self, task: str, **more: Any) -> Decision:
        return self.decide(task_end(self.next(), task, 1, **more))

    def tell(self, type_: str, session: str) -> Decision:
        return self.decide(received(self.next(), type_, correlationid=session))

    @property
    def running(self) -> list[str]:
        return [key for key, task in self.ledger.pending_tasks.items() if holds_slot(task)]

    @property
    def queued(self) -> list[str]:
        return [key for key, task in self.ledger.pending_tasks.items() if task.phase == "Queued"]

    def finish_all(self) -> list[str]:
        """End what runs, the oldest first, until nothing does; the ids in the order of their starts."""
        first = len(self.begun)
        ended = 0
        while ended < len(self.begun):
            task = names.split_attempt(self.begun[ended])[0]
            ended += 1
            if task in self.ledger.pending_tasks:
                self.end(task)
        return self.begun[first:]


def sessions_of(tasks: list[str], by_session: dict[str, list[str]]) -> str:
    """Whose tasks these are, one letter each."""
    owner = {task: session for session, theirs in by_session.items() for task in theirs}
    return "".join(owner[task] for task in tasks)


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_beyond_the_limit_waits_and_starts_when_another_ends() -> None:
    story = Story(queueing(a={"maxConcurrent": 1}))

    first, second = story.ask("s", "a", "a")
    assert (story.running, story.queued) == ([first], [second])
    record = story.ledger.pending_tasks[second]
    assert record.queue is not None
    assert (record.phase, record.queue.since, record.queue.turn) == ("Queued", at(1), 2)
    assert list_owed_effects(story.ledger) == [StartTask(first, story.ledger.pending_tasks[first])]

    ended = story.end(first)

    assert ended.effects == (StartTask(second, story.ledger.pending_tasks[second]),)
    assert story.ledger.pending_tasks[second].queue is None
    assert (story.running, story.queued) == ([second], [])


def test_sessions_take_turns_however_much_one_of_them_asks_for() -> None:
    story = Story(queueing(1))
    mine = {"x": story.ask("x", "a", "a", "a", "a"), "y": story.ask("y", "b", "b"), "z": story.ask("z", "a")}

    order = [*story.begun, *story.finish_all()]

    assert sessions_of(order, mine) == "xxyzxyx"
    assert order[0:2] == mine["x"][0:2]


def test_a_session_that_comes_later_is_behind_those_that_wait_and_before_their_second_tasks() -> None:
    story = Story(queueing(1))
    mine = {"x": story.ask("x", "a", "a", "a"), "y": story.ask("y", "a", "a")}
    story.end(mine["x"][0])  # x has its turn again, and goes behind y
    mine["z"] = story.ask("z", "a")

    assert sessions_of([*story.begun, *story.finish_all()], mine) == "xxyxzy"


def test_a_task_with_a_limit_of_its_own_keeps_no_other_from_a_slot() -> None:
    story = Story(queueing(3, a={"maxConcurrent": 1}))
    first, second = story.ask("x", "a", "a")
    third, fourth, fifth = story.ask("x", "b", "b", "b")

    assert set(story.running) == {first, third, fourth}
    assert set(story.queued) == {second, fifth}
    story.end(third)
    assert set(story.running) == {first, fourth, fifth}
    story.end(first)
    assert set(story.running) == {second, fourth, fifth}


def test_a_higher_priority_goes_first_and_sessions_take_turns_within_it() -> None:
    story = Story(queueing(1, b={"priority": 5}))
    mine = {"x": story.ask("x", "a", "a")}
    mine["x"] += story.ask("x", "b", "b")
    mine["y"] = story.ask("y", "b")
    mine["z"] = story.ask("z", "a", priority=9)
    mine["w"] = story.ask("w", "b", priority=-1)

    assert sessions_of([*story.begun, *story.finish_all()], mine) == "xzxyxxw"


def test_waits_take_no_slot() -> None:
    story = Story(queueing(1))

    story.ask("s", "nap", "nap", "a")

    assert len(story.running) == 1
    assert story.queued == []


def test_without_limits_nothing_is_queued() -> None:
    story = Story(queueing())

    tasks = story.ask("s", "a", "a", "b")

    assert story.begun == tasks
    assert all(task.queue is None for task in story.ledger.pending_tasks.values())


@pytest.mark.parametrize("priority", [1001, -1001, "'high'", 1.5, "true"])
def test_a_priority_that_is_none_is_a_letter(priority: Any) -> None:
    agent = program(
        {"start": [{"from": f"${{[{{'task': 'a', 'priority': {priority}}}]}}"}]}, tasks={"a": job()}
    )

    code, text, _ = letter_of(decide(agent, Ledger(), received(1)))

    assert code == "BadList"
    assert "not a whole number from -1000 to 1000" in text


# ── what frees a slot ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_task_keeps_its_slot_until_its_end_and_one_that_was_queued_has_none() -> None:
    story = Story(queueing(1))
    first, second = story.ask("x", "a", "a")
    (third,) = story.ask("y", "a")

    decision = story.tell(HALT, "x")

    assert {effect.id for effect in decision.effects} == {first, second}
    assert story.running == [first]
    assert is_idle(story.ledger.pending_tasks[second])
    assert not is_idle(story.ledger.pending_tasks[first])
    story.end(second, reason="Cancelled")
    assert story.running == [first]
    story.end(first, reason="Cancelled")
    assert story.running == [third]


def test_a_session_that_ends_gives_its_slots_and_its_places_away() -> None:
    story = Story(queueing(1))
    first, _ = story.ask("x", "a", "a")
    (last,) = story.ask("y", "a")

    decision = story.tell(STOP, "x")

    assert decision.effects == (
        CancelTask(first, None),
        StartTask(last, story.ledger.pending_tasks[last]),
    ), "what was queued was never made, so there is nothing to stop"
    assert set(decision.ledger.pending_tasks) == {first, last}
    assert decision.ledger.pending_tasks[first].phase == "Abandoned"
    assert story.running == [last]


def test_a_task_between_attempts_leaves_with_its_session_too() -> None:
    story = Story(queueing(1, a=AGAIN))
    (first,) = story.ask("x", "a")
    failing(story, first)

    decision = story.tell(STOP, "x")

    assert (decision.effects, decision.ledger.pending_tasks) == ((), {})


def test_a_queued_task_that_is_being_cancelled_leaves_with_its_session() -> None:
    story = Story(queueing(1))
    (first,) = story.ask("y", "a")
    (second,) = story.ask("x", "a")
    story.tell(HALT, "x")
    assert story.ledger.pending_tasks[second].phase == "Cancelling"

    decision = story.tell(STOP, "x")

    assert (decision.effects, list(decision.ledger.pending_tasks)) == ((), [first])


def test_the_end_of_a_queued_task_that_another_tells_leaves_nothing_to_stop() -> None:
    story = Story(queueing(1))
    first, second = story.ask("x", "a", "a")

    decision = story.decide(task_end(story.next(), second, 1, source="/someone"))

    assert (decision.outcome, decision.effects) == ("ignored", ())
    assert list(decision.ledger.pending_tasks) == [first]
    (recent,) = decision.ledger.recent_tasks
    assert (recent.id, recent.outcome) == (second, "Completed")


def test_a_line_whose_first_task_is_cancelled_keeps_its_turn() -> None:
    story = Story(queueing(1))
    story.ask("w", "b")
    story.ask("x", "a")
    kept = story.ask("x", "b")
    late = story.ask("y", "b")

    story.tell(HALT, "x")

    turns = [story.ledger.pending_tasks[task].queue for task in (*kept, *late)]
    assert [place.turn for place in turns if place is not None] == [1, 2]


def test_an_end_that_breaks_a_handler_frees_its_slot_too() -> None:
    agent = program(
        {"start": [{"task": "a"}, {"task": "a"}]},
        {"type": "dev.heed.task.*", "when": "event.data.missing > 3"},
        tasks={"a": job()},
        maxConcurrentTasks=1,
    )
    story = Story(agent)
    story.decide(received(story.next()))
    (first,) = story.begun

    decision = story.end(first)

    assert decision.outcome == "dead_lettered"
    assert len(story.begun) == 2
    assert isinstance(decision.effects[-1], StartTask)


def test_more_slots_in_a_new_manifest_are_given_when_that_is_due() -> None:
    story = Story(queueing(1))
    _, second, third = story.ask("s", "a", "a", "a")
    assert [due for due in list_due_times(story.agent, story.ledger) if due.kind == "queue"] == []

    story.agent = queueing(2)
    (due,) = [due for due in list_due_times(story.agent, story.ledger) if due.kind == "queue"]
    assert (due.at, due.key) == (at(1), "3")
    event = due_event(story.agent.agent, "o", due)
    subject = names.inbox_subject(NAMESPACE, AGENT, event.type)
    decision = story.decide(Received(story.next(), at(9), subject, event))

    assert (decision.outcome, story.queued) == ("due", [third])
    assert second in story.running
    assert find_grantable(story.agent.slots, story.ledger.pending_tasks) is None
    assert find_grantable(SlotLimits(), story.ledger.pending_tasks) == at(1)


def test_fewer_slots_let_what_runs_go_on_and_start_nothing() -> None:
    story = Story(queueing(3))
    tasks = story.ask("s", "a", "a", "a", "a")
    story.agent = queueing(1)

    story.end(tasks[0])
    story.end(tasks[1])
    assert story.running == [tasks[2]]
    story.end(tasks[2])
    assert story.running == [tasks[3]]


# ── attempts ────────────────────────────────────────────────────────────────────────────────────────────────────────

AGAIN = {"retry": {"attempts": 2, "backoff": {"initial": "1s", "jitter": 0}}}


def failing(story: Story, task: str, attempt: int | None = 1) -> Decision:
    source = names.agent_source(NAMESPACE, AGENT)
    data = {"reason": "JobLost", "attempt": attempt}
    return story.decide(
        received(story.next(), names.TASK_FAILED, data, inbox=True, subject=task, source=source)
    )


def come_due(story: Story) -> Decision:
    (due,) = [due for due in list_due_times(story.agent, story.ledger) if due.kind == "retry"]
    event = due_event(story.agent.agent, "o", due)
    subject = names.inbox_subject(NAMESPACE, AGENT, event.type)
    return story.decide(Received(story.next(), at(story.sequence), subject, event))


def test_a_failed_attempt_gives_its_slot_away_and_the_next_one_queues_again() -> None:
    story = Story(queueing(1, a=AGAIN))
    first, second = story.ask("x", "a", "a")

    decision = failing(story, first)
    assert decision.outcome == "retried"
    assert [effect.id for effect in decision.effects] == [second]
    assert is_idle(story.ledger.pending_tasks[first])

    assert come_due(story).effects == ()
    assert story.queued == [first]
    story.end(second)
    assert story.begun == [first, second, f"{first}-2"]
    assert work_of(story.agent.agent, first, story.ledger.pending_tasks[first]).attempt == 2


@pytest.mark.parametrize(("attempt", "outcome"), [(1, "stale"), (2, "stale"), (None, "ignored")])
def test_an_attempt_that_waits_for_its_slot_cannot_end_but_the_task_can(
    attempt: int | None, outcome: str
) -> None:
    story = Story(queueing(1, a=AGAIN))
    first, _ = story.ask("x", "a", "a")
    failing(story, first)
    come_due(story)
    assert story.queued == [first]

    decision = failing(story, first, attempt)

    assert decision.outcome == outcome
    assert (first in decision.ledger.pending_tasks) is (outcome == "stale")


def test_an_attempt_that_is_due_starts_at_once_where_a_slot_is_free() -> None:
    story = Story(queueing(2, a=AGAIN))
    (first,) = story.ask("x", "a")
    failing(story, first)

    decision = come_due(story)

    assert decision.effects == (StartTask(first, story.ledger.pending_tasks[first]),)


def test_timeouts_count_from_the_start_and_the_total_from_the_event() -> None:
    story = Story(queueing(1, a={"timeout": "60s", "attemptTimeout": "40s"}))
    first, second = story.ask("x", "a", "a")
    waiting = story.ledger.pending_tasks[second]
    assert (waiting.deadline, waiting.attempt_deadline) == (at(61), None)
    assert ("deadline", second) in {(due.kind, due.key) for due in list_due_times(story.agent, story.ledger)}

    story.sequence = 30
    story.end(first)

    record = story.ledger.pending_tasks[second]
    assert (record.deadline, record.attempt_deadline) == (at(61), None)
    assert json.loads(record.owed or "")["timeout"] == 30
    early = Story(queueing(1, a={"timeout": "600s", "attemptTimeout": "40s"}))
    first, second = early.ask("x", "a", "a")
    early.end(first)
    assert early.ledger.pending_tasks[second].attempt_deadline == at(42)


# ── one batch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_is_queued_and_gets_its_slot_in_one_batch_starts_once() -> None:
    story = Story(queueing(1))
    first, second = story.ask("x", "a", "a")
    decisions = [story.last, story.end(first)]

    made = list(effects_still_owed(story.ledger, decisions))

    assert made == [StartTask(second, story.ledger.pending_tasks[second])]


# ── always ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SESSIONS = ("x", "y", "z")
STEPS = st.one_of(
    st.tuples(
        st.just("ask"),
        st.sampled_from(SESSIONS),
        st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
        st.sampled_from([None, 0, 0, 3]),
    ),
    st.tuples(st.just("end"), st.integers(0, 99), st.none(), st.none()),
    st.tuples(st.just("halt"), st.sampled_from(SESSIONS), st.none(), st.none()),
    st.tuples(st.just("stop"), st.sampled_from(SESSIONS), st.none(), st.none()),
)


def limited(total: int | None, of_a: int | None) -> Program:
    return queueing(total, a={} if of_a is None else {"maxConcurrent": of_a})


def play(story: Story, step: tuple[Any, ...]) -> None:
    kind, what, tasks, priority = step
    match kind:
        case "ask":
            story.ask(what, *tasks, priority=priority)
        case "halt":
            story.tell(HALT, what)
        case "stop":
            story.tell(STOP, what)
        case _ if story.running:
            task = sorted(story.running)[what % len(story.running)]
            cancelled = story.ledger.pending_tasks[task].phase == "Cancelling"
            story.end(task, **({"reason": "Cancelled"} if cancelled else {}))


def check(story: Story, total: int | None, of_a: int | None) -> None:
    """Never too many, and none that could run waits."""
    tasks = story.ledger.pending_tasks
    running = Counter(tasks[key].task for key in story.running)
    assert total is None or running.total() <= total
    assert of_a is None or running["a"] <= of_a
    assert find_grantable(story.agent.slots, tasks) is None
    heads: Counter[tuple[str, str, int]] = Counter()
    for task in tasks.values():
        if task.phase == "Queued" and task.queue is not None and task.queue.turn is not None:
            heads[task.session, task.task if task.task == "a" and of_a else "", task.priority] += 1
    assert all(count == 1 for count in heads.values())


LIMITS = {"total": st.sampled_from([None, 1, 2, 4]), "of_a": st.sampled_from([None, 1, 2])}


@given(steps=st.lists(STEPS, max_size=30), **LIMITS)
@settings(max_examples=150, deadline=None)
def test_there_are_never_too_many_and_no_slot_stays_free(
    steps: list[tuple[Any, ...]], total: int | None, of_a: int | None
) -> None:
    story = Story(limited(total, of_a))
    for step in steps:
        play(story, step)
        check(story, total, of_a)
    while story.running:
        play(story, ("end", 0, None, None))
        check(story, total, of_a)

    assert story.queued == []
    assert len(story.begun) == len(set(story.begun))


@given(steps=st.lists(STEPS, max_size=25), seed=st.integers(0, 2**32), **LIMITS)
@settings(max_examples=100, deadline=None)
def test_the_order_is_the_same_whatever_restarts(
    steps: list[tuple[Any, ...]], seed: int, total: int | None, of_a: int | None
) -> None:
    steady, restarted, chance = Story(limited(total, of_a)), Story(limited(total, of_a)), random.Random(seed)
    for step in steps:
        play(steady, step)
        play(restarted, step)
        ledger = load_ledger(dump_ledger(restarted.ledger))
        tasks = list(ledger.pending_tasks.items())
        chance.shuffle(tasks)  # a status is a map
        restarted.ledger = replace(ledger, pending_tasks=dict(tasks))

    assert sorted(restarted.begun) == sorted(steady.begun)
    assert restarted.finish_all() == steady.finish_all()


@given(
    counts=st.dictionaries(st.sampled_from("uvwxyz"), st.integers(1, 6), min_size=2),
    late=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("uvwxyz")), max_size=8),
    total=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_no_session_is_passed_over_more_than_once_for_each_task_that_it_is_given(
    counts: dict[str, int], late: list[tuple[int, str]], total: int
) -> None:
    story, owner = Story(queueing(total)), dict[str, str]()

    def ask(session: str, count: int) -> None:
        owner.update(dict.fromkeys(story.ask(session, *["b"] * count), session))

    for session, count in counts.items():
        ask(session, count)
    waits: list[tuple[int, set[str]]] = [(len(story.begun), {owner[task] for task in story.queued})]
    step = 0
    while story.running:
        for when, session in late:
            if when == step:
                ask(session, 2)
        waits.append((len(story.begun), {owner[task] for task in story.queued}))
        story.end(story.running[0])
        step += 1

    order = [owner[task] for task in story.begun]
    for session in set(order):
        for start, waiting in waits:
            if session in waiting:
                until = next(index for index in range(start, len(order)) if order[index] == session)
                passed = Counter(order[start:until])
                assert all(times <= 1 for times in passed.values()), (session, start, order)


# ── manifests, simulated ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"tasks": {"a": job(maxConcurrent=0)}}, "spec.tasks.a.maxConcurrent"),
        ({"tasks": {"a": job(priority=1001)}}, "spec.tasks.a.priority"),
        ({"tasks": {"a": nap("1s", maxConcurrent=1)}}, "spec.tasks.a.maxConcurrent"),
        ({"tasks": {"a": job()}, "maxConcurrentTasks": 0}, "spec.maxConcurrentTasks"),
    ],
)
def test_a_limit_that_makes_no_sense_is_named(spec: dict[str, Any], path: str) -> None:
    found = problems(manifest({"start": [{"task": "a"}]}, **spec))

    assert [problem.path for problem in found] == [path]


def test_a_simulated_task_ends_once_it_had_its_slot() -> None:
    agent = program(
        {"start": [{"task": "work"}, {"task": "work"}]},
        {"type": names.TASK_COMPLETED, "emit": [{"type": "x.done"}]},
        tasks={"work": job(maxConcurrent=1)},
    )

    def answer(work: TaskWork) -> StubbedEnd:
        return StubbedEnd(result=1)

    made = run(message("q"), answer=answer, agents=(agent,), advance=timedelta(minutes=1))

    assert [len(step.deliveries[0].queued) for step in made.steps if step.deliveries] == [1, 0, 0]
    assert made.ledgers[agent.agent].totals.tasks_completed == 2


def test_queued_tasks_are_counted() -> None:
    story = Story(queueing(1))
    story.ask("s", "a", "a", "a")

    status = dump_ledger(story.ledger)

    assert status["counts"]["queuedTasks"] == 2
    places = [record["queue"] for record in status["pendingTasks"].values() if "queue" in record]
    assert sorted(place["place"] for place in places) == [2, 3]
    assert sorted(place.get("turn", 0) for place in places) == [0, 2]
    assert all(isinstance(task, PendingTask) for task in load_ledger(status).pending_tasks.values())


@pytest.mark.parametrize("owed", [None, "", "{", "[]", '"x"'])
def test_a_record_that_somebody_broke_takes_its_turn_and_stops_no_other(owed: str | None) -> None:
    story = Story(queueing(1))
    first, second, third = story.ask("s", "a", "a", "a")
    broken = replace(story.ledger.pending_tasks[second], owed=owed)
    story.ledger = replace(story.ledger, pending_tasks={**story.ledger.pending_tasks, second: broken})

    story.end(first)

    assert story.ledger.pending_tasks[second] == replace(broken, phase="Owed", queue=None)
    story.end(second)
    assert story.running == [third]


def test_without_any_limit_what_is_queued_starts_when_that_is_due_and_all_at_once() -> None:
    story = Story(queueing(1))
    _, second, third = story.ask("s", "a", "a", "a")
    story.agent = queueing()

    story.tell("com.example.other", "s")
    assert story.queued == [second, third]
    (due,) = [due for due in list_due_times(story.agent, story.ledger) if due.kind == "queue"]
    event = due_event(story.agent.agent, "o", due)
    subject = names.inbox_subject(NAMESPACE, AGENT, event.type)
    story.decide(Received(story.next(), at(9), subject, event))

    assert story.queued == []
    assert len(story.running) == 3


def test_an_event_that_changes_no_task_leaves_them_as_they_are() -> None:
    agent = program({"state": {"n": 1}}, tasks={"a": job(maxConcurrent=1)})
    ledger = Story(queueing(1)).ledger

    assert decide(agent, ledger, received(1)).ledger.pending_tasks is ledger.pending_tasks
