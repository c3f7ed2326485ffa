"""Tasks over several lives of the process that runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heed.core.effects import AgentRef
from heed.local.process import child
from heed.local.process.task_dir import TaskDir
from tests.integration.local.runs import Bench, research, script_job, until

Benches = Callable[..., Bench]

ONE_LIFE = """
import asyncio, sys
from pathlib import Path
from tests.integration.local.runs import Bench, research, script_job

async def main():
    bench = Bench(Path(sys.argv[1]))
    await bench.runner.start(research(script_job(sys.argv[2])))
    await asyncio.sleep(300)

asyncio.run(main())
"""


def counting(folder: Path) -> str:
    """A script that counts its runs and ends when it may. Kubernetes makes `$` of `$$`."""
    return f"echo $$$$ >> {folder}/runs; until [ -e {folder}/go ]; do sleep 0.02; done; printf done > $HEED_RESULT_FILE"


def runs(folder: Path) -> list[int]:
    """The processes that ran it."""
    path = folder / "runs"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def test_starting_a_running_task_again_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    await bench.runner.start(research(script_job(counting(tmp_path))))
    await until(lambda: len(runs(tmp_path)) == 1, "it runs")
    await bench.runner.start(research(script_job(counting(tmp_path))))
    (tmp_path / "go").touch()
    await bench.end()

    assert len(runs(tmp_path)) == 1


async def test_starting_a_finished_task_again_reports_the_same_end(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    first = await bench.run(script_job(counting(tmp_path)))
    second = await bench.run(script_job(counting(tmp_path)))

    assert first == second
    assert len(runs(tmp_path)) == 1


async def test_an_end_that_nobody_heard_is_reported_in_the_next_life(
    benches: Benches, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    first = benches()
    end = await first.run(script_job(counting(tmp_path)))
    await first.runner.close()

    second = benches(now="2026-11-02T12:00:00Z")
    await second.runner.resume(["research-1"])

    assert second.ends == [end]


async def test_a_task_cut_off_by_a_stop_runs_again(benches: Benches, tmp_path: Path) -> None:
    first = benches()
    await first.runner.start(research(script_job(counting(tmp_path))))
    await until(lambda: len(runs(tmp_path)) == 1, "it runs")
    await first.runner.close()
    assert child.read_start_time(runs(tmp_path)[0]) is None

    second = benches()
    (tmp_path / "go").touch()
    await second.runner.resume(["research-1"])
    end = await second.end()

    assert (end.completed, end.result, len(runs(tmp_path))) == (True, "done", 2)
    assert first.ends == []


async def test_a_task_cut_off_by_a_crash_dies_with_it_and_runs_again(
    benches: Benches, tmp_path: Path
) -> None:
    life = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", ONE_LIFE, str(tmp_path), counting(tmp_path)], env=_environment()
    )
    await until(lambda: len(runs(tmp_path)) == 1, "it runs")
    life.kill()
    life.wait()
    await until(lambda: child.read_start_time(runs(tmp_path)[0]) is None, "the child died too")

    bench = benches()
    (tmp_path / "go").touch()
    await bench.runner.resume(["research-1"])

    assert (await bench.end()).result == "done"


async def test_a_child_that_outlived_a_crash_is_ended_before_it_runs_again(
    benches: Benches, tmp_path: Path
) -> None:
    survivor = _survivor(tmp_path, start=None)

    bench = benches()
    (tmp_path / "go").touch()
    await bench.runner.resume(["research-1"])

    assert survivor.wait(10) == -signal.SIGKILL
    assert (await bench.end()).completed


async def test_a_reused_process_id_is_left_alone(benches: Benches, tmp_path: Path) -> None:
    stranger = _survivor(tmp_path, start="1")

    bench = benches()
    (tmp_path / "go").touch()
    await bench.runner.resume(["research-1"])
    await bench.end()

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


async def test_the_rest_of_a_dead_childs_group_is_known_by_its_task_file(
    benches: Benches, tmp_path: Path
) -> None:
    task_file = tmp_path / "tasks/demo/researcher/research-1/task.json"
    script = f"sleep 300 & echo $! > {tmp_path}/rest"
    leader = subprocess.Popen(  # noqa: ASYNC220
        ["sh", "-c", script], process_group=0, env={**os.environ, "HEED_TASK_FILE": str(task_file)}
    )
    leader.wait()
    rest = int((tmp_path / "rest").read_text())
    assert child.read_start_time(rest) is not None
    _write_down(tmp_path, leader.pid, "1")

    bench = benches()
    (tmp_path / "go").touch()
    await bench.runner.resume(["research-1"])
    await bench.end()

    await until(lambda: child.read_start_time(rest) is None, "the rest of the group is gone")


async def test_survivors_are_found_where_there_is_no_proc(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PROC", tmp_path / "no-proc")
    survivor = _survivor(tmp_path, start=None)

    bench = benches()
    (tmp_path / "go").touch()
    await bench.runner.resume(["research-1"])

    assert survivor.wait(10) == -signal.SIGKILL
    assert (await bench.end()).completed


async def test_a_started_task_without_a_trace_has_failed(bench: Bench) -> None:
    await bench.runner.resume(["research-9"])

    assert [(end.task_id, end.completed, end.reason) for end in bench.ends] == [
        ("research-9", False, "JobLost")
    ]


async def test_a_namesakes_task_is_not_mistaken_for_ours(benches: Benches, tmp_path: Path) -> None:
    first = benches()
    await first.run(script_job("printf old > $HEED_RESULT_FILE"))

    again = replace(
        research(script_job("printf new > $HEED_RESULT_FILE")), agent=AgentRef("demo", "researcher", "uid-2")
    )
    await first.runner.start(again)

    assert (await first.end(2)).result == "new"


async def test_cancelling_ends_the_children_and_removes_the_folder(bench: Bench, tmp_path: Path) -> None:
    await bench.runner.start(
        research(script_job(f"sleep 300 & echo $! > {tmp_path}/child; {counting(tmp_path)}"))
    )
    await until(lambda: len(runs(tmp_path)) == 1, "it runs")

    await bench.runner.cancel("research-1")

    assert not (bench.tasks / "research-1").exists()
    assert child.read_start_time(runs(tmp_path)[0]) is None
    await until(
        lambda: child.read_start_time(int((tmp_path / "child").read_text())) is None, "the grandchild is gone"
    )
    assert bench.ends == []


async def test_cancelling_a_waiting_or_an_unknown_task_is_fine(benches: Benches, tmp_path: Path) -> None:
    bench = benches(slots=1)
    await bench.runner.start(research(script_job(counting(tmp_path)), id="research-1"))
    await bench.runner.start(research(script_job(counting(tmp_path)), id="research-2"))
    await until(lambda: len(runs(tmp_path)) == 1, "the first one runs")

    await bench.runner.cancel("research-2")
    await bench.runner.cancel("research-3")
    (tmp_path / "go").touch()

    assert (await bench.end()).task_id == "research-1"
    assert len(runs(tmp_path)) == 1


async def test_finished_folders_go_when_their_retention_has_passed(benches: Benches) -> None:
    first = benches(now="2026-11-01T12:00:00Z")
    await first.run(script_job("true"), id="research-1", retention=60)
    await first.run(script_job("true"), id="research-2", retention=7200)
    await first.run(script_job("true"), id="research-3", retention=60)
    await first.runner.close()

    second = benches(now="2026-11-01T13:00:00Z")
    await second.runner.resume(["research-3"])

    assert {path.name for path in second.tasks.iterdir()} == {"research-2", "research-3"}
    assert [end.task_id for end in second.ends] == ["research-3"]


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[3]
    return {**os.environ, "PYTHONPATH": f"{root / 'operator'}{os.pathsep}{root}"}


def _survivor(folder: Path, start: str | None) -> "subprocess.Popen[bytes]":
    """A process that looks as if an earlier life had run it; with `start`, as if its id had been reused."""
    process = subprocess.Popen(["sleep", "300"], process_group=0)
    _write_down(folder, process.pid, start or child.read_start_time(process.pid))
    return process


def _write_down(folder: Path, pid: int, start: str | None) -> None:
    task = TaskDir(folder / "tasks" / "demo" / "researcher" / "research-1")
    task.prepare(research(script_job(counting(folder))))
    (task.path / "pid.json").write_text(json.dumps({"pid": pid, "start": start}))
