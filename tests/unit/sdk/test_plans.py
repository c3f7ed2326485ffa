"""Plans: what a test does to a simulation, in any order, with duplicates, late events and crashes."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from heed.sdk import Agent, Completed, DeclarationError, Event, Failed, Reaction, State, emit, end
from heed.sdk.testing import Action, Advance, Answer, Complete, Crash, Fail, Plan, Publish, Simulation
from heed.sdk.testing.strategies import MAX_COMMITS_TO_CRASH, orders


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str


class Closed(Event, type="com.example.closed"):
    """No more questions."""


class Answered(Event, type="com.example.answered"):
    """An answer."""

    text: str


class Known(State):
    """What is known."""

    topic: str = ""
    closed: bool = False


agent = Agent("researcher", state=Known, key="'all'")
ask = agent.approval("ask", title="May it?", users=["ann"], choices=["approve", "reject"])


@agent.task(timeout="30m")
def research(topic: str) -> str:
    return topic


@agent.on
def begin(event: Asked, state: Known) -> Reaction:
    if event.topic == "ask":
        return ask.start()
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on
def close(event: Closed, state: Known) -> Reaction:
    return state.set(closed=True)


@agent.on(research.completed)
def conclude(done: Completed[str], state: Known) -> Reaction:
    return [emit(Answered(text=done.result)), end()]


@agent.on(research.failed)
def give_up(failed: Failed) -> Reaction:
    return emit(Answered(text=failed.reason))


@agent.on(ask.completed)
def answered(done: Completed[object]) -> Reaction:
    return emit(Answered(text="answered"))


def texts(simulation: Simulation) -> list[str]:
    """What was answered."""
    found = [event.data for event in simulation.emitted if event.type == Answered.event_type]
    return [data["text"] for data in found if isinstance(data, dict)]


def played(*actions: Action) -> tuple[Simulation, list[str]]:
    """The simulation after a plan, and the ends that it had no task for."""
    simulation = Simulation(agent)
    left = simulation.play(Plan(*actions))
    return simulation, [repr(item) for item in left]


def test_each_action_does_what_its_method_does() -> None:
    simulation, left = played(
        Publish(Asked(topic="a"), id="1"),
        Complete(research, "the Moon"),
        Publish(Asked(topic="b"), session="s", id="2"),
        Fail(research, "Overloaded", "too much"),
        Publish(Asked(topic="ask"), id="3"),
        Answer(ask, "reject", user="ann"),
        Publish(Asked(topic="c")),
        Advance("31m"),
    )

    assert texts(simulation) == ["the Moon", "Overloaded", "answered", "DeadlineExceeded"]
    assert left == []
    assert [step.message.event.id for step in simulation.steps if step.message.origin == "given"][:3] == [
        "1",
        "2",
        "3",
    ]


def test_an_end_waits_for_its_task_and_is_told_where_that_never_comes() -> None:
    simulation, left = played(
        Complete(research, "x", session="other"), Fail(research), Publish(Asked(topic="a"))
    )

    assert texts(simulation) == ["Error"]
    assert left == ["Complete('research', result='x', session='other')"]


def test_a_plan_is_shown_as_the_code_that_makes_it() -> None:
    plan = Plan(
        Publish(Asked(topic="a"), id="1"), Crash(at=2), Advance("1h"), Complete(research, "b"), Answer(ask)
    )

    assert eval(repr(plan)) == plan
    assert repr(plan).splitlines()[1:] == [
        "    Publish(Asked(topic='a'), id='1'),",
        "    Crash(at=2),",
        "    Advance('1h'),",
        "    Complete('research', result='b'),",
        "    Answer('ask'),",
        ")",
    ]
    assert repr(Answer("ask", fields={"a": 1})) == "Answer('ask', fields={'a': 1})"
    assert repr(Plan()) == "Plan()"
    assert plan != Plan(*plan.actions[:3])
    assert plan != list(plan.actions)


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def noisy() -> tuple[Agent, list[str]]:
    """An Agent of two handlers that note each call."""
    made, calls = Agent("noisy"), list[str]()

    @made.on(emits=[Closed])
    def first(event: Asked) -> Reaction:
        calls.append(f"first {event.topic}")
        return emit(Closed())

    @made.on
    def second(event: Asked) -> Reaction:
        calls.append(f"second {event.topic}")
        return emit(Answered(text=f"{len(calls)}"))

    @made.on
    def third(event: Closed) -> Reaction:
        calls.append("third")
        return emit(Answered(text="closed"))

    return made, calls


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        (1, ["first a", "second a", "first a", "second a", "third"]),
        (2, ["first a", "second a", "third", "third"]),
        (3, ["first a", "second a", "third"]),
    ],
)
def test_a_crash_at_one_commit_makes_that_decision_twice(at: int, wanted: list[str]) -> None:
    made, calls = noisy()
    simulation = Simulation(made)

    simulation.crash(at=at)
    simulation.publish(Asked(topic="a"))

    assert calls == wanted
    assert texts(simulation) == ["4" if at == 1 else "2", "closed"]


def test_a_crash_counts_from_where_it_is_asked_for() -> None:
    made, calls = noisy()
    simulation = Simulation(made)
    simulation.publish(Asked(topic="a"))
    calls.clear()

    simulation.crash(at=2)
    simulation.publish(Asked(topic="b"))

    assert calls == ["first b", "second b", "third", "third"]
    with pytest.raises(ValueError, match="count from 1"):
        simulation.crash(at=0)


def test_from_a_crash_on_every_decision_is_made_twice() -> None:
    made, calls = noisy()
    simulation = Simulation(made)

    simulation.crash()
    simulation.publish(Asked(topic="a"))

    assert calls == ["first a", "second a"] * 2 + ["third"] * 2


# ── strategies ──────────────────────────────────────────────────────────────────────────────────────────────────────

ALL = orders(
    [Asked(topic="a"), Closed(), Complete(research, "the Moon")], duplicates=2, late=["2h"], crashes=2
)


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


@given(ALL)
def test_a_plan_has_what_was_given_and_no_more_than_was_asked_for(plan: Plan) -> None:
    published = [action for action in plan.actions if isinstance(action, Publish)]
    crashes = [action.at for action in plan.actions if isinstance(action, Crash)]

    assert {action.id for action in published} == {"event-1", "event-2"}
    assert 2 <= len(published) <= 4
    assert kinds(plan).count("Complete") == 1
    assert [action for action in plan.actions if isinstance(action, Advance)] in ([], [Advance("2h")])
    assert len(crashes) <= 2
    assert all(1 <= at <= MAX_COMMITS_TO_CRASH for at in crashes)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda plan: kinds(plan)[0] == "Complete",
        lambda plan: kinds(plan).count("Publish") == 4,
        lambda plan: "Advance" in kinds(plan)[:-1],
        lambda plan: kinds(plan)[-1] == "Advance",
        lambda plan: kinds(plan).count("Crash") == 2,
        lambda plan: any(action == Crash(MAX_COMMITS_TO_CRASH) for action in plan.actions),
        lambda plan: (
            [getattr(action, "id", "") for action in plan.actions[:3]] == ["event-2", "event-1", "event-2"]
        ),
    ],
)
def test_all_that_was_asked_for_is_tried(wanted: Callable[[Plan], bool]) -> None:
    find(ALL, wanted)


def test_a_plan_shrinks_to_the_order_that_was_given() -> None:
    plan = find(ALL, lambda plan: True)

    assert plan == Plan(
        Publish(Asked(topic="a"), id="event-1"),
        Publish(Closed(), id="event-2"),
        Complete(research, "the Moon"),
    )


def test_events_may_come_from_a_strategy_and_bring_ids_of_their_own() -> None:
    topics = st.builds(Asked, topic=st.sampled_from(["a", "b"]))
    some = st.lists(topics.map(lambda event: Publish(event, session="s", id="x")), min_size=1, max_size=3)

    plan = find(orders(some), lambda plan: len(plan.actions) == 2)

    assert plan == Plan(*[Publish(Asked(topic="a"), session="s", id="x")] * 2)


def test_without_anything_to_publish_there_are_no_duplicates() -> None:
    assert find(orders([Advance("1h")], duplicates=1), lambda plan: True) == Plan(Advance("1h"))
    assert find(orders([], duplicates=1), lambda plan: True) == Plan()


def test_what_is_no_duration_is_told_at_once() -> None:
    with pytest.raises(DeclarationError, match='"soon" is no duration'):
        orders([], late=["soon"])


@given(ALL)
def test_a_crash_changes_nothing_of_an_agent_that_decides_the_same_again(plan: Plan) -> None:
    simulation, calm = Simulation(agent), Simulation(agent)

    simulation.play(plan)
    calm.play(Plan(*(action for action in plan.actions if not isinstance(action, Crash))))

    assert simulation.ledger() == calm.ledger()
    assert [event.id for event in simulation.emitted] == [event.id for event in calm.emitted]


@given(ALL)
def test_no_order_duplicate_or_crash_answers_a_question_twice(plan: Plan) -> None:
    simulation = Simulation(agent)

    simulation.play(plan)

    assert simulation.dead_letters == []
    assert texts(simulation) in (["the Moon"], ["DeadlineExceeded"])


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import heed.sdk.testing.strategies"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "heed.sdk.testing.strategies needs hypothesis; install it: pip install hypothesis" in done.stderr
