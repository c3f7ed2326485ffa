"""A graph inside a task: LangGraph runs in the worker, the Agent says what starts it and what becomes of it."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from heed.sdk import Agent, Completed, Event, Failed, Reaction, TaskContext, emit, end

MAX_DRAFTS = 3


class Requested(Event, type="com.example.poem.requested"):
    """Somebody wants a poem."""

    about: str
    lines: int = 2


class Written(Event, type="com.example.poem.written"):
    """The poem."""

    text: str
    drafts: int


class Abandoned(Event, type="com.example.poem.abandoned"):
    """There is no poem, and why."""

    reason: str


class Draft(TypedDict):
    """What goes through the graph."""

    about: str
    wanted: int
    text: str
    drafts: int


def write(state: Draft) -> dict[str, object]:
    """A model would write; each draft of this one has a line more."""
    count = state["drafts"] + 1
    return {"drafts": count, "text": "\n".join(f"{state['about']}, {state['about']}" for _ in range(count))}


def judge(state: Draft) -> str:
    """Whether it goes on."""
    enough = len(state["text"].splitlines()) >= state["wanted"]
    return END if enough or state["drafts"] == MAX_DRAFTS else "write"


graph = StateGraph(Draft)  # writes until it is long enough
graph.add_node("write", write)
graph.add_edge(START, "write")
graph.add_conditional_edges("write", judge)
writing = graph.compile()


agent = Agent("poet")


@agent.task(timeout="5m")
async def compose(about: str, lines: int, task: TaskContext) -> Written:
    written = Written(text="", drafts=0)
    first: Draft = {"about": about, "wanted": lines, "text": "", "drafts": 0}
    async for draft in writing.astream(first, stream_mode="values"):
        written = Written(text=draft["text"], drafts=draft["drafts"])
        task.progress({"drafts": written.drafts})
    if len(written.text.splitlines()) < lines:
        raise RuntimeError(f"{MAX_DRAFTS} drafts were too short")
    return written


@agent.on
def begin(event: Requested) -> Reaction:
    return compose.start(about=event.about, lines=event.lines)


@agent.on(compose.completed, emits=[Written])  # as its code does not name the type
def deliver(done: Completed[Written]) -> Reaction:
    return [emit(done.result), end()]


@agent.on(compose.failed)
def abandon(failed: Failed) -> Reaction:
    return [emit(Abandoned(reason=failed.message or failed.reason)), end()]
