"""Agents whose decisions take long, and ways to look at the processes in which they are made."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.agents import program
from tests.integration.waiting import until
from tests.patience import PATIENCE

SEARCH = {
    "name": "search",
    "when": "event.data.words.all(w, !event.data.text.contains(w))",
    "state": {"n": "${1}"},
}
LONG = {"words": ["xz"] * 9000, "text": "x" * 850_000}  # 25 s, undisturbed
SHORT = {"words": ["xz"] * 1500, "text": "x" * 20_000}


STAND_IN = """#!{python}
import os, sys
from dataclasses import replace
from heed.core.cel.expression import Scope
from heed.core.schema.validator import SchemaValidator
from heed.sandbox import decision_worker

class Library:
    def eval(self, *given):
        {does}

def put_in():
    evaluate = Scope.evaluate
    Scope.evaluate = lambda self, expression: evaluate(self, replace(expression, compiled=Library()))
    SchemaValidator.problem = Library.eval

serve = decision_worker.DecisionWorker.serve
decision_worker.DecisionWorker.serve = lambda self: (put_in(), serve(self))
decision_worker.main(int(sys.argv[-2]), float(sys.argv[-1]))
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Have workers do this instead of asking a library to evaluate an expression, or to check data."""
    program = folder / "python"
    program.write_text(STAND_IN.format(python=sys.executable, does=does))
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def of(uid: str, *handlers: dict[str, Any], **spec: Any) -> Program:
    """An Agent with a uid of its own."""
    made = program(*handlers, **spec)
    return replace(made, agent=replace(made.agent, uid=uid))


def gone(pid: int) -> bool:
    """Whether there is no such process; one that has ended and was not waited for counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def cpu_of(pid: int) -> int:
    """Ticks of CPU time that a process has had."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


async def at_work(guard: DecisionPool, but: int | None = None) -> int:
    """The pid of a worker once it is busy with a decision."""
    seen: dict[int, int] = {}

    def busy() -> list[int]:
        pids = [pid for pid in guard.pids if pid != but]
        return [pid for pid in pids if cpu_of(pid) > seen.setdefault(pid, cpu_of(pid)) + 10]

    await until(lambda: bool(busy()), PATIENCE)
    return busy()[0]


def code_and_handler(decision: Decision) -> tuple[str, str | None]:
    """Code and handler of the dead letter that a decision is."""
    assert decision.letter is not None, decision.outcome
    return decision.letter.code, decision.letter.handler
