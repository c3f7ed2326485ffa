"""The researcher in Python: the handlers of agent.yaml as functions, and the Job as a function that a worker runs."""

import asyncio

from pydantic import BaseModel

from heed.sdk import Agent, Completed, Event, Failed, Reaction, State, TaskContext, emit, end

FACTS = {
    "comets": "Their tails point away from the Sun.",
    "tides": "The Moon pulls the sea, and the Earth turns under it.",
}


class Asked(Event, type="com.example.question.asked"):
    """Somebody wants to know something."""

    topic: str


class Answered(Event, type="com.example.question.answered"):
    """The answer to a question."""

    topic: str
    answer: str


class Unanswered(Event, type="com.example.question.failed"):
    """There is no answer to a question."""

    topic: str
    reason: str


class Answer(BaseModel):
    """What the research finds."""

    answer: str


class Research(State):
    """What is known of one question."""

    topic: str | None = None
    answer: str | None = None


agent = Agent("researcher", state=Research, idle_timeout="1h")
agent.subscribe(Asked, where="has(event.data.topic) && event.data.topic != ''")


@agent.task(timeout="2m")
async def research(topic: str, task: TaskContext) -> Answer:
    for source in ("the library", "an almanac", "an old sailor"):
        task.progress(f"asking {source} about {topic}")
        await asyncio.sleep(0.4)
    if topic not in FACTS:
        raise LookupError(f"nobody knows about {topic}; try {' or '.join(FACTS)}")
    return Answer(answer=FACTS[topic])


@agent.on(Asked)
def begin(event: Asked, state: Research) -> Reaction:
    if state.topic:
        return None
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on(research.completed)
def conclude(done: Completed[Answer], state: Research) -> Reaction:
    answer = done.result.answer
    return state.set(answer=answer), [emit(Answered(topic=state.topic or "", answer=answer))]


@agent.on(research.failed)
def give_up(failed: Failed, state: Research) -> Reaction:
    reason = failed.reason if failed.message is None else failed.message
    return [emit(Unanswered(topic=state.topic or "", reason=reason)), end()]
