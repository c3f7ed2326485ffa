"""The supervisor of a sandboxed worker, with scripts that stand in for workers: how they start, answer, die and end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import heed
from heed.errors import HeedError
from heed.sandbox.supervisor import Supervisor, WorkerDied, WorkerProcess, WorkerSpec
from tests.integration.waiting import until
from tests.patience import PATIENCE

PYTHON = sys.executable
SCRIPT = """#!{python} -S
import os, signal, struct, sys, time

def say(*frames):
    os.write(1, b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

def hear():
    head = sys.stdin.buffer.read(4)
    if not head:
        sys.exit(0)
    (length,) = struct.unpack(">I", head)
    data = sys.stdin.buffer.read(length)
    with open({folder!r} + "/heard", "a") as heard:
        print(os.getpid(), data.decode(), file=heard)
    return data

with open({folder!r} + "/began", "a") as began:
    print(os.getpid(), file=began)
{does}
"""
ECHO = 'say(b"!")\nwhile True: say(b"=" + hear())'
DIE = 'say(b"!"); hear(); '
HANG = 'say(b"!"); hear(); time.sleep(999)'


class Unavailable(HeedError):
    """No worker can be had."""


SPEC = WorkerSpec("heed.some.module", 64, 1.5, start_s=PATIENCE, answer_s=PATIENCE, unavailable=Unavailable)


class Stage:
    """Where scripts stand in for workers. `deaths` are those that a supervisor told of."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.supervisors: list[Supervisor] = []
        self.deaths: list[int | None] = []
        self.plays(ECHO)

    def plays(self, does: str) -> None:
        """What is started from now on does this."""
        script, new = self.folder / "python", self.folder / "new"
        new.write_text(SCRIPT.format(python=PYTHON, folder=str(self.folder), does=does))
        new.chmod(0o700)
        new.replace(script)  # at once: one that is started meanwhile must not find half of it
        self.patch.setattr(sys, "executable", str(script))

    def supervisor(self, **spec: Any) -> Supervisor:
        self.supervisors.append(Supervisor(replace(SPEC, **spec)))
        return self.supervisors[-1]

    async def ask(self, supervisor: Supervisor, text: str = "it", **options: Any) -> tuple[bytes, bytes]:
        """What a worker says to a request: kind and data."""

        async def conversation(worker: WorkerProcess) -> tuple[bytes, bytes]:
            await worker.send(text.encode())
            return await worker.receive()

        return await supervisor.ask(conversation, lambda death: self.deaths.append(death.code), **options)

    def lines(self, name: str) -> list[list[str]]:
        """Who began, or who heard what."""
        file = self.folder / name
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def began(self) -> list[int]:
        """All processes that there ever were."""
        return [int(pid) for (pid,) in self.lines("began")]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, monkeypatch)
    yield made
    for item in made.supervisors:
        await item.close("over")
    assert not [pid for pid in made.began() if exists(pid)]


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def given(pid: int, what: str) -> list[str]:
    """The arguments of a process, or its environment, as it began."""
    return Path(f"/proc/{pid}/{what}").read_text().split("\0")[:-1]


# ── how it is started ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_is_started_for_the_first_request_and_kept(stage: Stage) -> None:
    supervisor = stage.supervisor()
    assert supervisor.pid is None

    answers = [await stage.ask(supervisor, text) for text in ("one", "two")]

    assert answers == [(b"=", b"one"), (b"=", b"two")]
    assert stage.began() == [supervisor.pid]


async def test_it_gets_its_limits_and_nothing_of_our_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the operator")
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # `make coverage` would hand that on itself
    supervisor = stage.supervisor()

    await stage.ask(supervisor)

    pid = supervisor.pid
    assert pid is not None
    assert given(pid, "cmdline")[-6:] == [sys.executable, "-P", "-m", "heed.some.module", "64", "1.5"]
    assert dict(item.split("=", 1) for item in given(pid, "environ")) == {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(heed.__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert os.getpgid(pid) == pid


async def test_where_there_is_no_program_none_can_be_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(Unavailable, match=r"^cannot start a worker: .*No such file.*/nowhere/python"):
        await stage.ask(stage.supervisor())


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("sys.exit(3)", "the worker ended with 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the worker ended with -9"),
        ("os.write(1, bytes(3)); sys.exit(4)", "the worker ended with 4"),
    ],
    ids=["exit", "signal", "half a frame"],
)
async def test_one_that_ends_before_it_is_ready_is_none_and_no_requests_fault(
    stage: Stage, does: str, why: str
) -> None:
    stage.plays(does)

    with pytest.raises(Unavailable, match=rf"^a worker was not ready: {why}$"):
        await stage.ask(stage.supervisor())

    assert stage.deaths == []


