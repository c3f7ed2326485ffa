"""A chat: what people say, a model that may ask for tools, tools side by side, and a follow-up when it is quiet."""

import re
from typing import Literal

from pydantic import BaseModel

from heed.sdk import Agent, Completed, Event, Failed, Reaction, State, cancel, emit, hold

MAX_LINES = 20  # of a conversation are kept: a state is stored whole with each event
WEATHER = {"Oslo": "snow", "Lisbon": "sun"}


class Said(Event, type="com.example.chat.said"):
    """Somebody says something in a chat."""

    chat: str
    text: str


class Replied(Event, type="com.example.chat.replied"):
    """The Agent says something in a chat."""

    chat: str
    text: str


class Line(BaseModel):
    """What was said, or what a tool found."""

    who: Literal["user", "agent", "tool"]
    text: str


class Turn(BaseModel):
    """What the model makes of a conversation: a reply, or the places whose weather it has to know for one."""

    reply: str | None = None
    tools: list[str] = []


class Chat(State):
    """A conversation."""

    chat: str = ""
    lines: list[Line] = []

    def add(self, who: Literal["user", "agent", "tool"], text: str) -> "Chat":
        """The conversation with one more line, without the oldest ones."""
        return self.set(lines=[*self.lines, Line(who=who, text=text)][-MAX_LINES:])


agent = Agent("chat", state=Chat, key="event.data.chat", idle_timeout="7d")
quiet = agent.wait("quiet", duration="1h")


@agent.task(timeout="5m", retries=2)
async def think(lines: list[Line]) -> Turn:
    """A model, with all that it needs in its input. This one knows two questions."""
    since = lines[max((number for number, line in enumerate(lines, 1) if line.who == "agent"), default=0) :]
    question = " ".join(line.text for line in since if line.who == "user")
    found = [line.text for line in since if line.who == "tool"]
    places = re.findall(r"[A-Z]\w+", question.partition("weather")[2])
    if places and not found:
        return Turn(tools=places)
    return Turn(reply=f"{'; '.join(found)}." if found else f'You said "{question}".')


@agent.task(timeout="5m", retries=2)
async def weather(place: str) -> str:
    """A tool."""
    if place not in WEATHER:
        raise LookupError(f"nobody knows the weather in {place}")
    return f"{WEATHER[place]} in {place}"


@agent.on
def listen(event: Said, state: Chat) -> Reaction:
    if state.pending(think) or state.pending(weather):
        return hold("1h")  # until what was said before has its reply
    heard = state.set(chat=event.chat).add("user", event.text)
    return heard, [cancel(quiet), think.start(lines=heard.lines)]


@agent.on(think.completed)
def take_turn(done: Completed[Turn], state: Chat) -> Reaction:
    if done.result.tools:
        return state, [weather.start(place=place) for place in done.result.tools]
    return reply(state, done.result.reply or "")


@agent.on(think.failed)
def apologize(failed: Failed, state: Chat) -> Reaction:
    return reply(state, "Sorry, I cannot think just now.")


@agent.on(weather.completed)
def use_tool(done: Completed[str], state: Chat) -> Reaction:
    return think_again(state.add("tool", done.result))


@agent.on(weather.failed)
def do_without_tool(failed: Failed, state: Chat) -> Reaction:
    return think_again(state.add("tool", f"no answer ({failed.message or failed.reason})"))


@agent.on(quiet.completed)
def follow_up(done: Completed[None], state: Chat) -> Reaction:
    text = "Is there anything else?"
    return state.add("agent", text), emit(Replied(chat=state.chat, text=text))


def think_again(state: Chat) -> Reaction:
    """Give the model what the tools found, once all have ended."""
    return state if state.pending(weather) else (state, think.start(lines=state.lines))


def reply(state: Chat, text: str) -> Reaction:
    """Say it, and wait for an hour of silence."""
    return state.add("agent", text), [emit(Replied(chat=state.chat, text=text)), quiet.start()]
