"""Processes of workers from outside, with scripts that stand in for them: what they are given, say, and die of."""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from heed.core.decision.model import Decision
from heed.core.ledger.ledger import Ledger
from heed.errors import GuardUnavailable
from heed.sandbox import decision_pool, decision_worker
from heed.sandbox.decision_pool import DecisionPool, _Conversation
from heed.sandbox.decision_worker import DecisionRequest, ProgramSource
from heed.sandbox.supervisor import Supervisor, WorkerDied, WorkerProcess, WorkerSpec
from heed.sandbox.worker import read_frame
from tests.builders.agents import program
from tests.builders.events import received
from tests.patience import PATIENCE

AGENT = program({"state": {"seen": "${event.id}"}})
EVENT, LEDGER = received(7), Ledger()
REQUEST = DecisionRequest(3, AGENT.agent, AGENT.generation, None, LEDGER, EVENT, {"ahead": True})
DECISION = Decision(EVENT, LEDGER, "handled", handlers=("h0",))
ANSWER = decision_worker.pack_decision(DECISION, decision_worker.shared_records(LEDGER, EVENT))
PYTHON = sys.executable
SPEC = WorkerSpec(
    "heed.sandbox.decision_worker", 64, 1.5, start_s=PATIENCE, answer_s=PATIENCE, unavailable=GuardUnavailable
)
AT = b'@["spec.handlers[0]", "search"]'

SCRIPT = """#!{python} -S
import os, signal, struct, sys, time

def say(*frames):
    os.write(1, b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

def hear():
    (length,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    with open({folder!r} + "/heard", "ab") as heard:
        heard.write(struct.pack(">I", length) + sys.stdin.buffer.read(length))
    with open({folder!r} + "/asked", "a") as asked:
        print(os.getpid(), file=asked)

ANSWER = {answer!r}
{does}
"""


class Stage:
    """Where scripts stand in for workers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.workers: list[WorkerProcess] = []

    def plays(self, does: str) -> None:
        """What is started from now on does this."""
        script = self.folder / "python"
        script.write_text(SCRIPT.format(python=PYTHON, folder=str(self.folder), answer=ANSWER, does=does))
        script.chmod(0o700)
        self.patch.setattr(sys, "executable", str(script))

    async def worker(self, does: str) -> WorkerProcess:
        self.plays(does)
        self.workers.append(await WorkerProcess.started(SPEC))
        return self.workers[-1]

    def heard(self) -> list[Any]:
        """What they were asked."""
        with (self.folder / "heard").open("rb") as source:
            return [pickle.loads(data) for data in iter(lambda: read_frame(source), None)]

    def asked(self) -> list[int]:
        """Who was asked, by pids in order."""
        return [int(line) for line in (self.folder / "asked").read_text().split()]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, monkeypatch)
    yield made
    for item in made.workers:
        await item.end()


async def decided(made: WorkerProcess, conversation: _Conversation | None = None) -> Decision:
    """A decision of this worker. Raises WorkerDied."""
    return await Supervisor(SPEC)._converse(made, (conversation or _Conversation(AGENT, REQUEST)).decide)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# ── what it is asked, and says ──────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_asked_and_its_answer_is_the_decision(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"=" + ANSWER); hear(); say(b"=" + ANSWER); hear()')

    decisions = [await decided(made) for _ in range(2)]

    assert decisions == [DECISION, DECISION]
    assert decisions[0].received is EVENT
    assert stage.heard() == [REQUEST, REQUEST]
    assert made.usable


async def test_one_that_does_not_know_the_program_is_told_its_source(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"?"); hear(); say(b"=" + ANSWER); hear()')

    assert await decided(made) == DECISION

    first, second = stage.heard()
    assert first == REQUEST
    assert (second.number, second.more, second.source) == (3, REQUEST.more, ProgramSource.of(AGENT))


async def test_one_that_says_so_is_asked_no_more(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"." + ANSWER); hear()')

    assert await decided(made) == DECISION

    assert not made.usable
    assert not exists(made.pid)


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGPROF)", -signal.SIGPROF),
        ('os.write(1, bytes([0, 0, 0, 9]) + b"=half"); sys.exit(4)', 4),
        ('say(b"=nothing that could be read"); hear()', None),
    ],
    ids=["exit", "signal", "half a frame", "no decision"],
)
@pytest.mark.parametrize(
    ("said", "place"),
    [(b"", (None, None)), (AT, ("spec.handlers[0]", "search"))],
    ids=["nowhere", "somewhere"],
)
async def test_of_one_that_dies_is_known_what_it_was_at(
    stage: Stage, does: str, code: int | None, said: bytes, place: tuple[str | None, str | None]
) -> None:
    frames = [b"=" + ANSWER, *([said] if said else [])]
    script = f'say(b"!"); hear(); say({AT!r}); say({b"=" + ANSWER!r}); hear(); say(*{frames[1:]!r}); {does}'
    made = await stage.worker(script)
    await decided(made)

    conversation = _Conversation(AGENT, REQUEST)
    with pytest.raises(WorkerDied) as caught:
        await decided(made, conversation)

    assert (caught.value.code, (conversation.place, conversation.handler)) == (code, place)
    assert (made.usable, exists(made.pid)) == (False, False)


# ── who is asked ────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN = 'say(b"!")\nwhile True:\n    hear(); say(b"=" + ANSWER)'


async def test_a_slow_agent_is_apart_for_so_many_decisions_and_then_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_pool, "PROBATION_EVENTS", 3)
    stage.plays(PLAIN)
    guard = DecisionPool(64, 1.5)
    assert guard.pids == []

    for slow in (-1.0, *[10.0**6] * 5):  # seconds that a decision may take
        monkeypatch.setattr(decision_pool, "SLOW_DECISION_S", slow)
        assert await guard.decide(AGENT, REQUEST) == DECISION

    common, apart = guard.pids
    assert stage.asked() == [common, apart, apart, apart, common, common]
    await guard.close()
    assert (guard.pids, exists(common), exists(apart)) == ([], False, False)
    with pytest.raises(GuardUnavailable, match=r"^no more decisions are made here$"):
        await guard.decide(AGENT, REQUEST)


async def test_the_lane_of_one_that_died_gets_another(stage: Stage) -> None:
    guard = DecisionPool(64, 1.5)
    stage.plays('say(b"!"); hear(); sys.exit(3)')
    gone = guard._common._worker = await WorkerProcess.started(SPEC)
    stage.plays(PLAIN)

    assert await guard.decide(AGENT, REQUEST) == DECISION

    (pid,) = guard.pids
    assert stage.asked() == [gone.pid, pid]
    await guard.close()
