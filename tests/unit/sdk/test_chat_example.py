"""The chat of examples/chat, in simulations."""

import asyncio
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.sdk.loading import load_module
from heed.sdk.testing import Simulation
from tests.markdown import ROOT


@pytest.fixture(scope="module")
def chat() -> ModuleType:
    """The module of the example."""
    return load_module(str(ROOT / "examples/chat/agent.py"))


def say(simulation: Simulation, chat: ModuleType, text: str) -> None:
    simulation.publish(chat.Said(chat="c-1", text=text))


def run_tasks(simulation: Simulation, chat: ModuleType, name: str) -> None:
    """End the oldest task of a name as its function ends."""
    task = getattr(chat, name)
    record = simulation.pending(task)[0]
    arguments: dict[str, Any] = task.parse_input(record.input)
    try:
        result = asyncio.run(task(**arguments))
    except LookupError as error:
        simulation.fail(task, "LookupError", str(error))
    else:
        simulation.complete(task, result)


def replies(simulation: Simulation) -> list[Any]:
    return [event.data["text"] for event in simulation.emitted if isinstance(event.data, dict)]


def lines(simulation: Simulation) -> list[tuple[str, str]]:
    return [(line.who, line.text) for line in simulation.state("c-1").lines]


def test_what_tools_find_becomes_part_of_the_conversation(chat: ModuleType) -> None:
    simulation = Simulation(chat.agent)
    say(simulation, chat, "What is the weather in Oslo and Lisbon?")

    run_tasks(simulation, chat, "think")
    assert [task.input for task in simulation.pending(chat.weather)] == [
        {"place": "Oslo"},
        {"place": "Lisbon"},
    ]
    run_tasks(simulation, chat, "weather")
    assert simulation.pending(chat.think) == []
    run_tasks(simulation, chat, "weather")
    run_tasks(simulation, chat, "think")

    assert replies(simulation) == ["snow in Oslo; sun in Lisbon."]
    assert lines(simulation)[1:3] == [("tool", "snow in Oslo"), ("tool", "sun in Lisbon")]


def test_a_tool_that_fails_ends_no_conversation(chat: ModuleType) -> None:
    simulation = Simulation(chat.agent)
    say(simulation, chat, "The weather in Atlantis?")
    run_tasks(simulation, chat, "think")

    for _ in range(3):
        run_tasks(simulation, chat, "weather")
        simulation.advance("1m")
    run_tasks(simulation, chat, "think")

    assert replies(simulation) == ["no answer (nobody knows the weather in Atlantis)."]


def test_what_is_said_meanwhile_has_its_turn_after_the_reply(chat: ModuleType) -> None:
    simulation = Simulation(chat.agent)
    say(simulation, chat, "one")
    say(simulation, chat, "two")
    say(simulation, chat, "three")

    for _ in range(3):
        run_tasks(simulation, chat, "think")

    assert replies(simulation) == [f'You said "{text}".' for text in ("one", "two", "three")]
    assert [who for who, _ in lines(simulation)] == ["user", "agent"] * 3


def test_an_hour_of_silence_is_followed_up_once(chat: ModuleType) -> None:
    simulation = Simulation(chat.agent)
    say(simulation, chat, "one")
    run_tasks(simulation, chat, "think")
    simulation.advance("50m")
    say(simulation, chat, "two")
    run_tasks(simulation, chat, "think")

    simulation.advance("50m")
    assert len(replies(simulation)) == 2
    simulation.advance("20m")
    simulation.advance("1d")

    assert replies(simulation)[2:] == ["Is there anything else?"]


def test_a_model_that_is_down_is_admitted(chat: ModuleType) -> None:
    simulation = Simulation(chat.agent)
    say(simulation, chat, "one")

    for _ in range(3):
        simulation.fail(chat.think, "Overloaded")
        simulation.advance("1m")

    assert replies(simulation) == ["Sorry, I cannot think just now."]


@given(texts=st.lists(st.sampled_from(["hello", "weather in Oslo", "weather in Rome"]), max_size=15))
def test_the_history_is_bounded_and_the_last_lines_are_kept(chat: ModuleType, texts: list[str]) -> None:
    simulation = Simulation(chat.agent)
    for text in texts:
        say(simulation, chat, text)
        while running := [task.task for task in simulation.pending() if task.task != "quiet"]:
            run_tasks(simulation, chat, running[0])
            simulation.advance("1m")

    assert len(replies(simulation)) == len(texts)
    assert simulation.dead_letters == []
    if texts:
        assert 2 <= len(lines(simulation)) <= chat.MAX_LINES
        assert lines(simulation)[-1] == ("agent", replies(simulation)[-1])
        assert ("user", texts[-1]) in lines(simulation)[-3:]
