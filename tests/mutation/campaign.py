"""A run over many mutants: what each test reaches, then trial after trial in processes side by side."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tests.mutation.children import ALL, FOLDER, MUTANT, STATS
from tests.mutation.nearest import Nearest
from tests.mutation.results import NOTICED, Results, Verdict
from tests.mutation.workspace import Mutant, Workspace

REPORT_EVERY = 25


class Campaign:
    """Tries mutants against the tests of `suites`; what tests reach is kept in `reach_file`, by the tests' files."""

    def __init__(
        self, workspace: Workspace, results: Results, suites: Sequence[str], reach_file: Path
    ) -> None:
        self._folder, self._results, self._suites = workspace.folder, results, tuple(suites)
        self._reach_file, self._stopped = reach_file, threading.Event()

    def run(self, mutants: Sequence[Mutant], workers: int, *, again: bool, wider: float) -> None:
        """Try what has no verdict yet; `again`: also what survived. Raises KeyboardInterrupt.

        `wider` bounds the tests beyond the nearest, in seconds that they take.
        """
        nearest = Nearest(self._reach(), wider)
        left: Queue[Mutant] = Queue()
        for mutant in mutants:
            verdict = self._results.get(mutant)
            if verdict is None or (again and verdict.outcome not in NOTICED):
                left.put(mutant)
        progress = Progress(left.qsize(), self._results)
        with ThreadPoolExecutor(workers) as pool:
            for working in [pool.submit(self._work, left, nearest, progress) for _ in range(workers)]:
                try:
                    working.result()
                except BaseException:
                    self._stopped.set()
                    raise

    def _work(self, left: Queue[Mutant], nearest: Nearest, progress: Progress) -> None:
        with Trials(self._folder, self._suites) as trials:
            while not self._stopped.is_set():
                try:
                    mutant = left.get_nowait()
                except Empty:
                    return
                progress.ended(mutant, self._verdict(mutant, nearest, trials))

    def _verdict(self, mutant: Mutant, nearest: Nearest, trials: Trials) -> Verdict:
        choice, began = nearest.of(mutant.reached_as), time.monotonic()
        outcome, by = "survived", "nobody"
        for who, tests, seconds in (
            ("nearest", choice.nearest, choice.nearest_seconds),
            ("wider", choice.wider, choice.wider_seconds),
        ):
            if tests and outcome not in NOTICED:
                outcome = trials.ask(mutant.name, tests, seconds)
                by = who if outcome in NOTICED else "nobody"
        return Verdict(mutant.key, outcome, by, round(time.monotonic() - began, 2))

    def _reach(self) -> dict[str, Any]:
        """What each test reaches; asked again only of files that are new or changed."""
        known: dict[str, Any] = json.loads(self._reach_file.read_text()) if self._reach_file.exists() else {}
        files = {str(path.relative_to(self._folder)): _digest(path) for path in self._test_files()}
        stale = [name for name, digest in files.items() if known.get(name, {}).get("digest") != digest]
        if stale:
            print(f"asking {len(stale)} files of tests what they reach", file=sys.stderr)
            found = self._measure(stale)
            for name in stale:
                tests = {test: noted for test, noted in found.items() if test.split("::")[0] == name}
                known[name] = {"digest": files[name], "tests": tests}
            self._reach_file.write_text(json.dumps(known))
        return {test: noted for name in files for test, noted in known[name]["tests"].items()}

    def _test_files(self) -> list[Path]:
        places = [self._folder / suite for suite in self._suites]
        return [
            path
            for place in places
            for path in ([place] if place.is_file() else sorted(place.rglob("test_*.py")))
        ]

    def _measure(self, files: list[str]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            environment = environment_of(self._folder) | {FOLDER: folder, MUTANT: STATS}
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "tests.mutation.reach",
            ]
            subprocess.run([*command, *files], cwd=self._folder, env=environment, check=False)
            found: dict[str, Any] = json.loads((Path(folder) / "reach.json").read_text())
        failed = [test for test, noted in found.items() if not noted["passed"]]
        print(
            f"{len(found)} tests; {len(failed)} do not pass here, and are not asked: {failed}",
            file=sys.stderr,
        )
        return found


class Trials:
    """One process of tests.mutation.trials."""

    def __init__(self, folder: Path, suites: Sequence[str]) -> None:
        self._own = tempfile.mkdtemp(prefix="heed-trials-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.trials", *suites],
            cwd=folder,
            env=environment_of(folder) | {"HEED_TRIAL_FOLDER": self._own, "TMPDIR": self._own, ALL: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Trials:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the tests cannot be collected; run pytest in the workspace to see why")
        return self

    def ask(self, mutant: str, tests: Sequence[str], seconds: float) -> str:
        """The outcome of these tests with this mutant. Raises RuntimeError where they cannot be run at all."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(
            json.dumps({"mutant": mutant, "tests": tests, "seconds": seconds}),
            file=self._process.stdin,
            flush=True,
        )
        outcome = self._process.stdout.readline().strip() or "broken"
        if outcome == "broken":
            raise RuntimeError(f"{mutant}: pytest cannot run {tests[0]} and {len(tests) - 1} more")
        return outcome

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._own, ignore_errors=True)


class Progress:
    """Keeps verdicts, and says every now and then how far the run is."""

    def __init__(self, total: int, results: Results) -> None:
        self._total, self._results, self._lock = total, results, threading.Lock()
        self._done = self._survived = 0
        self._began = time.monotonic()

    def ended(self, mutant: Mutant, verdict: Verdict) -> None:
        """A mutant has its verdict."""
        with self._lock:
            self._results.add(verdict)
            self._done += 1
            self._survived += verdict.outcome not in NOTICED
            if self._done % REPORT_EVERY == 0 or self._done == self._total:
                minutes = (time.monotonic() - self._began) / 60
                left = minutes / self._done * (self._total - self._done)
                print(
                    f"{self._done} of {self._total}, {self._survived} survived;"
                    f" {minutes:.0f} min, some {left:.0f} left",
                    file=sys.stderr,
                    flush=True,
                )


def environment_of(folder: Path) -> dict[str, str]:
    """The environment in which `heed` is the mutated one, in every process."""
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
