"""Python programs that begin as forks of one process, in which the operator's modules are imported already.

Importing them takes a second of CPU, and the tests start hundreds of operators. A fork has a process, a main thread,
an environment and files of its own; what a program is like from its very first import on, the tests of the command
line and of the node see.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = ("heed.cli.main", "heed.cli.operator", "heed.kube.manager")
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(IMPORTED))


class Forked:
    """One program, used as a `subprocess.Popen`: `command` is a Python script, or `python` with one or with `-m`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = tuple(command)
        arguments = (self._command, dict(environment), str(log))
        self._process = _forks.Process(target=_become, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it is there."""
        return self._process.exitcode

    def wait(self, patience: float) -> int:
        """Its exit code, once there is one. Raises subprocess.TimeoutExpired after `patience` seconds."""
        self._process.join(patience)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._command, patience)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _become(command: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Be the program, in a process that is nothing else yet."""
    os.environ.clear()
    os.environ.update(environment)
    for module in list(sys.modules.values()):  # the client of Kubernetes read the variable as it was imported
        if hasattr(module, "KUBE_CONFIG_DEFAULT_LOCATION"):
            setattr(module, "KUBE_CONFIG_DEFAULT_LOCATION", environment.get("KUBECONFIG", "~/.kube/config"))  # noqa: B010
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    words = list(command[1:] if command[0] == sys.executable else command)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
