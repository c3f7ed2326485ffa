"""Simulations: an Agent's real decisions, with the world in the test's hands."""

import inspect
import itertools
from typing import Any

import pytest
from pydantic import BaseModel

from heed.core.events import Event as CloudEvent
from heed.errors import InvalidManifest
from heed.sdk import (
    Agent,
    Backoff,
    Choice,
    Completed,
    Event,
    Failed,
    HoldExpired,
    Reaction,
    SessionExpired,
    State,
    Tick,
    cancel,
    emit,
    end,
    hold,
)
from heed.sdk.testing import Simulation


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str


class Answered(Event, type="com.example.answered"):
    """An answer."""

    text: str


class Answer(BaseModel):
    """What is found."""

    text: str


class Known(State):
    """What is known."""

    topic: str | None = None
    notes: list[str] = []


agent = Agent("researcher", state=Known, idle_timeout="1h", on_expire="Emit")
ask = agent.approval("ask", title="May it?", users=["ann"], choices=["approve", "reject"], timeout="1d")
pause = agent.wait("pause", duration="10m")


@agent.task(timeout="30m", retries=1, backoff=Backoff(initial="10s"))
def research(topic: str) -> Answer:
    return Answer(text=topic)


@agent.on
def begin(event: Asked, state: Known) -> Reaction:
    if event.topic == "loop":
        return emit(Asked(topic="loop"))
    if event.topic == "ask":
        return state, [ask.start({"why": "x"})]
    if event.topic == "pause":
        return state, [pause.start()]
    if event.topic == "cancel":
        return state, [cancel(research)]
    if event.topic == "late" and state.topic is None:
        return hold("5m", on_expire="Handle")
    if event.topic == "broken":
        raise LookupError("no such topic")
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on(research.completed)
def conclude(done: Completed[Answer], state: Known) -> Reaction:
    return [emit(Answered(text=done.result.text)), end()]


@agent.on(research.failed)
def give_up(failed: Failed, state: Known) -> Reaction:
    return state.set(notes=[*state.notes, f"{failed.reason} after {failed.attempt}"])


@agent.on(ask.completed)
def answered(done: Completed[Choice]) -> Reaction:
    return emit(Answered(text=f"{done.result.answered_by}: {done.result.choice} {done.result.fields}"))


@agent.on(pause.completed)
def resumed(done: Completed[None], state: Known) -> Reaction:
    return state.set(notes=[*state.notes, "resumed"])


@agent.on
def too_late(expired: HoldExpired) -> Reaction:
    return emit(Answered(text=f"{expired.event['data']['topic']} is too late"))


@agent.on
def forgotten(expired: SessionExpired) -> Reaction:
    return emit(Answered(text=f"{expired.reason}: {expired.state.get('topic')}"))


def test_publish_and_complete() -> None:
    simulation = Simulation(agent)

    simulation.publish(Asked(topic="tides"), session="q")

    assert simulation.state() == simulation.state("q") == Known(topic="tides")
    assert [task.input for task in simulation.pending(research)] == [{"topic": "tides"}]
    simulation.complete(research, Answer(text="the Moon"))
    simulation.assert_emitted(Answered(text="the Moon"))
    assert (simulation.state("q"), simulation.pending(), simulation.dead_letters) == (None, [], [])


def test_sessions_are_told_apart() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="a")
    simulation.publish(Asked(topic="comets"), session="b")

    simulation.complete("research", {"text": "ice"}, session="b")

    assert [task.session for task in simulation.pending()] == ["a"]
    assert simulation.pending(session="b") == []
    simulation.publish(Asked(topic="more"), session="c")
    with pytest.raises(AssertionError, match="there are 2 sessions, name one: a, c"):
        simulation.state()


def test_a_failed_attempt_is_tried_again_with_the_clock() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="q")

    simulation.fail(research, "Evicted")

    assert simulation.state().notes == []
    simulation.advance("5m")
    assert [task.attempt for task in simulation.pending(research)] == [2]
    simulation.fail(research, "Evicted", "again")
    assert simulation.state().notes == ["Evicted after 2"]


def test_a_task_has_a_deadline() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="q")
    simulation.advance("29m")
    assert simulation.state().notes == []

    simulation.advance("2m")

    assert simulation.state().notes == ["DeadlineExceeded after 1"]


def test_a_wait_ends_with_the_clock() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="pause"), session="q")
    before = simulation.now

    simulation.advance("9m")
    assert simulation.state().notes == []
    simulation.advance("2m")

    assert simulation.state().notes == ["resumed"]
    assert (simulation.now - before).total_seconds() >= 660


