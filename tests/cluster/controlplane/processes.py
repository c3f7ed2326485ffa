"""Child processes that never outlive the test run, not even one that was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Process:
    """One server with its log file; can be started again after it has ended."""

    def __init__(self, spawner: Spawner, command: Sequence[str], log: Path) -> None:
        self.name = Path(command[0]).name
        self._spawner = spawner
        self._command = command
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self._child = self._spawner.spawn(self._command, self._log)

    def stop(self, patience: float = 10.0) -> None:
        """SIGTERM; after `patience` seconds SIGKILL. Returns when the process is gone."""
        self._end(signal.SIGTERM, patience)

    def kill(self) -> None:
        """SIGKILL. Returns when the process is gone."""
        self._end(signal.SIGKILL, patience=None)

    def _end(self, with_signal: signal.Signals, patience: float | None) -> None:
        if self._child is None:
            return
        self._child.send_signal(with_signal)
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def log_tail(self, lines: int = 20) -> str:
        if not self._log.exists():
            return f"--- {self.name}: no log"
        return "\n".join([f"--- {self.name}", *self._log.read_text(errors="replace").splitlines()[-lines:]])


class Spawner:
    """Starts children from one thread of its own.

    Linux sends the parent-death signal when the *thread* that forked ends, and a test may start a server from a
    short-lived worker thread.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="control-plane-spawner")
        self._libc = ctypes.CDLL(None)

    def spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        return self._thread.submit(self._spawn, command, log).result()

    def close(self) -> None:
        self._thread.shutdown()

    def _spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def die_with_parent() -> None:
            if sys.platform == "linux":  # elsewhere a killed test run leaves its servers behind
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env={"GOGC": "400", **os.environ},  # less collecting of garbage, for memory that is there
                process_group=0,  # Ctrl-C is for the test run, which then stops its children in order
                preexec_fn=die_with_parent,
            )
