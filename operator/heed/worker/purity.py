"""Help with purity: handlers are called twice, and told of where they reach out of their process.

A handler may be asked any number of times, and only one answer is committed. What it does beside its answer is done
each time, committed or not; so it should do nothing, and this says where it does.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from heed.sdk.places import is_library

log = logging.getLogger("heed.worker.purity")

VARIABLE: Final = "HEED_CHECK_PURITY"
_REACHING_OUT: Final = {
    "socket.connect": "opens a connection",
    "subprocess.Popen": "starts a process",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.mkdir": "makes a folder",
}
_WRITING: Final = frozenset("wax+")


class PurityCheck:
    """Calls handlers twice and compares; warns, once for each line, where they reach out."""

    def __init__(self) -> None:
        self._inside = threading.local()
        self._told: set[str] = set()
        sys.addaudithook(self._heard)

    def run(self, name: str, answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The answer of a handler. Raises what it raises."""
        with self._watched(name):
            first = answer()
            second = answer()
        for member in sorted(set(first) | set(second)):
            if _text(first.get(member)) != _text(second.get(member)):
                self._tell(name, f"{member}: {_text(first.get(member))}, then {_text(second.get(member))}")
        return first

    @contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        self._inside.name = name
        try:
            yield
        finally:
            self._inside.name = None

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        name = getattr(self._inside, "name", None)
        if name is None:
            return
        what = _REACHING_OUT.get(event)
        if event == "open" and len(arguments) > 1 and _WRITING & set(str(arguments[1] or "")):
            what = f"writes {arguments[0]}"
        if what is not None:
            self._inside.name = None  # telling of it is no doing of the handler
            try:
                self._tell(name, f"{what} ({_place()})")
            finally:
                self._inside.name = name

    def _tell(self, name: str, what: str) -> None:
        line = f"handler {name} {what}; let a task do that, or take it from the event"
        if line not in self._told:
            self._told.add(line)
            log.warning(line)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, Mapping | list) else str(value)


def _place() -> str:
    """The line of the user's own code that is running."""
    frames = [frame for frame in traceback.extract_stack() if not is_library(frame.filename)]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "a library"
