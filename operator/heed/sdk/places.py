"""Places in the user's code: where a function stands, and where one of the SDK's was called."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SDK: Final = f"{__name__.rpartition('.')[0]}."
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_LIBRARIES: Final = (
    Path(inspect.__file__).resolve().parent,
    Path(__file__).resolve().parents[1],
)  # Python's, and Heed


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, whose path is as Python knows it."""

    file: str
    line: int

    def __str__(self) -> str:
        """For people: `agent.py:31`."""
        return f"{os.path.basename(self.file)}:{self.line}"


def place_of(function: Callable[..., Any]) -> Place:
    """Where a function begins, its decorators included."""
    code = inspect.unwrap(function).__code__
    return Place(code.co_filename, code.co_firstlineno)


def failing_place(function: Callable[..., Any], error: BaseException) -> Place | None:
    """The last line of the function's own file that an exception came through; None where it came through none."""
    file = place_of(function).file
    frames = traceback.extract_tb(error.__traceback__)
    return next((Place(file, item.lineno or 1) for item in reversed(frames) if item.filename == file), None)


def calling_place() -> Place:
    """The line of the user's code that called into the SDK."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_SDK):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def show_path(file: str) -> str:
    """A path as people name it: relative where it is below the working directory."""
    full, here = Path(file).resolve(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else file


def is_own(file: str, folder: Path) -> bool:
    """Whether code of a file is the user's own: below the folder that it works from, and not installed there."""
    full, root = Path(file).resolve(), folder.resolve()
    if not full.is_relative_to(root) or _INSTALLED & set(full.relative_to(root).parts):
        return False
    return not any(full.is_relative_to(item) and not root.is_relative_to(item) for item in _LIBRARIES)


def is_library(file: str) -> bool:
    """Whether code of a file is Python's, Heed's or installed: nobody's own."""
    full = Path(file).resolve()
    return (
        file.startswith("<")
        or bool(_INSTALLED & set(full.parts))
        or any(full.is_relative_to(item) for item in _LIBRARIES)
    )


def find_project(module: str, file: str) -> Path:
    """What belongs to the module of a file: its whole top-level package, or for one without, the folder's modules.

    It is the same where the package is installed; of an installed module without a package, it is the file alone.
    """
    full = Path(file).resolve()
    depth = module.count(".") + (full.name == "__init__.py")
    if depth == 0 and full.parent.name in _INSTALLED:
        return full
    return full.parents[min(max(depth - 1, 0), len(full.parents) - 1)]
