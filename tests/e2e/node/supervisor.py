"""The first process in the node's own namespaces: starts the others, and again when they end.

Its process, network and mount namespaces hold everything that a kubelet and containerd make: processes, bridges,
rules, mounts. When it ends, the kernel removes all of that. Standard library only; started by `machine.py` as
`supervisor.py FOLDER`, where FOLDER/plan.json says what to run and FOLDER/mounts.json what to mount first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PAUSE = 1.0  # seconds between an end and the next start


def main(root: Path) -> None:
    for command in json.loads((root / "mounts.json").read_text()):
        subprocess.run(command, check=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
    plan: dict[str, list[str]] = json.loads((root / "plan.json").read_text())
    running: dict[int, str] = {}
    due = dict.fromkeys(plan, 0.0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        for name in [name for name, when in due.items() if when <= time.monotonic()]:
            if not (root / "held" / name).exists():
                running[_start(root, name, plan[name], environment)] = name
                del due[name]
        for pid in _ended():
            if pid in running:
                due[running.pop(pid)] = time.monotonic() + PAUSE
        time.sleep(0.1)


def _start(root: Path, name: str, command: list[str], environment: dict[str, str]) -> int:
    with (root / "logs" / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,
            env=environment,
            process_group=0,
        )
    (root / "pids" / name).write_text(str(child.pid))
    child.returncode = 0  # waited for below, together with orphans that have become ours
    return child.pid


def _ended() -> list[int]:
    ended: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append(pid)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
