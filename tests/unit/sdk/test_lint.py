"""Warnings about handlers that emit what their code does not name."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from heed.sdk import Agent, Completed, Event, Failed, Progress, State, emit, end
from heed.sdk.lint import lint_code


class Asked(Event, type="com.example.asked"):
    """A question."""


class Answered(Event, type="com.example.answered"):
    """An answer, which a task gives as its result."""

    text: str = ""


class Note(BaseModel):
    """A result that is no event."""

    event: Answered = Answered()


class Known(State):
    """Holds an event."""

    answer: Answered = Answered()


agent = Agent("researcher", state=Known)


@agent.task()
def research() -> Answered:
    return Answered()


@agent.task()
def note() -> Note:
    return Note()


def told(trigger: Any, function: Callable[..., Any], **declared: Any) -> list[str]:
    """The warnings about a handler, of the form `what; remedy`."""
    one = Agent("one", state=Known)
    one.on(trigger, **declared)(function)
    problems = list(lint_code(one))
    assert all(problem.path == "spec.handlers[0].call.emits" for problem in problems)
    assert all(", whose type its code does not name" in problem.message for problem in problems)
    return [f"{problem.message.partition(',')[0]}; {problem.remedy}" for problem in problems]


def pass_on_result(done: Completed[Answered]) -> Any:
    return [emit(done.result), end()]


def pass_on_event(event: Asked) -> Any:
    return emit(event, to="other")


def pass_on_state(event: Asked, state: Known) -> Any:
    return emit(state.answer)


def pass_on_note(done: Completed[Note]) -> Any:
    return emit(done.result.event)


def pass_on_beside(done: Completed[Answered]) -> Any:
    return [emit(Asked()), emit(done.result)]


def pass_on_in_helper(event: Asked, state: Known) -> Any:
    return helper(state)


def helper(state: Known) -> Any:
    return emit(state.answer)


@pytest.mark.parametrize(
    ("trigger", "function", "warning"),
    [
        (research.completed, pass_on_result, "emits done.result; add emits=[Answered] to its decorator"),
        (Asked, pass_on_event, "emits event; add emits=[Asked] to its decorator"),
        (Asked, pass_on_state, "emits state.answer; add emits=[…] to its decorator"),
        (note.completed, pass_on_note, "emits done.result.event; add emits=[…] to its decorator"),
        (research.completed, pass_on_beside, "emits done.result; add emits=[Answered] to its decorator"),
        (Asked, pass_on_in_helper, "emits an event; add emits=[…] to its decorator"),
    ],
)
def test_what_is_emitted_and_not_named_is_warned_of(
    trigger: Any, function: Callable[..., Any], warning: str
) -> None:
    assert told(trigger, function) == [warning]


def test_what_is_declared_is_not_warned_of() -> None:
    assert told(research.completed, pass_on_result, emits=[Answered]) == []
    assert told(Asked, pass_on_in_helper, emits=[Answered]) == []


def name_result(done: Completed[Answered]) -> Any:
    return emit(Answered(text=done.result.text))


def name_variable(event: Asked) -> Any:
    answer = Answered()
    return emit(answer)


def name_anew(event: Any) -> Any:
    event = Answered()
    return emit(event)


def name_beside_state(event: Asked, state: Known) -> Any:
    return emit(state.answer if state.answer.text else Answered())


def name_of_failure(failed: Failed) -> Any:
    return emit(Answered(text=failed.reason))


def name_progress(progress: Progress) -> Any:
    return emit(Answered(text=progress.data))


def name_nothing(event: Asked) -> Any:
    return end()


@pytest.mark.parametrize(
    ("trigger", "function"),
    [
        (research.completed, name_result),
        (Asked, name_variable),
        (Asked, name_anew),
        (Asked, name_beside_state),
        (research.failed, name_of_failure),
        (research.progress, name_progress),
        (Asked, name_nothing),
    ],
)
def test_what_the_code_names_is_not_warned_of(trigger: Any, function: Callable[..., Any]) -> None:
    assert told(trigger, function) == []


def test_a_function_without_source_is_warned_of_in_general() -> None:
    made: dict[str, Any] = {"emit": emit, "Any": Any, "__name__": __name__}
    exec("def hidden(event: Any, state: Known) -> Any: return emit(state.answer)", made | globals(), made)

    assert told(Asked, made["hidden"]) == ["emits an event; add emits=[…] to its decorator"]