def test_an_approval_is_answered() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="ask"), session="q")

    simulation.answer(ask, "reject", user="ann")

    simulation.assert_emitted(Answered(text="ann: reject {}"))


def test_a_cancelled_task_is_heard_of() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="q")

    simulation.publish(Asked(topic="cancel"), session="q")

    assert simulation.state().notes == ["Cancelled after 1"]


def test_an_event_is_held_until_the_state_changes() -> None:
    simulation = Simulation(agent)

    simulation.publish(Asked(topic="late"), session="q")
    assert (simulation.state("q"), simulation.pending()) == (None, [])
    simulation.publish(Asked(topic="tides"), session="q")

    assert simulation.state() == Known(topic="late")
    assert [task.input for task in simulation.pending()] == [{"topic": "tides"}, {"topic": "late"}]


def test_an_event_that_is_held_for_too_long() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="late"), session="q")

    simulation.advance("6m")

    simulation.assert_emitted(Answered(text="late is too late"))


def test_an_idle_session_expires() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="q")
    simulation.complete(research, {"text": 3}, session="q")  # a bad result, so the session stays

    simulation.advance("2h")

    simulation.assert_emitted(Answered(text="Idle: tides"))
    assert [str(item).split(": ")[1] for item in simulation.dead_letters] == ["BadResult"]


def test_a_second_event_of_an_id_is_a_duplicate() -> None:
    simulation = Simulation(agent)

    assert simulation.publish(Asked(topic="tides"), session="q", id="1") == "1"
    simulation.publish(Asked(topic="comets"), session="q", id="1")

    assert simulation.state() == Known(topic="tides")
    assert simulation.ledger().totals.duplicates == 1


def test_events_of_cloudevents_are_published_too() -> None:
    simulation = Simulation(agent)

    simulation.publish(
        CloudEvent("7", "/s", "com.example.asked", {"topic": "x"}, datacontenttype="application/json")
    )

    assert simulation.state("7") == Known(topic="x")


def test_an_event_of_a_class_of_several_types_is_published_as_one_of_them() -> None:
    class Wild(Event, type="com.example.*.seen"):
        """Events of several types."""

    made = Agent("wild")

    @made.on
    def begin(event: Wild) -> Reaction:
        return emit(Answered(text=event.meta.type))

    simulation = Simulation(made)
    simulation.publish(Wild(), type="com.example.bird.seen")

    simulation.assert_emitted(Answered(text="com.example.bird.seen"))
    with pytest.raises(
        ValueError, match=r'"com.example.\*.seen" is no single type of an event; say which it is'
    ):
        simulation.publish(Wild())


def test_what_cannot_be_decided_is_a_dead_letter_that_assertions_tell_of() -> None:
    simulation = Simulation(agent)

    simulation.publish(Asked(topic="broken"), session="q")

    (letter,) = simulation.dead_letters
    lines, first = inspect.getsourcelines(begin)
    line = first + next(index for index, text in enumerate(lines) if "raise" in text)
    assert str(letter) == (
        f"com.example.asked: HandlerFailed: begin (test_simulation.py:{line}): LookupError: no such topic"
    )
    with pytest.raises(AssertionError) as caught:
        simulation.assert_emitted(Answered(text="x"))
    assert str(caught.value).splitlines() == [
        "these were to be emitted:",
        "  com.example.answered {'text': 'x'}",
        "and these were:",
        f"dead letter: {letter}",
    ]
    with pytest.raises(AssertionError, match=r"no task research is open; open are: none\ndead letter: "):
        simulation.complete(research, None)


def test_assertions_name_what_was_emitted_in_order() -> None:
    simulation = Simulation(agent)
    simulation.publish(Asked(topic="tides"), session="q")
    simulation.complete(research, Answer(text="the Moon"))

    with pytest.raises(AssertionError, match=r"and these were:\n  com.example.answered {'text': 'the Moon'}"):
        simulation.assert_emitted()
    simulation.assert_emitted(Answered(text="the Moon"))
    simulation.assert_emitted()  # since the last such call


def test_an_agent_that_goes_round_in_circles_is_stopped() -> None:
    simulation = Simulation(agent)

    simulation.publish(Asked(topic="loop"), session="q")

    assert [item.cause.code for item in simulation.dead_letters] == ["HopLimit"]


