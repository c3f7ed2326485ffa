"""A process that has collected the tests once, and forks for each trial: a mutant and the tests to ask about it.

Reads one JSON object per line, {"mutant", "tests", "seconds"}. Answers "noticed", "survived", "timeout", "ended" (by a
signal) or "broken" (no verdict: pytest could not run these tests).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_FACTOR, PATIENCE_S = 10.0, 60.0
OUTCOMES = {
    0: "survived",
    1: "noticed",
    2: "noticed",
    3: "noticed",
}  # pytest's exit codes; 4 and 5 are mistakes of this rig
QUIET = ("-q", "-x", "-p", "no:cacheprovider")


def main() -> int:
    """Serve until standard input ends. The arguments are the folders of tests to collect beforehand."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    pytest.main(["--collect-only", *QUIET, *sys.argv[1:]])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        trial = json.loads(line)
        print(_try(trial["mutant"], trial["tests"], trial["seconds"]), file=answers, flush=True)
    return 0


def _try(mutant: str, tests: list[str], seconds: float) -> str:
    base = Path(os.environ["HEED_TRIAL_FOLDER"]) / "tmp"
    outcome = _run(mutant, ["--basetemp", str(base), *tests], seconds * PATIENCE_FACTOR + PATIENCE_S)
    if outcome == "broken" and _run("", ["--collect-only", *tests], PATIENCE_S) == "survived":
        return "noticed"  # tests whose names come from the product are not there any more
    return outcome


def _run(mutant: str, arguments: list[str], patience: float) -> str:
    """What becomes of a pytest of its own, with a mutant, or without one where that is empty."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.environ["MUTANT_UNDER_TEST"] = mutant
        code = 3
        try:
            code = int(pytest.main([*QUIET, *arguments]))
        finally:
            os._exit(code)
    status = _wait(child, patience)
    _end_what_is_left()
    if status is None:
        return "timeout"
    code = os.waitstatus_to_exitcode(status)
    return "ended" if code < 0 else OUTCOMES.get(code, "broken")


def _wait(child: int, patience: float) -> int | None:
    """The status of the child; None where it had to be ended."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _end_what_is_left() -> None:
    """Servers that a test started and did not live to stop are children of this process by now."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for pid in map(int, left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
