"""Which broker `heed dev` starts or joins, and which one other commands find from where they are."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from heed.cli.broker_url import find_broker
from heed.cli.main import main
from heed.local import presence
from heed.local.presence import ForeignServer
from heed.settings import DEFAULT_NATS_URL
from tests.integration.local.examples import ASKED, life, write_example
from tests.integration.local.test_dev_server import heed_dev
from tests.integration.waiting import until
from tests.nats_server import NatsServer, require_nats_server


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    require_nats_server()
    for variable in ("HEED_NATS_URL", "HEED_NATS_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_example(tmp_path / "project")


async def heed(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, words)


async def test_commands_find_the_server_of_the_folder_that_they_are_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a `heed dev` of a folder, and credentials for some other broker
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    monkeypatch.setenv("HEED_NATS_CREDENTIALS", "/of/some/cluster.creds")
    async with life(project, folder=project / ".heed") as one:
        # When commands run below it, they reach it
        sent = await heed("publish", ASKED, "--data", '{"topic": "tides"}', "-n", "demo")
        listed = await heed("dead", "list")

        assert (sent.exit_code, sent.stderr) == (0, ""), sent.output
        assert (await one.hears("decided", type=ASKED))["outcome"] == "handled"
        assert (listed.exit_code, listed.stderr) == (0, "0 dead letters\n")

        # And publish knows what its Agents heed
        lost = await heed("publish", "com.example.question.asks", "-n", "demo")
        assert lost.exit_code == 0
        assert lost.stderr == f"warning: no Agent heeds it; did you mean {ASKED}?\n"

        # From elsewhere, the folder can be named
        monkeypatch.chdir("/")
        assert (await heed("dead", "list", "--dir", str(project / ".heed"))).exit_code == 0


async def test_what_the_environment_names_wins_and_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(project, folder=project / ".heed") as one:
        monkeypatch.setenv("HEED_NATS_URL", "nats://user:secret@127.0.0.1:1")

        found = find_broker(None, project / ".heed")
        assert found.settings.nats_url == "nats://user:secret@127.0.0.1:1"
        assert found.dev is None
        assert found.note is not None and "secret" not in found.note
        assert f"is at {one.bench.url}, --nats reaches that" in found.note

        monkeypatch.setenv("HEED_NATS_URL", one.bench.url)
        assert find_broker(None, project / ".heed").note is None
        assert find_broker(one.bench.url, project / ".heed").dev is not None


async def test_where_no_dev_runs_any_more_the_usual_broker_is_meant_and_that_is_said(project: Path) -> None:
    async with life(project, folder=project / ".heed"):
        pass

    found = find_broker(None, project / ".heed")

    assert (found.settings.nats_url, found.dev) == (DEFAULT_NATS_URL, None)
    assert found.note is not None and f"no `heed dev` runs in {project / '.heed'}" in found.note


async def test_what_a_dev_that_crashed_left_is_not_believed(project: Path) -> None:
    with heed_dev(project, project / ".heed") as process:
        assert process.stdout
        while "broker" not in await asyncio.to_thread(process.stdout.readline):
            pass
        await until(lambda: presence.read(project / ".heed") is not None)
        process.kill()
        process.wait()

    assert (project / ".heed" / presence.PRESENCE_FILE).exists()
    assert presence.read(project / ".heed") is None


async def test_a_stranger_at_the_port_of_a_dev_is_not_talked_to(
    project: Path, own_server: NatsServer
) -> None:
    async with life(project, folder=project / ".heed"):
        known = presence.read(project / ".heed")
        assert known is not None
        presence.write(replace(known, url=own_server.url))

        with pytest.raises(ForeignServer, match="another server answers at"):
            find_broker(None, project / ".heed")


async def test_nobody_else_may_read_what_a_dev_writes_down(project: Path) -> None:
    async with life(project, folder=project / ".heed"):
        assert (project / ".heed" / presence.PRESENCE_FILE).stat().st_mode & 0o077 == 0


async def test_a_broker_that_is_named_for_publish_is_not_joined_unasked(
    project: Path, tmp_path: Path, own_server: NatsServer
) -> None:
    with heed_dev(project, tmp_path / "state", HEED_NATS_URL=own_server.url) as process:
        assert process.stdout
        told: list[dict[str, str]] = []
        while not any("url" in record for record in told):
            told.append(json.loads(await asyncio.to_thread(process.stdout.readline)))

    assert told[-1]["url"] != own_server.url
    assert any(f"--nats {own_server.url} would join it" in record.get("text", "") for record in told)


async def test_a_second_one_with_the_same_agent_on_the_same_broker_is_refused(
    project: Path, tmp_path: Path
) -> None:
    async with life(project, folder=tmp_path / "first") as one:
        with heed_dev(project, tmp_path / "second", "--nats", one.bench.url) as second:
            _, errors = await asyncio.to_thread(second.communicate)

    assert second.returncode == 1
    assert f"demo/researcher is run by another `heed dev` on this broker (process {os.getpid()} on" in errors


async def test_one_that_joins_shows_only_what_is_in_the_namespaces_of_its_agents(
    project: Path, tmp_path: Path, own_server: NatsServer
) -> None:
    with heed_dev(project, tmp_path / "state", "--nats", own_server.url) as process:
        assert process.stdout
        while "reads its first event" not in (line := await asyncio.to_thread(process.stdout.readline)) and (
            '"resumed"' not in line
        ):
            pass
        for namespace in ("elsewhere", "demo"):
            sent = await heed("publish", "com.nobody", "-n", namespace, "--nats", own_server.url)
            assert sent.exit_code == 0, sent.output
        record = json.loads(await asyncio.to_thread(process.stdout.readline))
        while record["kind"] != "unheeded":
            record = json.loads(await asyncio.to_thread(process.stdout.readline))

    assert record["sequence"] == 2