def random_agent() -> tuple[Agent, Any]:
    """An Agent that answers something else each time, and how often it did."""
    numbers = itertools.count()
    made = Agent("random")

    @made.on
    def begin(event: Asked) -> Reaction:
        return emit(Answered(text=str(next(numbers))))

    return made, numbers


def test_after_a_crash_each_decision_is_made_twice_and_the_second_one_counts() -> None:
    made, _ = random_agent()
    simulation = Simulation(made)
    simulation.publish(Asked(topic="x"), session="a")

    simulation.crash()
    simulation.publish(Asked(topic="x"), session="b")
    simulation.crash()
    simulation.publish(Asked(topic="x"), session="c")

    simulation.assert_emitted(*(Answered(text=text) for text in ("0", "2", "4")))


def test_timers_tick_with_the_clock() -> None:
    made = Agent("clock")

    @made.every("10m", session="'all'")
    def tick(tick: Tick) -> Reaction:
        return emit(Answered(text=tick.timer))

    simulation = Simulation(made)
    simulation.publish(Asked(topic="x"))  # from here on the timer runs

    simulation.advance("31m")

    assert [event.data for event in simulation.emitted] == [{"text": "tick"}] * 3


def test_agents_of_two_kinds_hear_each_other() -> None:
    declared = {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "reader"},
        "spec": {
            "subscribe": [{"type": "com.example.answered"}],
            "handlers": [
                {"name": "read", "type": "com.example.answered", "state": {"read": "${event.data.text}"}}
            ],
        },
    }
    made, _ = random_agent()
    simulation = Simulation(made, declared)

    simulation.publish(Asked(topic="x"), session="q")

    assert simulation.state("q", agent="reader") == {"read": "0"}
    assert simulation.ledger("reader").totals.handled == 1
    assert simulation.ledger(made).totals.handled == simulation.ledger().totals.handled == 1


def test_an_event_to_one_agent_is_heard_by_it_alone() -> None:
    made, _ = random_agent()
    simulation = Simulation(made, agent)

    simulation.publish(Asked(topic="tides"), session="q", to="researcher")

    assert simulation.ledger(made).totals.handled == 0
    assert simulation.state("q", agent) == Known(topic="tides")


def test_what_cannot_wait_is_not_held() -> None:
    made = Agent("holding")

    @made.task()
    def work() -> None: ...

    @made.on
    def begin(event: Asked) -> Reaction:
        return work.start()

    @made.on(work.completed)
    def wait(done: Completed[None]) -> Reaction:
        return hold("1h")

    simulation = Simulation(made)
    simulation.publish(Asked(topic="x"), session="q")
    simulation.complete(work)

    (letter,) = simulation.dead_letters
    assert letter.cause.code == "BadAnswer"
    assert "wait (test_simulation.py:" in letter.cause.message
    assert "holds dev.heed.task.completed, which cannot wait" in letter.cause.message


def test_undeclared_effects_are_dead_letters_with_the_functions_line() -> None:
    made = Agent("undeclared")

    @made.task()
    def work() -> None: ...

    @made.on(Asked, starts=[], emits=[])
    def begin(event: Asked) -> Reaction:
        return work.start() if event.topic == "start" else emit(Answered(text="x"))

    simulation = Simulation(made)
    simulation.publish(Asked(topic="start"))
    simulation.publish(Asked(topic="emit"))

    assert [item.cause.code for item in simulation.dead_letters] == ["Undeclared", "Undeclared"]
    place = f"begin (test_simulation.py:{begin.__code__.co_firstlineno})"
    assert all(place in item.cause.message for item in simulation.dead_letters)


def test_a_handler_that_does_not_act_leaves_the_event_ignored() -> None:
    made = Agent("idle")

    @made.on
    def begin(event: Asked) -> Reaction:
        return None

    simulation = Simulation(made)
    simulation.publish(Asked(topic="x"), session="q")

    totals = simulation.ledger().totals
    assert (totals.ignored, totals.handled, simulation.state("q")) == (1, 0, None)


def test_an_agent_that_the_operator_would_refuse_is_told_with_its_lines() -> None:
    made = Agent("wrong")

    @made.on(Asked, when="evnt.data.x")
    def begin(event: Asked) -> Reaction: ...

    with pytest.raises(InvalidManifest) as caught:
        Simulation(made)

    line = begin.__code__.co_firstlineno
    assert f"test_simulation.py:{line}: spec.handlers[0].when: begin(): " in str(caught.value)


def test_a_simulation_needs_an_agent() -> None:
    with pytest.raises(ValueError, match="a simulation needs an Agent"):
        Simulation()
