"""What every Python process of a trial does first (`sitecustomize`): loads the mutated module, or notes what it runs.

A mutated module is several times as large as the plain one, too large for processes under a limit of memory. So only
the process that forks for trials has them all; a process that a test starts has the one module of the mutant.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import FrameType

# In the workspace. Hypothesis reads the constants of all modules that are not installed, for minutes with these.
MUTATED = Path("mutated", "site-packages")
ALL, FOLDER, MUTANT, STATS = "HEED_ALL_MUTANTS", "HEED_REACH_FOLDER", "MUTANT_UNDER_TEST", "stats"
CLASS_SEPARATOR = "ǁ"  # mutmut's
IMPORTED_FIRST = "from tests.mutation.children import begin\n\nbegin(__file__)\n"


def begin(place: str) -> None:
    """`place` is the sitecustomize.py of the workspace."""
    workspace, mutant = Path(place).parent, os.environ.get(MUTANT, "")
    if os.environ.pop(ALL, None):
        sys.meta_path.insert(0, Mutated(workspace, None))
    elif mutant == STATS:
        if (test := os.environ.get("PYTEST_CURRENT_TEST")) and (folder := os.environ.get(FOLDER)):
            Listener(workspace, Notes(children_file(Path(folder), test.rpartition(" (")[0]))).listen()
    elif mutant:
        sys.meta_path.insert(0, Mutated(workspace, mutant.rpartition(".")[0]))


class Mutated:
    """Finds mutated modules: that of one name, or all where that is None."""

    def __init__(self, workspace: Path, only: str | None) -> None:
        self._folder, self._only = workspace / MUTATED, only

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The mutated module of this name; None leaves it to the other finders."""
        if not name.startswith("heed.") or self._only not in (None, name):
            return None
        file = self._folder / Path(*name.split(".")).with_suffix(".py")
        return spec_from_file_location(name, file) if file.exists() else None


class Notes:
    """Functions, each noted once in a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._known = path, set[str]()

    def add(self, name: str) -> None:
        """A function runs."""
        if name not in self._known:
            self._known.add(name)
            with self._path.open("a") as file:
                file.write(f"{name}\n")


class Listener:
    """Tells what functions of the product run in this process, by their mangled names, to what has an `add`."""

    def __init__(self, workspace: Path, notes: object) -> None:
        self._prefix, self._notes = str(workspace / "heed") + os.sep, notes
        self._names: dict[object, str | None] = {}

    def listen(self) -> None:
        """From now on, in all threads that begin."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            code = frame.f_code
            try:
                name = self._names[code]
            except KeyError:
                name = self._names[code] = self._mangled(code.co_filename, code.co_qualname)
            if name is not None:
                self._notes.add(name)  # type: ignore[attr-defined]

    def _mangled(self, filename: str, qualified: str) -> str | None:
        """What mutmut calls a function; one within another is that other one's."""
        if not filename.startswith(self._prefix):
            return None
        module = "heed." + filename.removeprefix(self._prefix).removesuffix(".py").replace(os.sep, ".")
        owner, _, name = qualified.split(".<locals>")[0].rpartition(".")
        return f"{module}.x{CLASS_SEPARATOR}{owner}{CLASS_SEPARATOR}{name}" if owner else f"{module}.x_{name}"


def children_file(folder: Path, test: str) -> Path:
    """Where the processes of a test note what they run."""
    return folder / hashlib.sha256(test.encode()).hexdigest()[:16]
