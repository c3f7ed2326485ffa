"""What pyright in its strict mode says of Agents: nothing of good ones, and of each mistake its line."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.markdown import ROOT, blocks
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import graph_python, type_checker

GRAPH = ROOT / "examples/graph/agent.py"  # imports LangGraph
EXAMPLES = sorted(set((ROOT / "examples").glob("*/agent.py")) - {GRAPH})
MISTAKES = """
from pydantic import BaseModel

from heed.sdk import Agent, Completed, Event, State, emit


class Asked(Event, type="com.example.asked"):
    topic: str


class Answer(BaseModel):
    text: str


class Research(State):
    topic: str | None = None


agent = Agent("researcher", state=Research)


@agent.task(timeout="10m")
async def research(topic: str) -> Answer:
    return Answer(text=topic)


@agent.on(Asked)
def begin(event: Asked, state: Research):
    return state.set(topic=event.subject_line), [research.start(topic=event.topic)]  # wrong: no such member


@agent.on(research.completed)  # wrong: it has another result
def conclude(done: Completed[int], state: Research):
    return emit(Asked(topic=str(done.result)))


@agent.on(research.completed)
def conclude_again(done: Completed[Answer], state: Research):
    return emit(Asked(topic=done.result.words))  # wrong: no such member of the result
"""


def configure(folder: Path, python: Path, **more: str) -> None:
    """Have pyright look at a folder strictly, with this checkout's heed and the packages of a Python."""
    environment = python.parents[1]
    settings: dict[str, Any] = {
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "operator")],
        "venvPath": str(environment.parent),
        "venv": environment.name,
        "reportUnknownParameterType": "none",  # what a handler returns need not be written down
        **more,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for files that are looked at."""
    configure(tmp_path, Path(sys.prefix) / "bin/python")
    return tmp_path


def complaints(folder: Path) -> list[tuple[str, int]]:
    """File and line, which counts from 1, of each error."""
    with skipping_unavailable():
        command = type_checker()
    done = subprocess.run([*command, "--outputjson"], cwd=folder, text=True, capture_output=True, timeout=180)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > 0
    found = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    return sorted({(Path(item["file"]).name, item["range"]["start"]["line"] + 1) for item in found})


def test_the_examples_and_the_pages_agent_are_in_order(folder: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        shutil.copy(example, folder / f"agent_{number}.py")
    (shown,) = (
        code
        for code in blocks((ROOT / "docs/python.md").read_text(), "python")
        if code.startswith("# agent.py")
    )
    (folder / "shown.py").write_text(shown)

    assert len(EXAMPLES) >= 3
    assert complaints(folder) == []


def test_the_example_with_langgraph_is_in_order(folder: Path) -> None:
    with skipping_unavailable():
        python = graph_python([sysconfig.get_path("purelib"), str(ROOT / "operator")])
    # LangGraph has no stubs, and leaves type arguments of its own out.
    configure(folder, python, reportMissingTypeStubs="none", reportUnknownMemberType="none")
    shutil.copy(GRAPH, folder)

    assert complaints(folder) == []


def test_a_mistake_is_told_with_its_line(folder: Path) -> None:
    (folder / "mistakes.py").write_text(MISTAKES)

    marked = [number for number, line in enumerate(MISTAKES.splitlines(), 1) if "# wrong" in line]
    assert complaints(folder) == [("mistakes.py", number) for number in marked]
