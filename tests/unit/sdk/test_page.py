"""The page on Agents in Python: what a reader would copy from it works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import ROOT, blocks, commands

PAGE = (ROOT / "docs/python.md").read_text()
HEED = [sys.executable, "-c", "from heed.cli.main import main; main()"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files, whose names are in their first lines, and something to simulate."""
    for block in blocks(PAGE, "python"):
        first, rest = block.split("\n", 1)
        if first.startswith("# "):
            (tmp_path / first.removeprefix("# ")).write_text(rest)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/policy.yaml").write_text(
        "apiVersion: heed.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: all}\nspec: {agentSelector: {}}\n"
    )
    question = '{"type": "com.example.question.asked", "data": {"topic": "tides"}}\n'
    (tmp_path / "events.jsonl").write_text(question)
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the folder, with this checkout's heed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_agent_has_at_most_forty_lines(folder: Path) -> None:
    lines = [line for line in (folder / "agent.py").read_text().splitlines() if line]

    assert len(lines) <= 40


def test_its_tests_pass(folder: Path) -> None:
    plugins = [
        *("-p", "no:heed", "-p", "heed.pytest_plugin"),
        *("-p", "no:cacheprovider", "-p", "no:asyncio"),
    ]

    result = run(folder, sys.executable, "-m", "pytest", "-q", *plugins, ".")

    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


def test_its_commands_do_what_it_says(folder: Path) -> None:
    typed = [words[1:] for words in commands(PAGE) if words[0] == "heed"]
    offline = [words for words in typed if words[0] in ("build", "validate", "simulate")]

    results = [run(folder, *HEED, *words) for words in offline]

    assert len(offline) == 5
    for words, result in zip(offline, results, strict=True):
        assert result.returncode == 0 or "heeded by no Agent" in result.stderr, (words, result.stderr)
    assert (folder / "asyncapi.yaml").read_text().startswith("asyncapi:")


def test_its_other_code_works(folder: Path) -> None:
    (upcast,) = [block for block in blocks(PAGE, "python") if not block.startswith("# ")]
    (folder / "upcast.py").write_text(upcast + "\nassert Research.load({'topic': 'x'}, {}).subject == 'x'\n")

    assert run(folder, sys.executable, "upcast.py").returncode == 0
