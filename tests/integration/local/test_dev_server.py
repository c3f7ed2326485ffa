"""Agents from files on a broker of their own: they work, they are edited, they come back."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from heed import names
from heed.local import assembly
from heed.local.agent_claims import AgentClaims, AgentTaken
from heed.local.dev_server import DEV_COMMIT_RATE, DevServer, commit_rate_for
from heed.local.manifest_loader import find_files, load_manifests
from heed.local.process.child import read_start_time
from tests.integration.local.examples import AGENT, ANSWERED, ASKED, FAILED, asked, edit, life, write_example
from tests.integration.local.runs import until
from tests.nats_server import require_nats_server


@pytest.fixture(autouse=True)
def _server() -> None:
    require_nats_server()


COMMAND = [sys.executable, "-c", "from heed.cli.dev import dev; dev()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return write_example(tmp_path / "example")


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """Its jobs wait for a file `go`."""
    return write_example(tmp_path / "example", patient=True)


async def test_an_event_starts_a_job_whose_result_becomes_an_event(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")

        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
        assert (await one.hears("output"))["line"] == "looking up tides"
        assert (await one.hears("decided", type=ASKED))["state"] == {"topic": "tides"}


async def test_a_failing_job_becomes_a_failed_event(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("storms", "q-1")

        assert await one.emitted(FAILED) == {"reason": "BackoffLimitExceeded"}
        assert (await one.hears("ended"))["exitCode"] == 3


async def test_a_job_that_fails_is_attempted_again_where_its_manifest_says_so(
    example: Path, tmp_path: Path
) -> None:
    retry = "retry: {attempts: 2, backoff: {initial: 0s}}"
    edit(example / "agent.yaml", "    research:\n      job:", f"    research:\n      {retry}\n      job:")
    edit(example / "research.sh", 'test "$1" = storms && exit 3', 'test "$HEED_ATTEMPT" = 1 && exit 3')

    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")

        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
        assert (await one.hears("decided", outcome="retried"))["type"] == "dev.heed.task.failed"
        assert len((example / "runs").read_text().split()) == 2


async def test_jobs_beyond_the_limit_run_one_after_the_other(patient: Path, tmp_path: Path) -> None:
    edit(patient / "agent.yaml", "  tasks:\n", "  maxConcurrentTasks: 1\n  tasks:\n")

    async with life(patient, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await one.hears("output", line="looking up tides")
        await one.ask("moons", "q-2")
        second = await one.hears("decided", session="q-2")
        assert [next(iter(effect)) for effect in second["effects"]] == ["queue"]
        assert len((patient / "runs").read_text().split()) == 1

        (patient / "go").touch()

        await one.hears("output", line="looking up moons")
        await until(lambda: len(one.told("ended")) == 2, "both have ended")


async def test_a_suspended_agent_goes_on_when_its_file_says_so_and_keeps_its_rate_limit(
    example: Path, tmp_path: Path
) -> None:
    # Given
    pace = "  suspend: true\n  rateLimit: {events: 50, burst: 1}\n"
    edit(example / "agent.yaml", "spec:\n  subscribe:", f"spec:\n{pace}  subscribe:")

    async with life(example, folder=tmp_path / "state") as one:
        await one.hears("resumed", suspended=True)
        await one.ask("tides", "q-1")
        (loop,) = one.bench.loops.values()
        assert loop.lag is None

        # When
        edit(example / "agent.yaml", "suspend: true", "suspend: false")
        await one.bench.refresh()

        # Then
        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
        (again,) = one.bench.loops.values()
        assert again is not loop
        assert len(one.told("decided", type=ASKED)) == 1


async def test_a_refused_job_becomes_a_failed_event_that_names_the_remedy(
    example: Path, tmp_path: Path
) -> None:
    edit(example / "agent.yaml", "command: [sh, research.sh]", "workingDir: .")
    edit(example / "agent.yaml", "${event.data.reason}", "${event.data.message}")

    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")

        assert "set command" in (await one.emitted(FAILED))["reason"]


async def test_a_connection_that_the_broker_ends_for_good_is_made_again_and_all_goes_on(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        connection = one.bench.bus._connection
        former, holder = connection.client, one.bench._claims
        # What the client library takes for an error after which it never connects again.
        await former._process_err("'Authorization Violation'")
        await until(lambda: connection.client is not former and connection.is_connected, "it is connected")

        await one.ask("tides", "q-1")

        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}
        await until(lambda: holder._client is connection.client, "it answers for its claims again")
        another = AgentClaims(one.bench._ledgers, connection.client, tmp_path)
        with pytest.raises(AgentTaken):
            await another.take("demo", "researcher")


async def test_on_a_broker_of_small_messages_ledgers_are_smaller() -> None:
    assert commit_rate_for(8 * 1024**2) == commit_rate_for(1024**2) == DEV_COMMIT_RATE
    assert commit_rate_for(64 * 1024).budget == 40 * 1024


async def test_an_edit_is_taken_up_while_running_and_keeps_sessions_and_children(
    patient: Path, tmp_path: Path
) -> None:
    async with life(patient, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await until(lambda: (patient / "runs").exists(), "the job runs")

        edit(patient / "agent.yaml", 'topic: "${state.topic}", answer', 'question: "${state.topic}", answer')
        assert await one.bench.refresh()
        (patient / "go").touch()

        assert await one.emitted(ANSWERED) == {"question": "tides", "answer": "all about tides"}
        assert len((patient / "runs").read_text().split()) == 1


async def test_an_invalid_edit_names_file_and_line_and_changes_nothing(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        edit(example / "agent.yaml", "!has(state.topic)", "!has(state.topic")
        await one.bench.refresh()

        line = 1 + next(n for n, text in enumerate(AGENT.splitlines()) if "!has" in text)
        problem = await one.hears("problem")
        assert problem["path"] == f"{example / 'agent.yaml'}:{line}: spec.handlers[0].when"
        await one.hears("note", text="still running: demo/researcher generation 1")
        await one.ask("tides", "q-1")
        assert await one.emitted(ANSWERED)

        edit(example / "agent.yaml", "!has(state.topic", "!has(state.topic)")
        await one.bench.refresh()
        await one.hears("note", text="no mistakes any more")


async def test_a_file_that_is_no_yaml_any_more_changes_nothing(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        (example / "agent.yaml").write_text("spec: [")
        await one.bench.refresh()

        assert (await one.hears("problem"))["path"].startswith(f"{example / 'agent.yaml'}:1:")
        assert list(one.bench.loops) == [("demo", "researcher")]


async def test_an_agent_whose_manifest_goes_stops_and_resumes_when_it_is_back(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await one.emitted(ANSWERED)
        manifest = (example / "agent.yaml").read_text()

        (example / "agent.yaml").unlink()
        await one.bench.refresh()
        assert not one.bench.loops

        (example / "agent.yaml").write_text(manifest)
        await one.bench.refresh()
        await until(lambda: len(one.told("resumed")) == 2, "it resumed")
        assert one.told("resumed")[1]["sequence"] >= 2


async def test_a_folder_without_an_agent_is_said_and_one_that_comes_is_started(tmp_path: Path) -> None:
    folder = tmp_path / "example"
    folder.mkdir()
    async with life(folder, folder=tmp_path / "state") as one:
        await one.hears("note", text=f"there is no Agent in {folder}; write one, it will be started")

        write_example(folder)
        await one.bench.refresh()
        await one.ask("tides", "q-1")

        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}


async def test_an_agent_that_moves_to_another_file_goes_on_from_its_ledger(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await one.emitted(ANSWERED)

        # When its file and what its jobs run are in another folder
        (example / "moved").mkdir()
        for name in ("agent.yaml", "research.sh", "go"):
            (example / name).rename(example / "moved" / name)
        await one.bench.refresh()
        await one.ask("storms", "q-2")

        # Then it decides on from where it was, and its jobs run there
        assert await one.emitted(FAILED) == {"reason": "BackoffLimitExceeded"}
        assert [record["sequence"] for record in one.told("resumed")][1] >= 2
        assert len(one.told("decided", type=ASKED, session="q-1")) == 1


async def test_watching_takes_up_edits_by_itself(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        stop = asyncio.Event()
        watching = asyncio.create_task(one.bench.watch(stop))
        edit(example / "agent.yaml", "name: give-up", "name: gave-up")

        await one.hears("note", text="demo/researcher generation 2 heeds com.example.question.asked")
        stop.set()
        await watching


async def test_what_was_going_on_goes_on_in_the_next_life(patient: Path, tmp_path: Path) -> None:
    async with life(patient, folder=tmp_path / "state") as one:
        await one.ask("tides", "q-1")
        await until(lambda: (patient / "runs").exists(), "the job runs")
        await until(lambda: _started(one.bench), "the ledger knows that it started")

    (patient / "go").touch()
    async with life(patient, folder=tmp_path / "state") as one:
        resumed = await one.hears("resumed")
        assert (resumed["sessions"], resumed["pending"]) == (1, 1)
        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}


async def test_a_crash_loses_nothing(patient: Path, tmp_path: Path) -> None:
    with heed_dev(patient, tmp_path / "state") as process:
        await _publish_through_cli(await _url(process))
        await until(lambda: (patient / "runs").exists(), "the job runs")
        process.kill()
    child = int((patient / "runs").read_text().split()[0])
    await until(lambda: read_start_time(child) is None, "the child died with its parent")

    (patient / "go").touch()
    async with life(patient, folder=tmp_path / "state") as one:
        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}


async def test_ctrl_c_ends_it_cleanly(patient: Path, tmp_path: Path) -> None:
    with heed_dev(patient, tmp_path / "state") as process:
        await _publish_through_cli(await _url(process))
        await until(lambda: (patient / "runs").exists(), "the job runs")
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate)

    assert (process.returncode, errors) == (0, "")
    assert read_start_time(int((patient / "runs").read_text().split()[0])) is None
    assert [line for line in find_files([tmp_path / "state"]) if line.suffix == ".ports"] == []


async def test_two_of_them_do_not_share_a_folder(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state"):
        with heed_dev(example, tmp_path / "state") as second:
            _, errors = await asyncio.to_thread(second.communicate)

    assert second.returncode == 2
    assert "another `heed dev` runs here" in errors


async def test_an_event_that_no_agent_heeds_is_shown_with_what_was_meant(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        for namespace, type_ in (("demo", "com.example.question.aksed"), ("default", ASKED)):
            event = replace(asked("tides", "q-1"), type=type_)
            await one.bench.bus.publish(names.event_subject(namespace, type_), event)
        await one.ask("tides", "q-2")

        mistyped = await one.hears("unheeded", type="com.example.question.aksed")
        assert mistyped["why"] == f"no Agent heeds it; did you mean {ASKED}?"
        assert mistyped["data"] == {"topic": "tides"}
        elsewhere = await one.hears("unheeded", type=ASKED)
        assert elsewhere["why"] == (
            "no Agent heeds it in namespace default; demo/researcher does in demo (-n demo)"
        )
        await one.emitted(ANSWERED)
        assert len(one.told("unheeded")) == 2  # what the Agent emits may be for others


async def test_what_comes_first_is_shown_also_where_the_brokers_clock_is_behind(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "timestamp", lambda: "2099-01-01T00:00:00Z")

    async with life(example, folder=tmp_path / "state") as one:
        event = replace(asked("tides", "q-1"), type="com.example.nobody")
        await one.bench.bus.publish(names.event_subject("demo", event.type), event)

        await one.hears("unheeded", type=event.type)


async def test_what_is_hardly_meant_is_shown_at_the_start_and_on_a_reload_once(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        assert one.told("warning") == []

        edit(example / "agent.yaml", '{topic: "${state.topic}", answer', '{n: "${state.topic}", answer')
        await one.bench.refresh()
        (warning,) = one.told("warning")
        line = 1 + next(n for n, text in enumerate(AGENT.splitlines()) if "answer:" in text)
        assert warning["path"].startswith(f"{example / 'agent.yaml'}:{line}: spec.handlers[1].emit[0].data")

        edit(example / "agent.yaml", "name: give-up", "name: gave-up")
        await one.bench.refresh()
        assert len(one.told("warning")) == 1


def test_a_broker_that_is_not_there_is_named(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "-f", str(example), "--dir", str(tmp_path / "state"), "--nats", "nats://127.0.0.1:9"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "nats://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_folders_are_searched_and_foreign_documents_passed_over(example: Path) -> None:
    (example / ".hidden").mkdir()
    shutil.copy(example / "agent.yaml", example / ".hidden" / "agent.yaml")
    (example / "config.yaml").write_text("apiVersion: v1\nkind: ConfigMap\n---\n")

    agents, _, mistakes = load_manifests([example])

    assert ([found.agent.metadata.name for found in agents], mistakes) == (["researcher"], [])


def test_two_agents_of_one_name_are_a_mistake(example: Path) -> None:
    shutil.copy(example / "agent.yaml", example / "copy.yaml")

    agents, _, mistakes = load_manifests([example])

    assert len(agents) == 1
    assert str(mistakes[0].problems[0]) == (
        f"{example / 'copy.yaml'}:3: metadata.name: demo/researcher is in {example / 'agent.yaml'}:1 too; "
        "give one of them another name"
    )


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    agents, _, mistakes = load_manifests([tmp_path / "none.yaml"])

    assert agents == []
    assert "No such file" in str(mistakes[0].problems[0])


def _started(bench: DevServer) -> bool:
    (loop,) = bench.loops.values()
    return loop.ledger is not None and any(
        task.phase == "Started" for task in loop.ledger.pending_tasks.values()
    )


@contextmanager
def heed_dev(
    example: Path, state: Path, *options: str, **variables: str
) -> "Iterator[subprocess.Popen[str]]":
    """A process that runs on a folder; it ends with the test."""
    with subprocess.Popen(
        [*COMMAND, "-f", str(example), "--dir", str(state), "-o", "json", *options],
        env=ENVIRONMENT | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _url(process: "subprocess.Popen[str]") -> str:
    """Where it says that its broker is."""
    assert process.stdout
    while line := await asyncio.to_thread(process.stdout.readline):
        record = json.loads(line)
        if record["kind"] == "note" and "command" in record:
            assert record["command"].startswith(
                f'heed publish {ASKED} --data \'{{"topic": "…"}}\' -n demo --nats '
            )
            return str(record["command"].split()[-1])
    raise AssertionError("heed dev ended")


async def _publish_through_cli(url: str) -> None:
    command = [sys.executable, "-c", "from heed.cli.publish import publish; publish()", ASKED, "-n", "demo"]
    arguments = ["--data", '{"topic": "tides"}', "--correlation", "q-1", "--nats", url]
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    assert await process.wait() == 0


# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _policy(emissions: str) -> str:
    return (
        "apiVersion: heed.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: strict, namespace: demo}\n"
        f"spec: {{agentSelector: {{}}, emissions: [{emissions}]}}\n"
    )


async def test_a_policy_that_comes_stops_what_it_does_not_allow_until_it_goes(
    example: Path, tmp_path: Path
) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        (example / "policy.yaml").write_text(_policy("{type: com.example.nothing}"))
        await one.bench.refresh()

        assert not one.bench.loops
        problem = await one.hears("problem")
        assert "AgentPolicy demo/strict allows no emission of" in problem["message"]
        await one.ask("tides", "q-1")

        (example / "policy.yaml").unlink()
        await one.bench.refresh()
        assert await one.emitted(ANSWERED) == {"topic": "tides", "answer": "all about tides"}


async def test_a_policy_that_allows_all_that_is_written_is_taken_up(example: Path, tmp_path: Path) -> None:
    (example / "policy.yaml").write_text(_policy("{type: 'com.example.>'}"))
    async with life(example, folder=tmp_path / "state") as one:
        (loop,) = one.bench.loops.values()
        assert loop.program.permissions.emission_problem("x") is not None

        (example / "policy.yaml").write_text(_policy("{type: 'com.example.>'}, {type: x}"))
        await one.bench.refresh()

        (loop,) = one.bench.loops.values()
        assert loop.program.permissions.emission_problem("x") is None


async def test_a_policy_with_a_mistake_changes_nothing(example: Path, tmp_path: Path) -> None:
    async with life(example, folder=tmp_path / "state") as one:
        (example / "policy.yaml").write_text(_policy("{typ: x}"))
        await one.bench.refresh()

        assert (await one.hears("problem"))["path"].startswith(f"{example / 'policy.yaml'}:4: spec.emissions")
        assert list(one.bench.loops) == [("demo", "researcher")]
