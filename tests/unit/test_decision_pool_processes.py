"""Processes of workers from outside, with scripts that stand in for them: what they are given, say, and die of."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import heed
from heed.core.decision.model import Decision
from heed.core.ledger.ledger import Ledger
from heed.errors import GuardUnavailable
from heed.sandbox import decision_pool, decision_worker
from heed.sandbox.decision_pool import Guard, _Died, _Worker
from heed.sandbox.decision_worker import Request, Source
from tests.integration.waiting import until
from tests.unit.builders import program, received

AGENT = program({"state": {"seen": "${event.id}"}})
EVENT, LEDGER = received(7), Ledger()
REQUEST = Request(3, AGENT.agent, AGENT.generation, None, LEDGER, EVENT, {"ahead": True})
DECISION = Decision(EVENT, LEDGER, "handled", handlers=("h0",))
ANSWER = decision_worker.packed(DECISION, decision_worker.landmarks(LEDGER, EVENT))
PYTHON = sys.executable
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
        self.workers: list[_Worker] = []

    def plays(self, does: str) -> None:
        """What is started from now on does this."""
        script = self.folder / "python"
        script.write_text(SCRIPT.format(python=PYTHON, folder=str(self.folder), answer=ANSWER, does=does))
        script.chmod(0o700)
        self.patch.setattr(sys, "executable", str(script))

    async def worker(self, does: str) -> _Worker:
        self.plays(does)
        self.workers.append(await _Worker.started(64, 1.5))
        return self.workers[-1]

    def heard(self) -> list[Any]:
        """What they were asked."""
        with (self.folder / "heard").open("rb") as source:
            return [pickle.loads(data) for data in iter(lambda: decision_worker.read_frame(source), None)]

    def asked(self) -> list[int]:
        """Who was asked, by pids in order."""
        return [int(line) for line in (self.folder / "asked").read_text().split()]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, monkeypatch)
    yield made
    for item in made.workers:
        await item.end()


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def given(made: _Worker, what: str) -> list[str]:
    """The arguments of a process, or its environment, as it began."""
    return Path(f"/proc/{made.pid}/{what}").read_text().split("\0")[:-1]


# ── how it is started ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_gets_its_limits_and_nothing_of_our_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the operator")

    made = await stage.worker('say(b"!"); hear()')

    assert given(made, "cmdline")[-6:] == [
        sys.executable,
        "-P",
        "-m",
        "heed.sandbox.decision_worker",
        "64",
        "1.5",
    ]
    assert dict(item.split("=", 1) for item in given(made, "environ")) == {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(heed.__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert os.getpgid(made.pid) == made.pid
    assert made.usable


async def test_where_there_is_no_program_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(GuardUnavailable, match=r"^cannot start a worker: .*No such file.*/nowhere/python"):
        await _Worker.started(64, 1.5)


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("sys.exit(3)", "the worker ended with 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the worker ended with -9"),
        ("os.write(1, bytes(3)); sys.exit(4)", "the worker ended with 4"),
    ],
    ids=["exit", "signal", "half a frame"],
)
async def test_one_that_ends_before_it_is_ready_is_none(stage: Stage, does: str, why: str) -> None:
    with pytest.raises(GuardUnavailable, match=rf"^a worker was not ready: {why}$"):
        await stage.worker(does)


async def test_nor_is_one_that_does_not_get_ready(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_pool, "START", 0.2)

    with pytest.raises(GuardUnavailable, match=r"^a worker was not ready: it took too long$"):
        await stage.worker(
            f'open({str(stage.folder / "pid")!r}, "w").write(str(os.getpid())); time.sleep(999)'
        )

    written = stage.folder / "pid"  # it may have been ended before it began
    assert not written.exists() or not exists(int(written.read_text() or "0"))


async def test_who_gives_up_waiting_leaves_no_process(stage: Stage) -> None:
    pid = stage.folder / "pid"
    starting = asyncio.create_task(
        stage.worker(f'open({str(pid)!r}, "w").write(str(os.getpid()) + " "); time.sleep(999)')
    )
    await until(lambda: pid.exists() and pid.read_text().endswith(" "))

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not exists(int(pid.read_text()))


# ── what it is asked, and says ──────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_asked_and_its_answer_is_the_decision(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"=" + ANSWER); hear(); say(b"=" + ANSWER); hear()')

    decisions = [await made.decide(REQUEST, AGENT) for _ in range(2)]

    assert decisions == [DECISION, DECISION]
    assert decisions[0].received is EVENT
    assert stage.heard() == [REQUEST, REQUEST]
    assert made.usable


async def test_one_that_does_not_know_the_program_is_told_its_source(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"?"); hear(); say(b"=" + ANSWER); hear()')

    assert await made.decide(REQUEST, AGENT) == DECISION

    first, second = stage.heard()
    assert first == REQUEST
    assert (second.number, second.more, second.source) == (3, REQUEST.more, Source.of(AGENT))


async def test_one_that_says_so_is_asked_no_more(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); say(b"." + ANSWER); hear()')

    assert await made.decide(REQUEST, AGENT) == DECISION

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
    await made.decide(REQUEST, AGENT)

    with pytest.raises(_Died) as caught:
        await made.decide(REQUEST, AGENT)

    assert (caught.value.code, (caught.value.place, caught.value.handler)) == (code, place)
    assert str(caught.value) == f"the worker ended with {code}"
    assert (made.usable, exists(made.pid)) == (False, False)


async def test_one_that_hangs_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_pool, "HUNG", 0.05)
    made = await stage.worker(f'say(b"!", {AT!r}); hear(); time.sleep(999)')

    with pytest.raises(_Died) as caught:
        await made.decide(REQUEST, AGENT)

    died = caught.value
    assert (died.code, died.place, died.handler) == (None, "spec.handlers[0]", "search")
    assert (made.usable, exists(made.pid)) == (False, False)


async def test_a_decision_given_up_is_the_end_of_its_worker(stage: Stage) -> None:
    made = await stage.worker('say(b"!"); hear(); time.sleep(999)')
    deciding = asyncio.create_task(made.decide(REQUEST, AGENT))
    await until(lambda: (stage.folder / "asked").exists())

    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding

    assert (made.usable, exists(made.pid)) == (False, False)


async def test_to_end_one_that_is_gone_is_no_mistake(stage: Stage) -> None:
    made = await stage.worker('say(b"!")')
    await until(lambda: not exists(made.pid))

    await made.end()

    assert not made.usable


# ── who is asked ────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN = 'say(b"!")\nwhile True:\n    hear(); say(b"=" + ANSWER)'


async def test_a_slow_agent_is_apart_for_so_many_decisions_and_then_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_pool, "PROBATION", 3)
    stage.plays(PLAIN)
    guard = Guard(64, 1.5)
    assert guard.pids == []

    for slow in (-1.0, *[10.0**6] * 5):  # seconds that a decision may take
        monkeypatch.setattr(decision_pool, "SLOW", slow)
        assert await guard.decide(AGENT, REQUEST) == DECISION

    common, apart = guard.pids
    assert stage.asked() == [common, apart, apart, apart, common, common]
    await guard.close()
    assert (guard.pids, exists(common), exists(apart)) == ([], False, False)
    with pytest.raises(GuardUnavailable, match=r"^no more decisions are made here$"):
        await guard.decide(AGENT, REQUEST)


async def test_the_lane_of_one_that_died_gets_another(stage: Stage) -> None:
    guard = Guard(64, 1.5)
    stage.plays('say(b"!"); hear(); sys.exit(3)')
    gone = guard._common.worker = await _Worker.started(64, 1.5)
    stage.plays(PLAIN)

    assert await guard.decide(AGENT, REQUEST) == DECISION

    (pid,) = guard.pids
    assert stage.asked() == [gone.pid, pid]
    await guard.close()
