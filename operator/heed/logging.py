"""Structured logs: one line per fact, with fields, as text or JSON.

What is tried again fails again: during an outage every Agent would say so every few seconds. The same warning is
therefore written once a minute, and the next one tells how many like it were left out.
"""

import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pythonjsonlogger.json import JsonFormatter

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
_VOLATILE: Final = frozenset(("error", "retry_in"))
_NUMBER: Final = re.compile(r"\d+")


class TextFormatter(logging.Formatter):
    """The message, then its fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows where there is one."""
        line = super().format(record)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = " ".join(f"{name}={value}" for name, value in extra.items() if not name.startswith("k8s_"))
        head, newline, rest = line.partition("\n")
        return f"{head}  {fields}{newline}{rest}" if fields else line


@dataclass(slots=True)
class _RepeatedCause:
    """The records of one cause written since `began`, and how many were left out."""

    began: float
    facts: set[int] = field(default_factory=set)
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """Rate-limits warnings and errors: equal ones once in PERIOD seconds, and at most MOST different ones per cause.

    A cause is a logger's message with its kind of error, for all objects together. What else a record says (an Agent, a
    task, a sequence, the words of the error) makes another fact of it; numbers in the words and waiting times do not.
    The first record of a cause in a new period says in `repeated` how many were left out in the one before. `clock`
    tells seconds.
    """

    PERIOD: Final = 60.0
    MOST: Final = 20
    REMEMBERED: Final = 1000  # causes

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._causes: OrderedDict[tuple[str, ...], _RepeatedCause] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if record.levelno < logging.WARNING:
            return True
        try:
            key, fact = _cause_of(record), _fact_of(record)
        except Exception:  # a record that cannot be read is the formatter's to complain of
            return True
        return self._is_new(self._current(key, record), fact)

    def _current(self, key: tuple[str, ...], record: logging.LogRecord) -> _RepeatedCause:
        cause = self._causes.get(key)
        if cause is not None and self._clock() < cause.began + self.PERIOD:
            return cause
        if cause is not None and cause.left_out:
            vars(record)["repeated"] = cause.left_out
        self._causes[key] = following = _RepeatedCause(self._clock())
        self._causes.move_to_end(key)
        if len(self._causes) > self.REMEMBERED:
            self._causes.popitem(last=False)
        return following

    def _is_new(self, cause: _RepeatedCause, fact: int) -> bool:
        if fact in cause.facts or len(cause.facts) >= self.MOST:
            cause.left_out += 1
            return False
        cause.facts.add(fact)
        return True


def _words(text: object) -> str:
    return _NUMBER.sub("#", str(text)[:500])


def _cause_of(record: logging.LogRecord) -> tuple[str, ...]:
    """The cause of a record: its message with the kind of error, which is what stands before a colon."""
    kinds = (record.getMessage(), *(getattr(record, name, "") for name in ("what", "code", "error")))
    raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
    return (record.name, record.levelname, raised, *(_words(kind).partition(":")[0] for kind in kinds))


def _fact_of(record: logging.LogRecord) -> int:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD | _VOLATILE}
    facts = sorted((name, str(value)) for name, value in extra.items() if not name.startswith("k8s_"))
    return hash((_words(record.getMessage()), _words(getattr(record, "error", "")), *facts))


def configure_logging(form: str, level: str) -> None:
    """Send all logs to standard error in one form: `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        names = {"levelname": "level", "name": "logger", "asctime": "time"}
        handler.setFormatter(
            JsonFormatter("{asctime}{levelname}{name}{message}", style="{", rename_fields=names)
        )
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if root.level > logging.DEBUG:
        handler.addFilter(RepeatFilter())
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
