"""Child processes in groups of their own, which end with this process and are found again after a crash.

A process id alone is no identity, since ids are reused: nothing is killed by an id from a file before the process's
start time, or for the rest of a group its HEED_TASK_FILE, has proved that it is the one that was meant.
"""

import asyncio
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

PROC = Path("/proc")
PR_SET_PDEATHSIG: Final = 1
KILL_GRACE_S: Final = 1.0  # seconds between SIGTERM and SIGKILL

Process = asyncio.subprocess.Process


@functools.cache
def _prctl() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: int(function(option, value, 0, 0, 0))


def die_with_parent(number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """A `preexec_fn` by which the kernel sends signal `number` when this process dies; None where unsupported."""
    prctl, parent = _prctl(), os.getpid()
    if prctl is None:
        return None

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # we died before the call
            os._exit(1)

    return tie


async def spawn(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], out: int, err: int
) -> Process:
    """Start a child in a process group of its own, without input. Raises OSError where it cannot be run."""
    return await asyncio.create_subprocess_exec(
        *argv,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        process_group=0,
        preexec_fn=die_with_parent(),
    )


def signal_group(group: int, number: int) -> None:
    """Signal a process group. Does nothing where it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def end_group(process: Process, grace: float = KILL_GRACE_S) -> None:
    """End a child and whatever is left of its group: SIGTERM where the child still runs, then SIGKILL."""
    try:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
    finally:
        signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def read_start_time(pid: int) -> str | None:
    """When a process started, as proc(5) or `ps` writes it: with the pid, its identity. None where it is gone."""
    if PROC.is_dir():
        fields = _stat(pid)
        return fields[19] if fields else None
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


def end_leftovers(pid: int, start: str | None, marker: str) -> bool:
    """Kill the process group that an earlier run left behind. `marker` is `NAME=value` of its environment.

    Returns whether there was one.
    """
    leader = start is not None and read_start_time(pid) == start
    if not leader and not any(_marked(member, marker) for member in _members(pid)):
        return False
    signal_group(pid, signal.SIGKILL)
    return True


def _members(group: int) -> list[int]:
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()] if PROC.is_dir() else []
    return [pid for pid in pids if (fields := _stat(pid)) and fields[2] == str(group)]


def _stat(pid: int) -> list[str] | None:
    """The fields of proc(5) stat from the third on (state, parent, group, …); None for the gone and for zombies."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields if fields and fields[0] not in "ZX" else None


def _marked(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
