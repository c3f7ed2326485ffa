"""Jobs as child processes: what they see, what they answer, and how they end."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local.runs import Bench, python, research, script_job, until

ANSWER = """
import json, os
task = json.load(open(os.environ["HEED_TASK_FILE"]))
json.dump({"answer": "about " + task["input"]["topic"]}, open(os.environ["HEED_RESULT_FILE"], "w"))
"""


async def test_a_job_reads_its_task_and_answers_in_json(bench: Bench) -> None:
    end = await bench.run(python(ANSWER))

    assert end.completed
    assert end.result == {"answer": "about tides"}
    assert (end.task_id, end.at, end.reason) == ("research-1", "2026-11-01T12:00:00Z", None)


async def test_a_job_may_answer_in_plain_text_or_not_at_all(bench: Bench) -> None:
    text = await bench.run(script_job("printf 'high at noon' > $HEED_RESULT_FILE"), id="research-1")
    nan = await bench.run(script_job("printf NaN > $HEED_RESULT_FILE"), id="research-2")
    silent = await bench.run(script_job("true"), id="research-3")

    assert (text.result, nan.result, silent.result) == ("high at noon", "NaN", None)
    assert silent.completed


async def test_a_job_sees_the_contract_and_little_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    container: dict[str, Any] = {
        "env": [{"name": "DEPTH", "value": "3"}, {"name": "WHERE", "value": "$(HEED_TASK)/$(DEPTH)"}]
    }

    await bench.run(script_job("env", **container))

    seen = dict(line.split("=", 1) for _, line in bench.lines if "=" in line)
    names = (
        "HEED_AGENT",
        "HEED_NAMESPACE",
        "HEED_TASK",
        "HEED_TASK_ID",
        "HEED_SESSION",
        "HEED_CORRELATION_ID",
    )
    assert [seen[name] for name in names] == [
        "researcher",
        "demo",
        "research",
        "research-1",
        "order-42",
        "flow-7",
    ]
    assert (seen["DEPTH"], seen["WHERE"]) == ("3", "research/3")
    assert "SOME_SECRET" not in seen


async def test_arguments_refer_to_variables_as_in_kubernetes(bench: Bench) -> None:
    container: dict[str, Any] = {
        "command": ["echo"],
        "args": ["$(HEED_TASK_ID)", "$(NOBODY)", "$$(HEED_TASK_ID)"],
    }

    await bench.run(script_job("", **container))

    assert bench.lines == [("research-1", "research-1 $(NOBODY) $(HEED_TASK_ID)")]


async def test_the_working_directory_is_relative_to_the_manifest(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()

    await bench.run(script_job("pwd", workingDir="jobs"))

    assert bench.lines == [("research-1", str(tmp_path / "jobs"))]


async def test_output_is_told_line_by_line_while_it_runs_and_kept_in_a_log(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.runner.start(
        research(
            script_job(f"echo one; echo two >&2; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo three")
        )
    )
    await until(lambda: len(bench.lines) == 2, "two lines were told of a job that still runs")
    (tmp_path / "go").touch()
    await bench.end()

    assert sorted(bench.lines[:2]) == [("research-1", "one"), ("research-1", "two")]
    assert bench.lines[2:] == [("research-1", "three")]
    assert sorted((bench.tasks / "research-1" / "log").read_text().split()) == ["one", "three", "two"]


async def test_a_long_line_comes_in_pieces_and_no_character_is_broken(bench: Bench) -> None:
    await bench.run(python("print('ä' * 50_000)"))

    assert len(bench.lines) > 1
    assert "".join(line for _, line in bench.lines) == "ä" * 50_000


async def test_a_failing_job_is_tried_again_and_gives_up_with_its_last_exit_code(
    bench: Bench, tmp_path: Path
) -> None:
    script = f"echo x >> {tmp_path}/tries; echo no such tide >&2; exit $(($(wc -l < {tmp_path}/tries) + 2))"

    end = await bench.run(script_job(script, limits={"backoffLimit": 2}))

    assert (tmp_path / "tries").read_text().split() == ["x"] * 3
    assert not end.completed
    assert (end.reason, end.exit_code, end.message) == ("BackoffLimitExceeded", 5, "no such tide")
    assert (end.cause, end.container) == ("Error", "main")


async def test_a_job_that_recovers_has_completed(bench: Bench, tmp_path: Path) -> None:
    script = f"if [ -e {tmp_path}/second ]; then printf 1 > $HEED_RESULT_FILE; else touch {tmp_path}/second; exit 1; fi"

    end = await bench.run(script_job(script, limits={"backoffLimit": 1}))

    assert (end.completed, end.result) == (True, 1)


async def test_a_failed_job_says_why_in_its_result_file(bench: Bench) -> None:
    end = await bench.run(
        script_job(
            "echo noise >&2; printf 'quota used up' > $HEED_RESULT_FILE; exit 3", limits={"backoffLimit": 0}
        )
    )

    assert (end.message, end.exit_code) == ("quota used up", 3)


async def test_a_command_that_is_not_there_fails_as_in_a_shell(bench: Bench) -> None:
    end = await bench.run(script_job("", command=["no-such-program"], limits={"backoffLimit": 0}))

    assert (end.reason, end.exit_code) == ("BackoffLimitExceeded", 127)
    assert end.message is not None and end.message.startswith(
        "No such file or directory: no-such-program; heed dev uses no image, it runs the command of this machine"
    )


async def test_a_killed_child_has_the_exit_code_that_a_container_would_have(bench: Bench) -> None:
    end = await bench.run(script_job("kill -9 $$$$", limits={"backoffLimit": 0}))

    assert end.exit_code == 137


async def test_a_large_result_is_cut_as_kubelet_cuts_it_and_the_log_names_the_remedy(bench: Bench) -> None:
    end = await bench.run(
        python("import os, json; json.dump(['x' * 5000], open(os.environ['HEED_RESULT_FILE'], 'w'))")
    )

    assert end.completed
    assert end.result == "x" * 4094 + '"]'
    assert any("dataref" in line for _, line in bench.lines)


async def test_the_smaller_limit_ends_a_job_with_everything_it_started(bench: Bench, tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/grandchild; sleep 300"

    end = await bench.run(script_job(script, limits={"activeDeadlineSeconds": 1}), timeout=100)

    assert (end.completed, end.reason) == (False, "DeadlineExceeded")
    await until(lambda: _gone(int((tmp_path / "grandchild").read_text())), "the grandchild is gone")


async def test_who_ignores_sigterm_is_killed(bench: Bench) -> None:
    end = await bench.run(script_job("trap '' TERM; while true; do sleep 0.05; done"), timeout=1)

    assert end.reason == "DeadlineExceeded"


async def test_what_a_finished_job_left_running_is_ended_with_it(bench: Bench, tmp_path: Path) -> None:
    end = await bench.run(script_job(f"sleep 300 & echo $! > {tmp_path}/left"))

    assert end.completed
    await until(lambda: _gone(int((tmp_path / "left").read_text())), "the child left behind is gone")


async def test_who_leaves_the_process_group_cannot_hold_up_the_end(bench: Bench, tmp_path: Path) -> None:
    away = f"setsid sh -c 'echo $$$$ > {tmp_path}/away; exec sleep 300'"

    end = await bench.run(script_job(f"{away} & until [ -s {tmp_path}/away ]; do sleep 0.02; done"))

    assert end.completed
    os.kill(int((tmp_path / "away").read_text()), 9)


async def test_a_fan_out_takes_turns(benches: Callable[..., Bench], tmp_path: Path) -> None:
    bench = benches(slots=2)
    (tmp_path / "busy").mkdir()
    script = "mkdir busy/$HEED_TASK_ID; ls busy | wc -l; sleep 0.05; rmdir busy/$HEED_TASK_ID"

    for number in range(10):
        await bench.runner.start(research(script_job(script), id=f"research-{number}"))
    await bench.end(10)

    assert {int(line) for _, line in bench.lines} <= {1, 2}


async def test_the_folder_tells_the_story(bench: Bench) -> None:
    end = await bench.run(python(ANSWER))

    folder = bench.tasks / "research-1"
    assert {path.name for path in folder.iterdir()} == {"task.json", "work.json", "result", "log", "end.json"}
    assert json.loads((folder / "task.json").read_text())["input"] == {"topic": "tides"}
    assert json.loads((folder / "end.json").read_text())["id"] == end.id


async def test_twenty_ends_come_from_twenty_children_at_once(bench: Bench) -> None:
    await asyncio.gather(
        *(bench.runner.start(research(python(ANSWER), id=f"research-{n}")) for n in range(20))
    )
    await bench.end(20)

    assert {end.task_id for end in bench.ends} == {f"research-{n}" for n in range(20)}
    assert len({end.id for end in bench.ends}) == 20


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