async def test_nor_is_one_that_does_not_get_ready(stage: Stage) -> None:
    stage.plays("time.sleep(999)")

    with pytest.raises(Unavailable, match=r"^a worker was not ready: it took too long$"):
        await stage.ask(stage.supervisor(start_s=0.2))


async def test_who_gives_up_waiting_for_the_start_leaves_no_process(stage: Stage) -> None:
    stage.plays("time.sleep(999)")
    asking = asyncio.create_task(stage.ask(stage.supervisor()))
    await until(lambda: bool(stage.began()))

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert not exists(stage.began()[0])


# ── one that dies ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_death_of_one_costs_no_request(stage: Stage) -> None:
    supervisor = stage.supervisor()
    stage.plays(DIE + "sys.exit(3)")
    asking = asyncio.create_task(stage.ask(supervisor))
    await until(lambda: bool(stage.began()))
    stage.plays(ECHO)

    assert await asking == (b"=", b"it")

    assert stage.deaths == [3]
    assert [pid for pid, _ in stage.lines("heard")] == [str(pid) for pid in stage.began()]


@pytest.mark.parametrize(
    ("does", "code", "named"),
    [
        ("sys.exit(3)", 3, "exit code 3"),
        ("sys.exit(0)", 0, "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "SIGKILL"),
        ('os.write(1, bytes([0, 0, 0, 9]) + b"=half"); sys.exit(4)', 4, "exit code 4"),
    ],
    ids=["exit", "end", "signal", "half a frame"],
)
async def test_a_request_that_two_die_of_is_at_fault(stage: Stage, does: str, code: int, named: str) -> None:
    stage.plays(DIE + does)

    with pytest.raises(WorkerDied) as caught:
        await stage.ask(stage.supervisor())

    assert stage.deaths == [code, code]
    assert (caught.value.code, caught.value.named, caught.value.of_cpu_time) == (code, named, False)
    assert str(caught.value) == f"the worker ended with {code}"


async def test_a_request_that_takes_too_much_cpu_time_is_not_tried_again(stage: Stage) -> None:
    stage.plays(DIE + "os.kill(os.getpid(), signal.SIGPROF)")

    with pytest.raises(WorkerDied) as caught:
        await stage.ask(stage.supervisor())

    assert stage.deaths == [-signal.SIGPROF]
    assert (caught.value.of_cpu_time, caught.value.named) == (True, "SIGPROF")


@pytest.mark.parametrize("retry", [True, False])
async def test_one_that_hangs_is_ended_and_its_request_tried_again_where_that_is_wanted(
    stage: Stage, retry: bool
) -> None:
    stage.plays(HANG)
    supervisor = stage.supervisor(answer_s=0.2)
    options: dict[str, Any] = {} if retry else {"retry_hung": False}

    with pytest.raises(WorkerDied) as caught:
        await stage.ask(supervisor, **options)

    assert stage.deaths == ([None, None] if retry else [None])
    assert (caught.value.code, caught.value.named) == (None, "it hung")
    assert supervisor.pid is None
    assert not [pid for pid in stage.began() if exists(pid)]


async def test_the_next_request_after_a_death_gets_a_new_one(stage: Stage) -> None:
    supervisor = stage.supervisor()
    stage.plays(DIE + "sys.exit(3)")
    with pytest.raises(WorkerDied):
        await stage.ask(supervisor)
    stage.plays(ECHO)

    assert await stage.ask(supervisor) == (b"=", b"it")


async def test_one_that_died_in_its_sleep_is_replaced(stage: Stage) -> None:
    supervisor = stage.supervisor()
    await stage.ask(supervisor)
    pid = supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not exists(pid))

    assert await stage.ask(supervisor) == (b"=", b"it")


