"""Agents in Python under `heed dev`: their workers are child processes, which answer, run functions, die and change."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heed import names
from heed.core.events import Event
from tests.integration.local.examples import ANSWERED, ASKED, FAILED, Life, edit, life
from tests.integration.local.runs import until
from tests.nats_server import require_nats_server

CODE = """\
import asyncio
from pathlib import Path

from heed.sdk import Agent, Completed, Event, Failed, State, TaskContext, cancel, emit, end

HERE = Path(__file__).parent


class Asked(Event, type="com.example.question.asked"):
    topic: str


class Stopped(Event, type="com.example.question.stopped"):
    pass


class Answered(Event, type="com.example.question.answered"):
    topic: str
    answer: str


class Unanswered(Event, type="com.example.question.failed"):
    reason: str


class Research(State):
    topic: str | None = None


agent = Agent("researcher", state=Research, namespace="demo")


@agent.task(timeout="10m")
async def research(topic: str, task: TaskContext) -> str:
    with (HERE / "runs").open("a") as runs:
        print(task.id, file=runs)
    task.progress({"looking": topic})
    while not (HERE / "go").exists():
        await asyncio.sleep(0.02)
    if topic == "storms":
        raise LookupError("no book about storms")
    return f"all about {topic}"


@agent.on
def begin(event: Asked, state: Research):
    if state.topic:
        return None
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on
def stop(event: Stopped, state: Research):
    return cancel(research)


@agent.on(research.completed)
def conclude(done: Completed[str], state: Research):
    return [emit(Answered(topic=state.topic or "", answer=done.result)), end()]


@agent.on(research.failed)
def give_up(failed: Failed, state: Research):
    return [emit(Unanswered(reason=f"{failed.reason}: {failed.message}")), end()]
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The file of the Agent, whose task goes on once there is a file `go` beside it."""
    require_nats_server()
    (tmp_path / "agent").mkdir()
    file = tmp_path / "agent/agent.py"
    file.write_text(CODE)
    return file


@pytest.fixture
async def one(code: Path, tmp_path: Path) -> AsyncIterator[Life]:
    async with life(code, folder=tmp_path / "state") as made:
        yield made


def runs(code: Path) -> list[str]:
    """The attempts that were begun, as often as they were."""
    file = code.parent / "runs"
    return file.read_text().split() if file.exists() else []


def worker_of(one: Life) -> int:
    """The process that is the Agent's worker."""
    worker = one.bench._running["demo", "researcher"].worker
    assert worker is not None and worker.pid is not None
    return worker.pid


async def test_an_event_starts_a_function_whose_result_becomes_an_event(one: Life, code: Path) -> None:
    (code.parent / "go").touch()

    await one.ask("tides", "q-1")

    assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
    assert (await one.hears("decided", type=ASKED))["state"] == {"topic": "tides"}
    assert (await one.hears("decided", type=names.TASK_PROGRESS))["outcome"] == "ignored"


async def test_an_exception_of_a_function_says_its_line(one: Life, code: Path) -> None:
    (code.parent / "go").touch()

    await one.ask("storms", "q-1")

    line = CODE[: CODE.index("raise LookupError")].count("\n") + 1
    assert await one.emitted(FAILED) == {"reason": f"LookupError: no book about storms (agent.py:{line})"}


async def test_a_worker_that_dies_is_started_again_and_its_function_is_run_again(
    one: Life, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one.ask("tides", "q-1")
    await until(lambda: len(runs(code)) == 1, "the function runs")
    former = worker_of(one)

    os.kill(former, signal.SIGKILL)
    await one.hears("note", text="demo/researcher: the worker ended with -9; it is started again")
    (code.parent / "go").touch()

    assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
    assert worker_of(one) != former
    assert len(runs(code)) == 2 and len(set(runs(code))) == 1
    assert len(one.told("decided", type=names.TASK_COMPLETED)) == 1


async def test_a_cancelled_function_is_stopped_where_it_runs(one: Life, code: Path) -> None:
    await one.ask("tides", "q-1")
    await until(lambda: len(runs(code)) == 1, "the function runs")

    stop = Event("s", "/test", "com.example.question.stopped", {}, extensions={"correlationid": "q-1"})
    await one.bench.bus.publish(names.event_subject("demo", stop.type), stop)

    assert (await one.emitted(FAILED))["reason"].startswith("Cancelled")
    (code.parent / "go").touch()
    await one.ask("moons", "q-2")
    assert await one.emitted(ANSWERED) == {"topic": "moons", "answer": "all about moons"}
    assert len(runs(code)) == 2


async def test_an_edit_is_taken_up_and_a_mistake_in_it_leaves_the_last_good_code_running(
    one: Life, code: Path
) -> None:
    (code.parent / "go").touch()
    edit(code, 'return f"all about {topic}"', 'return f"all about {topic}')
    assert await one.bench.refresh()
    (problem,) = one.told("problem")
    line = CODE[: CODE.index("return f")].count("\n") + 1
    assert problem["path"] == f"{code}:{line}" and problem["message"].startswith("SyntaxError: ")

    edit(code, 'return f"all about {topic}', 'return f"more about {topic}"')
    assert await one.bench.refresh()
    await one.ask("tides", "q-1")

    assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "more about tides"}


async def test_another_life_goes_on_where_the_first_one_ended(code: Path, tmp_path: Path) -> None:
    async with life(code, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await until(lambda: len(runs(code)) == 1, "the function runs")
    (code.parent / "go").touch()

    async with life(code, folder=tmp_path / "state") as two:
        assert await two.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
