"""What type checkers know of Agents in Python: `make types` reads this file, and pyright may; a cast is needed nowhere.

A mistake that has to be found is marked with `type: ignore`, which is one itself where there is nothing to ignore.
"""

from typing import assert_type

from pydantic import BaseModel

from heed.sdk import (
    Agent,
    Choice,
    Completed,
    Event,
    Failed,
    Progress,
    Reaction,
    Session,
    Start,
    State,
    TaskContext,
    Tick,
    emit,
    end,
    hold,
)


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str


class Answer(BaseModel):
    """What is found."""

    text: str


class Known(State):
    """What is known."""

    topic: str | None = None


agent = Agent("researcher", state=Known)


@agent.task(timeout="1m")
async def research(topic: str, task: TaskContext) -> Answer:
    return Answer(text=topic)


@agent.task()
def count(topic: str) -> int:
    return len(topic)


lookup = agent.job("lookup", image="example:1", result=Answer)
anything = agent.job("anything", image="example:1")
ask = agent.approval("ask", title="May it?", users=["ann"])


@agent.on
def begin(event: Asked, state: Known) -> Reaction:
    assert_type(state.set(topic="x"), Known)
    assert_type(research.start(topic=event.topic), Start)
    if event.topic == "later":
        return hold("1h")
    if event.topic == "both":
        return state, [research.start(topic="x"), emit(event), end()]
    return state.set(topic=event.topic), [research.start(topic=event.topic), count.start(topic=event.topic)]


@agent.on(research.completed)
def conclude(done: Completed[Answer], state: Known, session: Session) -> Reaction:
    assert_type(done.result, Answer)
    return [emit(Asked(topic=done.result.text)), end()]


@agent.on(count.completed)
async def counted(done: Completed[int]) -> Reaction:
    assert_type(done.result + 1, int)
    return None


@agent.on(lookup.completed)
def looked(done: Completed[Answer]) -> None: ...


@agent.on(anything.completed)
def found(done: Completed[list[str]]) -> None: ...


@agent.on(ask.completed)
def answered(done: Completed[Choice]) -> None: ...


@agent.on(lookup.failed)
def failed(event: Failed) -> None: ...


@agent.on(lookup.progress)
def said(event: Progress) -> None: ...


@agent.every("1h")
def tick(event: Tick, state: Known) -> Known:
    return state


wrong = Agent("wrong", state=Known)


def no_mistakes() -> None:
    """Declarations that type checkers refuse; most raise DeclarationError where they are made, so they are not run."""

    @wrong.on(research.completed)  # type: ignore[arg-type]
    def of_another_result(done: Completed[int]) -> None: ...

    @wrong.on(research.failed)  # type: ignore[arg-type]
    def of_another_end(done: Completed[Answer]) -> None: ...

    @wrong.on(Asked)  # type: ignore[arg-type]
    def of_another_event(event: Tick) -> None: ...

    @wrong.on  # type: ignore[type-var]
    def of_no_reaction(event: Asked) -> int:
        return 1

    @wrong.every("1h")  # type: ignore[arg-type]
    def of_no_tick(event: Asked) -> None: ...


def test_a_decorated_function_is_still_what_it_was() -> None:
    assert_type(begin(Asked(topic="x"), Known()), Reaction)
    assert begin(event=Asked(topic="x"), state=Known()) == (
        Known(topic="x"),
        [research.start(topic="x"), count.start(topic="x")],
    )
    assert conclude(Completed(Answer(text="y")), Known(), Session("q")) == [emit(Asked(topic="y")), end()]
    assert tick(Tick(timer="tick", scheduled_at=""), Known()).topic is None