# ── whose answer it is ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_that_is_given_up_is_the_end_of_its_worker(stage: Stage) -> None:
    stage.plays(HANG)
    supervisor = stage.supervisor()
    asking = asyncio.create_task(stage.ask(supervisor))
    await until(lambda: bool(stage.lines("heard")))

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert supervisor.pid is None
    assert not exists(stage.began()[0])


async def test_so_is_a_conversation_that_breaks(stage: Stage) -> None:
    supervisor = stage.supervisor()

    async def breaks(worker: WorkerProcess) -> None:
        await worker.send(b"it")
        raise ValueError("of ours")

    with pytest.raises(ValueError, match="of ours"):
        await supervisor.ask(breaks, lambda death: None)

    assert supervisor.pid is None
    assert await stage.ask(supervisor, "other") == (b"=", b"other")


async def test_requests_wait_for_each_other(stage: Stage) -> None:
    supervisor = stage.supervisor()

    answers = await asyncio.gather(*(stage.ask(supervisor, str(number)) for number in range(20)))

    assert [int(data) for _, data in answers] == list(range(20))
    assert len(stage.began()) == 1


async def test_one_that_says_that_it_was_the_last_answer_is_asked_no_more(stage: Stage) -> None:
    stage.plays('say(b"!"); say(b"." + hear()); hear()')
    supervisor = stage.supervisor()

    assert [await stage.ask(supervisor, text) for text in ("one", "two")] == [(b".", b"one"), (b".", b"two")]

    assert supervisor.pid is None
    assert (len(stage.began()), stage.deaths) == (2, [])


# ── its end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_requests_for_a_while_there_is_no_process(stage: Stage) -> None:
    supervisor = stage.supervisor(idle_s=0.01)
    await stage.ask(supervisor)

    await until(lambda: supervisor.pid is None)

    await until(lambda: not exists(stage.began()[0]))
    assert await stage.ask(supervisor) == (b"=", b"it")


async def test_one_that_is_at_work_is_not_idle(stage: Stage) -> None:
    supervisor = stage.supervisor(idle_s=0.05)
    await stage.ask(supervisor)
    stage.plays(HANG)

    async def conversation(worker: WorkerProcess) -> bytes:
        await asyncio.sleep(0.2)
        await worker.send(b"late")
        return (await worker.receive())[1]

    assert await supervisor.ask(conversation, lambda death: stage.deaths.append(death.code)) == b"late"
    assert (len(stage.began()), stage.deaths) == (1, [])


async def test_after_the_end_nothing_is_asked(stage: Stage) -> None:
    supervisor = stage.supervisor()
    await stage.ask(supervisor)

    await supervisor.close("we have gone")

    assert supervisor.pid is None
    assert not exists(stage.began()[0])
    with pytest.raises(Unavailable, match=r"^we have gone$"):
        await stage.ask(supervisor)


async def test_who_waits_for_an_answer_at_the_end_gets_none(stage: Stage) -> None:
    stage.plays(HANG)
    supervisor = stage.supervisor()
    asking = [asyncio.create_task(stage.ask(supervisor)) for _ in range(3)]
    await until(lambda: bool(stage.lines("heard")))

    await supervisor.close("we have gone")

    for item in asking:
        with pytest.raises(Unavailable, match=r"^we have gone$"):
            await item
    assert len(stage.began()) == 1


async def test_one_that_gets_ready_after_the_end_is_ended(stage: Stage) -> None:
    gate = stage.folder / "gate"
    stage.plays(f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + ECHO)
    supervisor = stage.supervisor()
    asking = asyncio.create_task(stage.ask(supervisor))
    await until(lambda: bool(stage.began()))

    await supervisor.close("we have gone")
    gate.touch()

    with pytest.raises(Unavailable, match=r"^we have gone$"):
        await asking
    assert not exists(stage.began()[0])


async def test_to_end_one_that_is_gone_is_no_mistake(stage: Stage) -> None:
    stage.plays('say(b"!")')
    made = await WorkerProcess.started(SPEC)
    await until(lambda: not exists(made.pid))

    await made.end()

    assert not made.usable
